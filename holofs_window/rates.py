# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates of sending and fetching, from counters that the daemon tells at each look. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

OVER_S: Final = 4.0
"""Seconds over which a rate is taken: a single look, of what a limit lets through in pieces, would jump."""

Counted = tuple[int, int]
"""Bytes sent and received."""


class RateMeter:
    """The newest looks at counters, by name. A counter that began anew, with its daemon, has no rate at first."""

    def __init__(self, over_s: float = OVER_S) -> None:
        self._over_s = over_s
        self._looks: deque[tuple[float, Mapping[str, Counted]]] = deque()

    def note(self, now: float, counted: Mapping[str, Counted]) -> dict[str, list[int]]:
        """Bytes a second, sent and received, of every counter that was there before."""
        self._looks.append((now, counted))
        while len(self._looks) > 2 and self._looks[1][0] <= now - self._over_s:
            self._looks.popleft()
        then, before = self._looks[0]
        return {
            name: [_rate(new - old, now - then) for old, new in zip(before.get(name, both), both, strict=True)]
            for name, both in counted.items()
        }


def _rate(size: int, seconds: float) -> int:
    return round(size / seconds) if size > 0 and seconds > 0 else 0
