# SPDX-License-Identifier: GPL-3.0-or-later
"""Choice of how many connections content comes over: as many as help, and fewer where they take the room of others.

A connection that loses packets holds itself back, though the line has room: then several bring more than one. Where one
fills the line more bring nothing, and where packets queue in front of the line more only take from other programs. So
more are tried while all streams are in use, kept if they bring clearly more, and given back when the round trip grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STEPS: Final = (0, 4, 8, 16)
"""Connections beside the one of the sessions. 0: content comes over that one, too."""
GAIN: Final = 1.25
"""More connections are kept if they bring so many times as much."""
LEAST: Final = 16 * 1024
"""Bytes a second below which more connections are not tried: the other device has little to give."""
SLOW: Final = 1024 * 1024
"""Bytes a second below which as many as there may be are tried at once: each step takes long to show what it brings."""
PAUSE_LEAST: Final = 60.0
"""Seconds until more are tried again after they brought nothing; doubles each time."""
PAUSE_MOST: Final = 1800.0
QUEUE_FACTOR: Final = 1.5
QUEUE_S: Final = 0.010
"""Packets queue if the round trip is so many times as long as the shortest one, and so many seconds more."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Measurement of one window. `at`: its end, in seconds of a clock that only goes forward."""

    at: float
    bytes_a_second: float
    is_full: bool
    """All streams were in use, nearly all the time."""
    round_trip: float | None
    """Seconds; None where it is not known."""


class LineCount:
    """Number of connections for content, chosen from one sample after the other."""

    def __init__(self, steps: tuple[int, ...] = STEPS) -> None:
        self._steps = steps
        self._step = 0
        self._best = 0
        """The step that helped last: after a rest it is tried first."""
        self._before: tuple[int, float] | None = None
        """While more are tried: the step before, and how fast it was."""
        self._is_new = False
        """The number has just changed: the next window tells nothing."""
        self._again_at = 0.0
        self._pause = PAUSE_LEAST
        self._shortest: float | None = None

    @property
    def number(self) -> int:
        return self._steps[self._step]

    def rest(self) -> None:
        """Goes back to the connection of the sessions, because nothing is to be fetched."""
        self._step, self._before, self._is_new = 0, None, False

    def refused(self, now: float) -> None:
        """The other device takes no more connections, or its program knows nothing of them."""
        self._best = 0
        self.rest()
        self._wait(now)

    def sampled(self, sample: Sample) -> None:
        if sample.round_trip is not None:
            known = sample.round_trip if self._shortest is None else self._shortest
            self._shortest = min(sample.round_trip, known)
        if self._is_new or not sample.is_full:
            self._is_new = False
            return
        if self._before is not None:
            step, former = self._before
            self._before = None
            if sample.bytes_a_second < GAIN * former:
                self._change(step)
                self._best = min(self._best, step)
                self._wait(sample.at)
                return
            self._best, self._pause = self._step, PAUSE_LEAST
        if self._queues(sample.round_trip):
            if self._step:
                self._change(self._step - 1)
                self._wait(sample.at)
        elif self._may_try_more(sample):
            self._before = (self._step, sample.bytes_a_second)
            last = len(self._steps) - 1
            self._change(last if sample.bytes_a_second < SLOW else max(self._step + 1, self._best))

    def _may_try_more(self, sample: Sample) -> bool:
        is_time = sample.at >= self._again_at and sample.bytes_a_second >= LEAST
        return is_time and self._step + 1 < len(self._steps)

    def _queues(self, round_trip: float | None) -> bool:
        shortest = self._shortest
        return round_trip is not None and shortest is not None and round_trip > QUEUE_FACTOR * shortest + QUEUE_S

    def _change(self, step: int) -> None:
        self._step, self._is_new = step, True

    def _wait(self, now: float) -> None:
        self._again_at = now + self._pause
        self._pause = min(2 * self._pause, PAUSE_MOST)
