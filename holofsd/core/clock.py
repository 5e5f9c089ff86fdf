# SPDX-License-Identifier: GPL-3.0-or-later
"""The hybrid logical clock of one author (Kulkarni et al. 2014), told the time by its caller."""

from __future__ import annotations

from typing import Final

from holofsd.core.ids import AuthorId, Hlc

FOLLOW_MS: Final = 24 * 3600 * 1000
"""How far beyond the wall clock a stamp from elsewhere is followed."""
MAX_WALL_MS: Final = 2**48 - 1
_PROGRAM_MS: Final = 1_767_225_600_000
"""2026-01-01: no clock that is right is behind it."""
_AHEAD_MS: Final = 200 * 31_557_600_000
"""200 years."""
_OWN_MOST_MS: Final = _PROGRAM_MS + _AHEAD_MS // 2
"""A device whose own clock is beyond this gives stamps of this time, which the others accept."""
MAX_COUNTER: Final = 2**32 - 1


def above(stamp: Hlc, old: Hlc | None) -> Hlc:
    """`stamp`, or the next stamp of the same author after `old` where `stamp` is not above it.

    A register write goes through this, so it wins even over a value stamped by a clock that is years ahead. Stamps at
    the very end of the range, which nothing is above, are not accepted from outside (`latest_ms`).
    """
    if old is None or stamp > old:
        return stamp
    return _next(old, stamp.author)


def _next(old: Hlc, author: AuthorId) -> Hlc:
    if old.counter < MAX_COUNTER:
        return Hlc(old.wall_ms, old.counter + 1, author)
    return Hlc(min(old.wall_ms + 1, MAX_WALL_MS), 0 if old.wall_ms < MAX_WALL_MS else MAX_COUNTER, author)


def latest_ms(now_ms: int) -> int:
    """The greatest wall time of a stamp from elsewhere that is accepted now."""
    return min(max(now_ms, _PROGRAM_MS), _OWN_MOST_MS) + _AHEAD_MS


class HybridClock:
    """Gives stamps that never go backwards. Not thread safe.

    A `last` beyond what others accept, from an earlier program and a wrong clock, is forgotten: what is stamped above
    it would not be heard for a hundred years.
    """

    def __init__(self, author: AuthorId, last: Hlc | None = None) -> None:
        self._author = author
        self._last = last if last is None or last.wall_ms < latest_ms(0) else None

    @property
    def last(self) -> Hlc | None:
        """Newest stamp that the clock gave or observed. The caller stores it, so that a restarted clock goes on after
        it."""
        return self._last

    def tick(self, now_ms: int, above: Hlc | None = None) -> Hlc:  # the name is the callers' word
        """A stamp strictly greater than all before, and than `above`.

        Where `above` lies more than 24 h ahead the stamp is greater once, and the clock does not follow: one wrong
        stamp must not carry every later stamp of this device into the future.
        """
        now = min(max(now_ms, 0), _OWN_MOST_MS)
        stamp = Hlc(now, 0, self._author)
        if self._last is not None and stamp <= self._last:
            stamp = _next(self._last, self._author)
        if above is not None and stamp <= above:
            stamp = _next(above, self._author)
            if above.wall_ms > now + FOLLOW_MS:
                return stamp
        self._last = stamp
        return stamp

    def observe(self, stamp: Hlc, now_ms: int) -> None:
        """Learn of a stamp from elsewhere; one more than 24 h ahead is not followed at all."""
        if stamp.wall_ms <= min(now_ms, _OWN_MOST_MS) + FOLLOW_MS and (self._last is None or stamp > self._last):
            self._last = stamp
