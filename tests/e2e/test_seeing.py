# SPDX-License-Identifier: GPL-3.0-or-later
"""Views of two real devices in `status`, `peers` and `doctor`: how each is reached, what goes how fast, and what is in
the way."""

from __future__ import annotations

import os

from support.device import Device, World
from support.wait import until

_SIZE = 6 << 20


def _rate(device: Device) -> int:
    return int(device.status()["network"]["receiving"])


def test_status_tells_how_a_device_is_reached_and_when_it_was_seen(world: World) -> None:
    a, b = world.sharing("a", "b")
    until(lambda: a.status()["peers"][0]["round_trip_us"] > 0, "b to answer")
    (peer,) = a.status()["peers"]
    assert (peer["name"], peer["path"], peer["last_seen_ms"]) == ("b", "direct", 0)
    assert f"connected directly ({peer['address']}, " in a.ctl("status").out
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
    b.ctl("limit", "--down", "512K")
    folder = a.mount()
    (folder / "large").write_bytes(os.urandom(_SIZE))
    until(lambda: _rate(b) > 100_000, "content to come")
    told = b.ctl("status").out
    assert "Now: fetching " in told
    assert " left, about " in told
    until(lambda: 0 < b.volume_status()["content_arrived_bytes"] < _SIZE, "a part of it")
    assert b.volume_status()["content_missing_bytes"] == _SIZE
    assert "sending " in a.ctl("status").out


def test_doctor_tells_of_the_network_the_devices_the_clock_limits_and_versions(world: World) -> None:
    a, b = world.sharing("a", "b")
    until(lambda: a.json("peers")[0]["connected"], "the devices to meet")
    b.ctl("limit", "--up", "1M")
    found = {check["subject"]: check for check in b.json("doctor")}
    assert all(check["ok"] for check in found.values())
    assert {"network", "relay", "devices", "nat", "clock", "limits", "versions"} < found.keys()
    assert "a is reached directly (127.0.0.1:" in found["nat"]["message"]
    assert "sending at most 1.0 MiB a second" in found["limits"]["message"]
