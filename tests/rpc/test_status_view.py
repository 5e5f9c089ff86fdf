# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices, rates and lies in `status`. Lies are shown in full while they are recent, then as a number, so that it is
calm again by itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from holofs_api.v1 import control_pb2 as pb
from holofsctl.status_view import status_lines

DAY_MS = 86_400_000


def lines_about(*lies: pb.Lie) -> list[str]:
    volume = pb.VolumeStatus(volume=pb.Volume(name="docs", state="ready"), lies=lies)
    lines = status_lines(pb.StatusReply(volumes=[volume]))
    return [line.strip() for line in lines if "Untrue" in line or "Long ago" in line]


def lie(days: int, number: int) -> pb.Lie:
    last_ms = int(time.time() * 1000) - days * DAY_MS
    return pb.Lie(name="rogue", what=f"told {number}", number=number, first_ms=1, last_ms=last_ms, example="file")


def test_a_recent_lie_is_shown_in_full() -> None:
    (line,) = lines_about(lie(29, 2))
    assert line.startswith("Untrue: rogue told 2 (2 times, last at ")


def test_what_was_told_long_ago_is_one_line_with_the_number_of_all() -> None:
    full, rest = lines_about(lie(1, 5), lie(31, 3), lie(400, 40))
    assert "told 5" in full
    assert rest.startswith("Long ago: 43 untrue statements of members, the last at ")
    assert "rogue" not in rest


def test_an_honest_volume_has_no_line() -> None:
    assert lines_about() == []


MIB = 1 << 20


def of_device(safety: pb.DeviceSafety, peer: pb.Peer) -> str:
    volume = pb.VolumeStatus(volume=pb.Volume(name="docs", state="ready"), devices=[safety])
    lines = status_lines(pb.StatusReply(volumes=[volume], peers=[peer]))
    return next(line.strip() for line in lines if line.startswith("    desk"))


def test_a_device_is_told_with_its_path_its_address_and_its_round_trip() -> None:
    safety = pb.DeviceSafety(device_id="bb", name="desk", connected=True, complete=True)
    direct = pb.Peer(device_id="bb", connected=True, path="direct", address="10.0.0.2:4433", round_trip_us=12_340)
    assert of_device(safety, direct) == "desk  connected directly (10.0.0.2:4433, 12.3 ms)  holds everything"
    relay = pb.Peer(device_id="bb", connected=True, path="relay", address="relay:https://r.example.org")
    assert (
        of_device(safety, relay)
        == "desk  connected through a relay (https://r.example.org, no answer now)  holds everything"
    )
    assert of_device(safety, pb.Peer()) == "desk  connected  holds everything"


def test_a_device_that_is_off_is_told_with_when_it_was_seen() -> None:
    safety = pb.DeviceSafety(device_id="bb", name="desk", complete=True)
    seen = pb.Peer(device_id="bb", last_seen_ms=int(time.time() * 1000) - 3 * DAY_MS)
    assert of_device(safety, seen).startswith("desk  not connected, last seen 20")
    assert of_device(safety, pb.Peer(device_id="bb")) == "desk  not connected  holds everything"


def test_a_device_of_a_paused_volume_is_told_as_paused() -> None:
    safety = pb.DeviceSafety(device_id="bb", name="desk", complete=True)
    volume = pb.VolumeStatus(volume=pb.Volume(name="docs", state="ready"), devices=[safety])
    traffic = pb.TrafficStatus(pauses=[pb.PauseInfo(volume="docs")])
    lines = status_lines(pb.StatusReply(volumes=[volume], traffic=traffic))
    assert "    desk  paused  holds everything" in lines


def test_what_goes_over_the_network_is_told_with_its_rate_and_the_time_that_is_left() -> None:
    volume = pb.VolumeStatus(volume=pb.Volume(name="docs", state="ready"), content_missing=2)
    volume.content_missing_bytes, volume.content_arrived_bytes = 400 * MIB, 100 * MIB
    network = pb.NetworkStatus(receiving=2 * MIB, sending=512 * 1024, seconds_left=150)
    left = "300 MiB left, about 2 minutes 30 seconds"
    assert now(volume, network) == f"Now: fetching 2.0 MiB a second ({left}), sending 512 KiB a second."
    desk = pb.Peer(device_id="bb", name="desk", receiving=2 * MIB, sending=512 * 1024)
    told = now(volume, network, desk)
    assert told == f"Now: fetching 2.0 MiB a second from desk ({left}), sending 512 KiB a second to desk."
    nas = pb.Peer(device_id="cc", name="nas", receiving=MIB)
    told = now(volume, network, nas, desk)
    shares = "2.0 MiB from desk, 1.0 MiB from nas"
    assert told == f"Now: fetching 2.0 MiB a second ({shares}; {left}), sending 512 KiB a second to desk."
    many = [pb.Peer(device_id=f"{number}", name=f"d{number}", receiving=(9 - number) * MIB) for number in range(6)]
    assert "(9.0 MiB from d0, 8.0 MiB from d1, 7.0 MiB from d2, 6.0 MiB from d3 and others; " in now(
        volume, network, *many
    )
    assert now(volume, pb.NetworkStatus(receiving=20, sending=900)) == ""


def now(volume: pb.VolumeStatus, network: pb.NetworkStatus, *peers: pb.Peer) -> str:
    lines = status_lines(pb.StatusReply(volumes=[volume], network=network, peers=peers))
    return next((line for line in lines if line.startswith("Now:")), "")


def test_the_room_on_the_disk_is_told() -> None:
    space = pb.SpaceStatus(free_bytes=5 << 30, total_bytes=20 << 30)
    assert status_lines(pb.StatusReply(space=space))[-1] == "Disk: 5.0 GiB free of 20.0 GiB."


def sending(*devices: pb.DeviceSafety, peers: Sequence[pb.Peer] = ()) -> list[str]:
    status = pb.VolumeStatus(volume=pb.Volume(name="docs", state="ready"), devices=devices)
    lines = status_lines(pb.StatusReply(volumes=[status], peers=peers))
    return [line.strip().removeprefix("To send: ") for line in lines if "To send: " in line]


def device(name: str, connected: bool = True, **more: Any) -> pb.DeviceSafety:
    return pb.DeviceSafety(device_id=name * 2, name=name, connected=connected, complete_as_of_ms=DAY_MS, **more)


def test_what_is_still_to_be_sent_is_told_for_each_device() -> None:
    to_send = pb.ToSend(files=3, bytes=3 << 30, sent_bytes=2 << 30, percent=96)
    assert sending(device("bob", to_send=to_send)) == ["bob has 96 %; 3 files, 1.0 GiB to go."]
    (away,) = sending(device("nas", False, to_send=to_send))
    assert away.startswith("nas had 96 %; 3 files, 1.0 GiB to go, by what it said at 1970-01-02 ")
    small = pb.ToSend(files=1, bytes=1, others=2, percent=99)
    assert sending(device("bob", to_send=small)) == ["bob has 99 %; 1 file, 1 byte and 2 other changes to go."]
    assert sending(device("bob", to_send=pb.ToSend(others=1, percent=99))) == ["bob has 99 %; 1 other change to go."]
    assert sending(device("bob", to_send=pb.ToSend(files=100, percent=0))) == ["bob has 0 %; 100 files to go."]
    large = pb.ToSend(files=99_000, bytes=1 << 40, others=1000, more=True)
    assert sending(device("bob", to_send=large)) == [
        "bob lacks at least 99,000 files, 1.0 TiB and 1,000 other changes."
    ]


def test_what_is_being_sent_is_told_with_its_rate_and_the_time_that_is_left() -> None:
    bob = device("bob", to_send=pb.ToSend(files=3, bytes=1 << 30, percent=96))
    fast = pb.Peer(device_id="bobbob", sending=2 * MIB, seconds_left=512)
    assert sending(bob, peers=[fast]) == [
        "bob has 96 %; 3 files, 1.0 GiB to go, at 2.0 MiB a second, about 8 minutes 32 seconds left."
    ]
    slow = pb.Peer(device_id="bobbob", sending=20)
    assert sending(bob, peers=[slow]) == ["bob has 96 %; 3 files, 1.0 GiB to go."]
    part = device("bob", to_send=pb.ToSend(files=3, more=True))
    unknown = pb.Peer(device_id="bobbob", sending=2 * MIB)
    assert sending(part, peers=[unknown]) == ["bob lacks at least 3 files, at 2.0 MiB a second."]


def test_nothing_to_send_has_no_line_and_what_is_not_known_is_not_nothing() -> None:
    assert sending(device("bob", to_send=pb.ToSend()), device("old", complete=True)) == []
    assert sending(device("gone", False, left=True)) == []
    assert sending(device("eve"), device("zoe", False)) == ["how much is to go to eve, zoe is not known."]


def test_many_devices_that_lack_something_are_counted() -> None:
    names = [f"device{number}" for number in range(12)]
    found = sending(*(device(name, name == "device11", to_send=pb.ToSend(files=1)) for name in names))
    assert len(found) == 11
    assert found[0].startswith("device11 lacks ")
    assert found[-1] == "2 other devices lack something, too (--json says what)."


def test_a_device_is_not_said_to_have_held_everything_when_it_said_what_it_holds() -> None:
    late = pb.DeviceSafety(device_id="bb", name="desk", connected=True, complete_as_of_ms=1, records_behind=3)
    assert of_device(late, pb.Peer()).startswith("desk  connected  said at 1970-01-0")
    assert of_device(late, pb.Peer()).endswith(" what it holds  3 behind")
    late.to_send.files = 3
    both = pb.DeviceSafety(device_id="bb", name="desk", complete=True, to_send=pb.ToSend(files=1))
    assert of_device(both, pb.Peer()).endswith("  holds all that was written here")
    assert of_device(late, pb.Peer()).endswith(" what it holds")
