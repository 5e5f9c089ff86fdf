# SPDX-License-Identifier: GPL-3.0-or-later
"""Pauses and limits for people: in `pause`, `resume`, `limit` and `status`."""

from __future__ import annotations

import time

from holofs_api.shell import shell_word
from holofs_api.v1 import control_pb2 as pb
from holofs_api.words import coming_time
from holofsctl.output import safe, size

_METERED = {"yes": "metered", "no": "not metered", "unknown": "not known to be metered"}


def pause_lines(traffic: pb.TrafficStatus) -> list[str]:
    """A sentence for each pause, with the command that ends it."""
    return [_pause(pause) for pause in traffic.pauses]


def _pause(pause: pb.PauseInfo) -> str:
    until = _until(pause.until_ms)
    if pause.volume:
        return f"Paused{until}: the volume {safe(pause.volume)}. `holofsctl resume {shell_word(pause.volume)}` ends it."
    if pause.device_id:
        name = safe(pause.device or pause.device_id[:8])
        command = f"`holofsctl resume --device {shell_word(pause.device_id[:16])}`"
        return f"Paused{until}: the traffic with {name}. {command} ends it."
    return f"Paused{until}: everything. `holofsctl resume` ends it."


def limit_lines(traffic: pb.TrafficStatus) -> list[str]:
    """Sentences about the limits that hold now; none where there are none."""
    lines = []
    if traffic.down or traffic.up or traffic.changes_ms:
        until = _until(traffic.changes_ms)
        rates = f"fetching {_rate(traffic.down)}, sending {_rate(traffic.up)}"
        exempt = "; devices in the local network are not limited" if traffic.lan_exempt else ""
        lines.append(f"Limits{until}: {rates}{exempt}.")
    if traffic.metered:
        only = ": only what programs read is fetched" if traffic.background_waits else ""
        lines.append(f"The network is {_METERED.get(traffic.metered, 'not known to be metered')}{only}.")
    return lines


def is_paused(traffic: pb.TrafficStatus, volume: str) -> bool:
    """Returns whether a volume, by its name, has no traffic at all."""
    return any(pause.volume == volume or not (pause.volume or pause.device_id) for pause in traffic.pauses)


def _rate(rate: int) -> str:
    return f"at most {size(rate)} a second" if rate else "without a limit"


def _until(at_ms: int) -> str:
    return f" until {coming_time(at_ms, time.time_ns() // 1_000_000)}" if at_ms else ""
