# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands `pause`, `resume` and `limit`, and what `status` says of pauses and limits, against a fake device."""

from __future__ import annotations

import json
import time

import pytest

from holofs_api.v1 import control_pb2 as pb
from holofsctl.status_view import status_lines
from holofsctl.traffic_view import limit_lines, pause_lines
from holofsd.rpc.traffic_api import TrafficStatus
from support.fake_device import FakeDevice
from tests.rpc.conftest import Run

MIB = 1 << 20


async def test_what_is_paused_is_told_with_its_end_and_the_command_that_ends_it(run: Run, device: FakeDevice) -> None:
    code, out, err = await run("pause", "docs")
    assert (code, err) == (0, "")
    assert out.startswith("Paused: the volume docs. `holofsctl --state-dir ")
    assert out.endswith(" resume docs` ends it.\n")
    code, out, _ = await run("pause", "--device", "desk", "--for", "2h", "--json")
    assert [one["device"] for one in json.loads(out)["pauses"]] == ["", "desk"]
    out = (await run("pause"))[1]
    assert "Paused until 2100-01-01 " in out or "Paused until 2099-12-31 " in out
    assert "the traffic with desk." in out
    assert "resume --device bbbbbbbbbbbbbbbb` ends it." in out
    assert "Paused: everything." in out
    status = (await run("status"))[1]
    assert "Paused: everything." in status
    assert (await run("resume", "docs"))[1].count("Paused") == 2
    assert await run("resume") == (0, "", "Nothing is paused.\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("pause", "docs", "--device", "desk"), "not allowed with argument"),
        (("pause", "--for", "soon"), "--for: 'soon' is not a time like 30m"),
        (("limit", "--down", "fast"), "--down: the value is 'fast', which is not a rate"),
        (("limit", "--up", "1K"), "at least 16K"),
        (("limit", "--timetable", "8:00"), "is '8:00' and has '8:00', which is not a time and a rate"),
        (("limit", "--lan-exempt", "perhaps"), "it can be on or off"),
        (("limit", "--off", "--up", "1M"), "one at a time"),
    ],
)
async def test_what_makes_no_sense_is_refused(run: Run, device: FakeDevice, words: tuple[str, ...], why: str) -> None:
    code, out, err = await run(*words)
    assert (code, out) == (2, "")
    assert why in err


async def test_an_unknown_volume_is_an_error(run: Run, device: FakeDevice) -> None:
    assert (await run("pause", "none"))[0] != 0


async def test_limits_are_shown(run: Run, device: FakeDevice) -> None:
    assert await run("limit") == (0, "", "There is no limit.\n")
    device.limits = TrafficStatus(down=5 * MIB, lan_exempt=True, metered="yes", background_waits=True)
    code, out, err = await run("limit")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "Limits: fetching at most 5.0 MiB a second, sending without a limit;"
        " devices in the local network are not limited.",
        "The network is metered: only what programs read is fetched.",
    ]
    assert out in (await run("status"))[1]
    assert json.loads((await run("limit", "--json"))[1])["down"] == 5 * MIB


def test_a_limit_by_the_timetable_is_told_with_its_end() -> None:
    soon = pb.TrafficStatus(up=MIB, changes_ms=int(time.time() * 1000) + 60_000, metered="unknown")
    first, second = limit_lines(soon)
    assert first.startswith("Limits until ")
    assert first.endswith(": fetching without a limit, sending at most 1.0 MiB a second.")
    assert second == "The network is not known to be metered."


def test_a_paused_volume_is_not_said_to_be_on_its_way() -> None:
    told = pb.StatusReply(traffic=pb.TrafficStatus(pauses=[pb.PauseInfo(volume="docs")]))
    for name in ("docs", "pics"):
        volume = told.volumes.add(volume=pb.Volume(name=name, state="ready"), unpublished=2)
        volume.devices.add(device_id="bb" * 32, name="desk")
    lines = [line.strip() for line in status_lines(told)]
    assert lines.count("Not safe yet: it is paused.") == 1
    assert lines.count("Not safe yet: 2 changed files not sent yet.") == 1
    assert pause_lines(told.traffic)[0] in lines
