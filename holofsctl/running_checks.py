# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of `holofsctl doctor` that need a running daemon: network, relay, devices, clocks, limits, versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from holofs_api.v1 import control_pb2 as pb
from holofs_api.words import count
from holofsctl.check import Check
from holofsctl.commands.version import misfits
from holofsctl.devices import told_apart
from holofsctl.output import duration, safe
from holofsctl.status_view import how_reached
from holofsctl.traffic_view import limit_lines, pause_lines

_RELAY_NEEDS_S: Final = 30
"""Seconds after its start in which a daemon may still be looking for a relay."""
_THIS_MACHINE: Final = ("127.", "[::1]")
_OPEN_A_PORT: Final = (
    "to reach each other directly, one of both needs a UDP port that is open from outside (docs/living-with-it.md,"
    " Ports and firewalls)"
)


def running_checks(status: pb.StatusReply) -> Iterator[Check]:
    yield _network(status.network)
    yield _relay(status)
    yield from _devices(status)
    yield from _clocks(status)
    limits = [*pause_lines(status.traffic), *limit_lines(status.traffic)]
    yield Check(True, "limits", " ".join(limits) or "Nothing is paused or limited.")
    wrong = [Check(False, "versions", sentence) for sentence in misfits(status.mounts)]
    yield from wrong or [Check(True, "versions", "Daemon, mounts and this program work together.")]


def _network(network: pb.NetworkStatus) -> Check:
    at = safe(", ".join(network.addresses))
    if network.addresses and all(address.startswith(_THIS_MACHINE) for address in network.addresses):
        return Check(True, "network", f"Only devices on this machine reach this one, at {at}: network.bind says so.")
    if network.addresses:
        return Check(True, "network", f"Other devices reach this one at {at}.")
    return Check(False, "network", "This machine has no address on any network: connect it to one.")


def _relay(status: pb.StatusReply) -> Check:
    network = status.network
    if network.relay:
        return Check(True, "relay", f"{safe(network.relay)} passes on what cannot go directly.")
    if not network.uses_relays:
        return Check(True, "relay", "None is used, because the setting network.discovery is none.")
    if status.uptime_seconds < _RELAY_NEEDS_S:
        return Check(True, "relay", "None has answered yet; holofsd has just started.")
    return Check(
        False,
        "relay",
        "None answers, so devices behind other firewalls cannot reach this one. Allow outgoing TCP 443 and UDP 7842, or"
        " name a relay of your own in the setting network.relays.",
    )


def _devices(status: pb.StatusReply) -> Iterator[Check]:
    names = told_apart(status.peers, status.device_name)
    connected = [peer for peer in status.peers if peer.connected]
    if not status.peers:
        yield Check(True, "devices", "No other device has a volume of this one.")
        return
    yield Check(True, "devices", f"{len(connected)} of {count(len(status.peers), 'other device')} connected.")
    for peer in connected:
        way = f"{safe(names[peer.device_id])} is reached {how_reached(peer)}"
        yield Check(True, "nat", f"{way}: {_OPEN_A_PORT}." if peer.path == "relay" else f"{way}.")
    for peer in status.peers:
        if not peer.connected and peer.explanation:
            yield Check(True, "devices", f"{safe(names[peer.device_id])}: {safe(peer.explanation)}")


def _clocks(status: pb.StatusReply) -> Iterator[Check]:
    devices = {device.device_id: device for volume in status.volumes for device in volume.devices}
    names = told_apart(devices.values(), status.device_name)
    wrong = {names[id]: device.clock_ahead_ms for id, device in devices.items() if device.clock_ahead_ms}
    for name, ahead_ms in wrong.items():
        way = "ahead of" if ahead_ms > 0 else "behind"
        told = f"The clock of {safe(name)} is {duration(max(abs(ahead_ms) // 1000, 1))} {way} the one of this device"
        yield Check(False, "clock", f"{told}: `timedatectl set-ntp true` on both sets them right.")
    if not wrong:
        compared = sum(device.connected for device in devices.values())
        yield Check(True, "clock", f"It agrees with {count(compared, 'other device')} that can be asked.")
