# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of what a person or the time does with the traffic: pauses that begin and end, and limits that change."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from holofsd.rpc.traffic_api import PauseInfo, TrafficStatus
from holofsd.rpc.watching_api import Event

_Target = tuple[str, str]
"""Volume and id of the device; both empty: everything."""


class TrafficEvents:
    """Compares each look with the last one. The first look tells nothing."""

    def __init__(self, status: Callable[[], TrafficStatus], now_ms: Callable[[], int]) -> None:
        self._status = status
        self._now_ms = now_ms
        self._pauses: dict[_Target, PauseInfo] | None = None
        self._limits = 0, 0

    def take(self) -> list[Event]:
        """Events of all that is otherwise than at the last call."""
        status = self._status()
        pauses = {(pause.volume, pause.device_id): pause for pause in status.pauses}
        limits = status.down, status.up
        before, self._pauses = self._pauses, pauses
        known, self._limits = self._limits, limits
        if before is None:
            return []
        found = [*self._of_pauses(before, pauses)]
        return found + ([Event("limits", self._now_ms(), down=status.down, up=status.up)] if limits != known else [])

    def _of_pauses(self, before: dict[_Target, PauseInfo], now: dict[_Target, PauseInfo]) -> Iterator[Event]:
        for target, pause in before.items():
            if target not in now:
                yield self._event("resumed", pause)
        for target, pause in now.items():
            known = before.get(target)
            if known is None or known.until_ms != pause.until_ms:
                yield self._event("paused", pause, pause.until_ms)

    def _event(self, kind: str, pause: PauseInfo, until_ms: int = 0) -> Event:
        return Event(
            kind,
            self._now_ms(),
            volume=pause.volume,
            device=pause.device,
            device_id=pause.device_id,
            until_ms=until_ms,
        )
