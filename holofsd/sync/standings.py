# SPDX-License-Identifier: GPL-3.0-or-later
"""Standings of devices beside each other: which are asked for content last for a while. None is ever banned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import structlog

from holofsd.core.ids import DeviceId

log = structlog.get_logger(__name__)

LAST_LEAST: Final = 60.0
"""Seconds for which a device that was slower than another one, or sent what is wrong, is asked last; doubles."""
LAST_MOST: Final = 3600.0


@dataclass(slots=True)
class _Standing:
    """Standing of a device beside the others. `last_until`: loop time up to which others are asked first."""

    last_until: float = 0.0
    times: int = 0


class Standings:
    """Standings of all devices that one fetcher asks. Times are the loop's."""

    def __init__(self) -> None:
        self._devices: dict[DeviceId, _Standing] = {}

    def better_than(self, device: DeviceId, others: Iterable[DeviceId], now: float) -> list[DeviceId]:
        """Lists the other devices that are asked first, if this one is to be asked last."""
        if not self._is_last(device, now):
            return []
        return [other for other in others if other != device and not self._is_last(other, now)]

    def _is_last(self, device: DeviceId, now: float) -> bool:
        standing = self._devices.get(device)
        return standing is not None and standing.last_until > now

    def ask_last(self, device: DeviceId, now: float) -> None:
        """Asks a device last for a while, longer each time. It is never banned, because it may be the only one that has
        something."""
        standing = self._devices.setdefault(device, _Standing())
        if standing.last_until <= now:
            standing.last_until = now + min(LAST_MOST, LAST_LEAST * 2.0 ** min(standing.times, 10))
            standing.times += 1
            log.info("a device is asked for content last for a while", peer=device.hex()[:8])
