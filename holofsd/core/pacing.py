# SPDX-License-Identifier: GPL-3.0-or-later
"""Order and pace of traffic under a limit: a token bucket with a queue for each class of traffic. Pure.

All streams and connections of one direction share one pacer. A turn is granted when nothing is owed, and then takes its
bytes, more than there are if need be: the next one waits for as long as that is worth.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from holofsd.core.allowance import Allowance

BURST_S: Final = 0.25
"""Seconds of the limit that can be taken at once after a rest. It also makes up for turns that are granted late."""
PIECE_S: Final = 0.1
"""Seconds of the limit that one turn takes at most, where the sender can cut its data into pieces."""
LEAST_PIECE: Final = 4096
SHARE: Final = 8
"""Every eighth turn is one of a less urgent class, if any waits: a stream that stands still is given up elsewhere."""


class TrafficLane(IntEnum):
    """Class of traffic, the most urgent first."""

    URGENT = 0
    """Content that a program waits for, here or on the device that asks."""
    RECORDS = 1
    REST = 2
    """Content that no program waits for."""


@dataclass(slots=True, eq=False)
class PacedTurn:
    """One piece of traffic that waits for its turn. `size` is in bytes, `number` the order in which turns were asked
    for."""

    size: int
    lane: TrafficLane
    number: int = 0


def piece(rate: float, most: int, seconds: float = PIECE_S) -> int:
    """Size in which data is sent or asked for under a limit: so many seconds of it, at least `LEAST_PIECE`."""
    return min(most, max(LEAST_PIECE, int(rate * seconds)))


class Pacer:
    """`rate`: bytes a second. Times are in seconds, of any clock that only goes forward."""

    def __init__(self, rate: float) -> None:
        self._bucket = Allowance(rate, max(rate * BURST_S, LEAST_PIECE))
        self._lanes: dict[TrafficLane, OrderedDict[PacedTurn, None]] = {lane: OrderedDict() for lane in TrafficLane}
        self._asked = 0
        self._since_other = 0
        """Turns since one was granted that was not of the most urgent class waiting."""

    def charge(self, size: int, now: float) -> None:
        """Takes bytes that wait for nothing: small messages, of which others wait for the sake of the limit."""
        self._bucket.take(size, now)

    def ask(self, turn: PacedTurn) -> None:
        self._asked += 1
        turn.number = self._asked
        self._lanes[turn.lane][turn] = None

    def forget(self, turn: PacedTurn) -> None:
        """Takes a turn back, unless it was granted."""
        self._lanes[turn.lane].pop(turn, None)

    def granted(self, now: float) -> list[PacedTurn]:
        """Turns that may go now, in their order."""
        found: list[PacedTurn] = []
        while self._bucket.wait(now) == 0 and (turn := self._next()) is not None:
            self._bucket.take(turn.size, now)
            found.append(turn)
        return found

    def wait(self, now: float) -> float | None:
        """Seconds until the next turn can be granted; None where none waits."""
        return self._bucket.wait(now) if any(self._lanes.values()) else None

    def _next(self) -> PacedTurn | None:
        """The oldest turn of the most urgent class; of the other classes the oldest of all, every `SHARE` turns."""
        oldest = [next(iter(lane)) for lane in self._lanes.values() if lane]
        if not oldest:
            return None
        chosen, others = oldest[0], oldest[1:]
        self._since_other += 1
        if others and self._since_other >= SHARE:
            self._since_other = 0
            chosen = min(others, key=lambda turn: turn.number)
        self.forget(chosen)
        return chosen
