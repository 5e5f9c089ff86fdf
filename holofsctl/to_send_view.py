# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of `holofsctl status` about what other devices of a volume still lack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from holofs_api.v1 import control_pb2 as pb
from holofs_api.words import count
from holofsctl.output import duration, moment, safe, size

_MOST_LINES: Final = 10
"""Devices with a line of their own; the others are counted."""
LEAST_RATE: Final = 1024
"""Bytes a second; what is slower are remarks, not files."""


def to_send_lines(status: pb.VolumeStatus, names: Mapping[str, str], peers: Mapping[str, pb.Peer]) -> list[str]:
    """Writes one line for each device that lacks something, those that are connected first, then one for those of which
    nothing is known. None where all others have everything."""
    present = sorted((device for device in status.devices if not device.left), key=lambda device: not device.connected)
    lacking = [device for device in present if lacks_any(device)]
    lines = [
        f"To send: {safe(names[device.device_id])} {_told(device, peers.get(device.device_id, pb.Peer()))}."
        for device in lacking[:_MOST_LINES]
    ]
    if (more := len(lacking) - _MOST_LINES) > 0:
        lack = "lacks" if more == 1 else "lack"
        lines.append(f"To send: {count(more, 'other device')} {lack} something, too (--json says what).")
    unknown = [safe(names[one.device_id]) for one in present if not one.HasField("to_send") and not one.complete]
    if unknown:
        whose = ", ".join(unknown[:_MOST_LINES]) + (" and others" if len(unknown) > _MOST_LINES else "")
        lines.append(f"To send: how much is to go to {whose} is not known.")
    return lines


def lacks_any(device: pb.DeviceSafety) -> bool:
    """Tests that a device is known to lack something, whoever wrote it."""
    return bool(device.to_send.files or device.to_send.others or device.to_send.more)


def _told(device: pb.DeviceSafety, peer: pb.Peer) -> str:
    to_go = _to_go(device.to_send)
    has = f"{device.to_send.percent} %; " if device.to_send.HasField("percent") else ""
    if device.connected:
        return (f"has {has}{to_go} to go" if has else f"lacks {to_go}") + _how_long(peer)
    when = moment(device.complete_as_of_ms)
    return f"had {has}{to_go} to go, by what it said at {when}" if has else f"lacks {to_go}, by what it said at {when}"


def _how_long(peer: pb.Peer) -> str:
    if peer.sending < LEAST_RATE:
        return ""
    left = f", about {duration(peer.seconds_left)} left" if peer.seconds_left else ""
    return f", at {size(peer.sending)} a second{left}"


def _to_go(to_send: pb.ToSend) -> str:
    parts = []
    if to_send.files:
        rest = f", {size(to_send.bytes - to_send.sent_bytes)}" if to_send.bytes else ""
        parts.append(count(to_send.files, "file") + rest)
    if to_send.others:
        parts.append(count(to_send.others, "other change"))
    return f"{'at least ' if to_send.more else ''}{' and '.join(parts)}"
