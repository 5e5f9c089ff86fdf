# SPDX-License-Identifier: GPL-3.0-or-later
"""`leave`: the device that leaves is no safe copy any more, for whoever is there and for whoever comes later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.device import Device, World
from support.wait import until

EXPECTED = ["an invite was refused"]


def _other(device: Device) -> dict[str, Any]:
    return dict(device.volume_status()["devices"][0])


def _standing(device: Device) -> list[str]:
    return [line for line in device.ctl("members", "docs").out.splitlines() if " left " in line]


def test_a_device_that_left_is_no_copy_until_it_joins_again(world: World) -> None:
    x, y = world.sharing("x", "y")
    here = x.mount()
    _write(here, b"all there is")
    x.ctl("wait", "docs", "--timeout", "30")
    y.ctl("leave", "docs", "--delete")
    until(lambda: _other(x).get("left"), "x to hear that y left")
    assert x.ctl("wait", "docs", "--timeout", "1", check=False).code != 0
    assert not _other(x)["complete"]
    told = x.ctl("status").out
    assert "Safe:" not in told
    assert "Only on this device" in told
    assert _standing(x)

    y.join(x.share())
    x.ctl("wait", "docs", "--timeout", "30")
    assert "Safe:" in x.ctl("status").out
    assert not _standing(x)

    # Absent, it counts; once it left meanwhile, it says so at the next meeting.
    x.down()
    y.ctl("leave", "docs")
    x.up()
    until(lambda: _other(x).get("left"), "the device that left to say so")
    assert "Only on this device" in x.ctl("status").out


def _write(folder: Path, data: bytes) -> None:
    folder.joinpath("file").write_bytes(data)
