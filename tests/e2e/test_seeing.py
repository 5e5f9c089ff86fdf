# SPDX-License-Identifier: GPL-3.0-or-later
"""Views of two real devices in `status`, `peers` and `doctor`: how each is reached, what goes how fast, and what is in
the way."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import termios

import pytest

from support.device import BIN, Device, World
from support.terminals import columns_of, fork, in_terminal
from support.wait import until

FRAME = b"\x1b[?2026h"
_SIZE = 16 << 20
"""At the limit of the test: longer than it takes to look, also on a machine that stands still now and then."""


def _says_what_is_left(told: str) -> bool:
    return "Now: fetching " in told and " left, about " in told


def _rate(device: Device) -> int:
    return int(device.status()["network"]["receiving"])


def test_status_tells_how_a_device_is_reached_and_when_it_was_seen(world: World) -> None:
    a, b = world.sharing("a", "b")
    (peer,) = until(lambda: [found for found in a.status()["peers"] if found["round_trip_us"]], "b to answer")
    assert (peer["name"], peer["path"], peer["last_seen_ms"]) == ("b", "direct", 0)
    until(lambda: f"connected directly ({peer['address']}, " in a.ctl("status").out, "status to say how b is reached")
    assert " free of " in a.ctl("status").out
    a.create("alone")
    assert a.json("status", "alone")["peers"] == []
    b.down()
    until(lambda: not a.status()["peers"][0]["connected"], "a to notice")
    (peer,) = a.json("peers")
    assert (peer["path"], peer["round_trip_us"]) == ("", 0)
    assert "shared" not in peer["explanation"], "a device that goes takes nothing back"
    assert "not connected, last seen " in a.ctl("status").out


def test_status_tells_the_rate_and_the_time_that_is_left(world: World) -> None:
    a, b = world.sharing("a", "b")
    b.ctl("limit", "--down", "256K")
    folder = a.mount()
    (folder / "large").write_bytes(os.urandom(_SIZE))
    until(lambda: _rate(b) > 30_000, "content to come")
    until(lambda: _says_what_is_left(b.ctl("status").out), "status to tell the rate and the time")
    until(lambda: 0 < b.volume_status()["content_arrived_bytes"] < _SIZE, "a part of it")
    assert b.volume_status()["content_missing_bytes"] == _SIZE
    until(lambda: b.status()["peers"][0]["receiving"] > 30_000, "the rate of a alone")
    sent = until(lambda: a.volume_status()["devices"][0]["to_send"]["sent_bytes"], "a to tell what is sent already")
    assert sent < _SIZE
    assert until(lambda: a.status()["peers"][0]["seconds_left"], "the time that is left") < 600


@pytest.mark.parametrize("columns", [40, 80])
def test_both_sides_tell_rate_and_time_left_for_each_device_in_any_terminal(world: World, columns: int) -> None:
    a, b = world.sharing("a", "b")
    b.ctl("limit", "--down", "256K")
    (a.mount() / "large").write_bytes(os.urandom(_SIZE))

    def told(device: Device, pattern: str) -> None:
        def found() -> re.Match[str] | None:
            lines = in_terminal(device, [b"status"], columns, fork).decode().splitlines()
            assert all(columns_of(line) <= columns for line in lines)
            return re.search(pattern, " ".join(" ".join(lines).split()))

        until(found, f"{device.name} to say {pattern}")

    rate, left = r"\d+(\.\d)? .iB a second", r"about [^.,)]+"
    told(b, rf"Now: fetching {rate} from a \(\d+(\.\d)? MiB left, {left}\)")
    told(a, rf"Now: sending {rate} to b\. .*To send: b has \d+ %; 1 file, 1\d\.\d MiB to go, at {rate}, {left} left\.")


def test_doctor_tells_of_the_network_the_devices_the_clock_limits_and_versions(world: World) -> None:
    _a, b = world.sharing("a", "b")
    b.ctl("limit", "--up", "1M")

    def reached() -> dict[str, dict[str, object]]:
        found = {check["subject"]: check for check in b.json("doctor")}
        assert "a is reached directly (127.0.0.1:" in found["nat"]["message"]
        return found

    found = until(reached, "doctor to tell how a is reached")
    assert all(check["ok"] for check in found.values())
    assert {"network", "relay", "devices", "nat", "clock", "limits", "versions"} < found.keys()
    assert "sending at most 1.0 MiB a second" in str(found["limits"]["message"])


def test_a_watched_status_outlives_the_daemon_and_starts_none(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [str(BIN / "holofsctl"), "status", "--watch"]
    environment = {**a.environment, "TERM": "xterm"}
    with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as watching:
        os.close(theirs)
        shown = b""

        def sees(text: bytes) -> bool:
            nonlocal shown
            while select.select([ours], [], [], 0)[0]:
                shown += os.read(ours, 65536)
            return text in shown.rpartition(FRAME)[2]

        until(lambda: sees(b"docs: "), "the status")
        a.down()
        until(lambda: sees(b"holofsd is not running"), "that there is no daemon")
        until(lambda: sees(b"docs: "), "the status of before, below")
        assert a.ctl("status", check=False).code == 3
        a.up()
        until(lambda: not sees(b"not running") and sees(b"docs: "), "the status of the new daemon")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 130
    os.close(ours)
