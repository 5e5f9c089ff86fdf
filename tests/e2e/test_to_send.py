# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures in `status` of a real device of what is still to be sent to another one."""

from __future__ import annotations

import os
from typing import Any

from support.device import Device, World
from support.trees import contents
from support.wait import until

_SIZE = 300_000
_NOTHING = {"files": 0, "bytes": 0, "others": 0, "more": False, "percent": 100, "sent_bytes": 0}


def _to_send(device: Device) -> dict[str, Any] | None:
    found: dict[str, Any] | None = device.volume_status()["devices"][0].get("to_send")
    return found


def test_status_tells_what_another_device_lacks_until_it_has_it(world: World) -> None:
    a, b = world.sharing("a", "b")
    here, there = a.mount(), b.mount()
    (here / "first").write_bytes(os.urandom(_SIZE))
    until(lambda: contents(there) == contents(here), "b to have the file")
    until(lambda: _to_send(a) == _NOTHING, "b to say so")
    assert "To send: " not in a.ctl("status").out
    b.down()
    until(lambda: not a.volume_status()["devices"][0]["connected"], "a to notice")

    (here / "second").write_bytes(os.urandom(_SIZE))
    (here / "small").write_bytes(b"12345")
    (here / "folder").mkdir()
    expected = {"files": 2, "bytes": _SIZE + 5, "others": 1, "more": False, "percent": 49, "sent_bytes": 0}
    until(lambda: _to_send(a) == expected, "a to count what b lacks")
    told = " ".join(a.ctl("status").out.split())
    assert "To send: b had 49 %; 2 files, 293 KiB and 1 other change to go, by what it said at " in told
    assert not a.volume_status()["devices"][0]["complete"]
    a.down()
    a.up()
    until(lambda: _to_send(a) == expected, "a to know it after a restart")

    b.up()
    until(lambda: contents(there) == contents(here), "b to have the files")
    until(lambda: _to_send(a) == _NOTHING, "b to say so")
    assert a.volume_status()["devices"][0]["complete"]
