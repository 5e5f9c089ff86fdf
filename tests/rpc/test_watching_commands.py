# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands `ping` and `events`, against a fake device."""

from __future__ import annotations

import json
import re

import pytest

from holofs_api.v1 import control_pb2 as pb
from holofsctl.commands.watching import event_line
from support.fake_device import FakeDevice
from tests.rpc.conftest import Run


async def test_a_ping_prints_a_line_for_each_answer_and_the_rate_with_the_last(run: Run, device: FakeDevice) -> None:
    code, out, err = await run("ping", "desk", "-c", "1")
    assert (code, out, err) == (0, "desk: direct at 10.0.0.2:4433, 1.2 ms, 3.0 MiB/s\n", "")
    code, out, err = await run("ping", "desk", "-c", "2", "--no-measure")
    assert (code, out.splitlines(), err) == (0, ["desk: direct at 10.0.0.2:4433, 1.2 ms"] * 2, "")
    told = [json.loads(line) for line in (await run("ping", "desk", "-c", "2", "--json"))[1].splitlines()]
    assert [(one["answered"], one["round_trip_us"], one["throughput"]) for one in told] == [
        *((True, 1234, 0), (True, 1234, 3 << 20)),
    ]


async def test_a_ping_that_was_not_answered_or_measured_says_so(run: Run, device: FakeDevice) -> None:
    code, out, err = await run("ping", "silent", "-c", "2", "--no-measure")
    assert (code, out.splitlines()[0]) == (5, "silent: direct at 10.0.0.2:4433, no answer")
    assert err == "holofsctl: 2 answers of 2 did not come.\n"
    code, _, err = await run("ping", "empty", "-c", "1")
    assert (code, err.startswith("Throughput was not measured")) == (0, True)


async def test_events_are_lines_for_a_person_and_documents_for_a_program(run: Run, device: FakeDevice) -> None:
    code, out, err = await run("events", "--no-wait")
    assert (code, err) == (0, "")
    assert [re.sub(r"^\S+ \S+  ", "", line) for line in out.splitlines()] == [
        "listening",
        "docs: a\\xff.txt changed by desk",
        "docs: the brake holds removals by desk: 60 files now",
    ]
    out = (await run("events", "--no-wait", "--since", "run-5", "--json"))[1]
    told = [json.loads(line) for line in out.splitlines()]
    assert [(event["kind"], event["token"]) for event in told] == [
        *(("missed", "run-0"), ("changed", "run-1"), ("held", "run-2")),
    ]
    assert told[1]["path"] == "a\udcff.txt"


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (pb.Event(kind="paused"), "everything is paused"),
        (pb.Event(kind="paused", volume="docs", until_ms=4_102_488_000_000), "docs: the volume is paused until 2100-"),
        (pb.Event(kind="resumed", device="desk", device_id="bb"), "the traffic with desk is not paused any more"),
        (pb.Event(kind="limits", down=5 << 20), "limits: fetching 5.0 MiB/s, sending without a limit"),
    ],
)
def test_pauses_and_limits_are_sentences(event: pb.Event, told: str) -> None:
    assert event_line(event).partition("  ")[2].startswith(told)


async def test_a_stream_of_events_that_ends_by_itself_is_a_failure(run: Run, device: FakeDevice) -> None:
    code, out, err = await run("events")
    assert (code, len(out.splitlines())) == (3, 3)
    assert err == "holofsctl: holofsd has ended, and the stream with it.\n"
