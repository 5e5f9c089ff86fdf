# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings of `doctor` about a running daemon, each with what to do."""

from __future__ import annotations

from holofs_api.v1 import control_pb2 as pb
from holofsctl.check import Check
from holofsctl.running_checks import running_checks


def a_status(**more: object) -> pb.StatusReply:
    network = pb.NetworkStatus(addresses=["192.168.1.5:4433"], uses_relays=True, relay="https://r.example.org")
    reply = pb.StatusReply(uptime_seconds=3600, network=network)
    reply.MergeFrom(pb.StatusReply(**more))  # type: ignore[arg-type]
    return reply


def of(subject: str, status: pb.StatusReply) -> list[Check]:
    return [check for check in running_checks(status) if check.subject == subject]


def test_a_device_that_is_well_has_no_problem_and_every_subject() -> None:
    found = list(running_checks(a_status()))
    assert all(check.fine for check in found)
    assert [check.subject for check in found] == ["network", "relay", "devices", "clock", "limits", "versions"]


def test_a_machine_without_a_network_is_told() -> None:
    status = a_status()
    status.network.ClearField("addresses")
    (check,) = of("network", status)
    assert not check.fine
    assert "connect it" in check.sentence
    status.network.addresses.append("127.0.0.1:4433")
    assert of("network", status)[0].sentence.startswith("Only devices on this machine")


def test_a_relay_that_does_not_answer_is_told_but_not_at_once_and_not_where_none_is_used() -> None:
    status = a_status()
    status.network.relay = ""
    (check,) = of("relay", status)
    assert not check.fine
    assert "TCP 443 and UDP 7842" in check.sentence
    status.uptime_seconds = 5
    assert of("relay", status)[0].fine
    status.network.uses_relays, status.uptime_seconds = False, 3600
    assert of("relay", status)[0].fine


def test_a_device_behind_a_relay_is_told_with_the_way_around_it() -> None:
    near = pb.Peer(device_id="aa", name="desk", connected=True, path="direct", address="10.0.0.2:1", round_trip_us=900)
    far = pb.Peer(device_id="bb", name="nas", connected=True, path="relay", address="relay:https://r.example.org")
    off = pb.Peer(device_id="cc", name="shelf", explanation="No answer.")
    status = a_status(peers=[near, far, off])
    direct, relayed = of("nat", status)
    assert direct.sentence == "desk is reached directly (10.0.0.2:1, 0.9 ms)."
    assert "through a relay" in relayed.sentence
    assert "open from outside" in relayed.sentence
    assert [check.sentence for check in of("devices", status)] == [
        "2 of 3 other devices connected.",
        "shelf: No answer.",
    ]


def test_a_clock_that_is_wrong_is_told_with_how_to_set_it() -> None:
    late = pb.DeviceSafety(device_id="bb", name="nas", connected=True, clock_ahead_ms=-90_000)
    volume = pb.VolumeStatus(volume=pb.Volume(name="docs"), devices=[late])
    (check,) = of("clock", a_status(volumes=[volume]))
    assert not check.fine
    assert check.sentence.startswith("The clock of nas is 90 seconds behind the one of this device: ")
    assert "timedatectl set-ntp true" in check.sentence


def test_pauses_limits_and_a_mount_of_another_version_are_told() -> None:
    traffic = pb.TrafficStatus(pauses=[pb.PauseInfo(volume="docs")], down=1 << 20)
    mount = pb.MountInfo(path="/m", program="holofs-mount 9", api_version=9)
    status = a_status(traffic=traffic, mounts=[mount])
    (limits,) = of("limits", status)
    assert "Paused: the volume docs." in limits.sentence
    assert "at most 1.0 MiB a second" in limits.sentence
    (versions,) = of("versions", status)
    assert not versions.fine
    assert "holofsctl down" in versions.sentence
