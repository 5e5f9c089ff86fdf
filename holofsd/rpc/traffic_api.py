# SPDX-License-Identifier: GPL-3.0-or-later
"""Interface of the daemon to the Control service for pauses and limits, as a protocol and plain values (see
`device_api`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PauseInfo:
    """One thing that is paused: a volume, a device, or everything where both are empty. See control.proto."""

    volume: str = ""
    device: str = ""
    device_id: str = ""
    until_ms: int = 0
    """0: until it is resumed."""


@dataclass(frozen=True, slots=True)
class TrafficStatus:
    """Pauses, and limits in bytes a second; 0: none."""

    pauses: tuple[PauseInfo, ...] = ()
    down: int = 0
    up: int = 0
    changes_ms: int = 0
    lan_exempt: bool = False
    metered: str = ""
    background_waits: bool = False
    sent_bytes: int = 0
    received_bytes: int = 0


class TrafficService(Protocol):
    async def pause(self, volume: str, device: str, for_seconds: int) -> TrafficStatus:
        """Pauses a volume, a device, or everything where both are empty; 0 seconds: until it is resumed."""

    async def resume(self, volume: str, device: str) -> TrafficStatus:
        """Ends the pause of a volume or a device, or all pauses where both are empty."""

    async def traffic(self) -> TrafficStatus:
        """Tells what is paused, and which limits hold now."""
