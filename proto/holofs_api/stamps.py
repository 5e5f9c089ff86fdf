# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock of all times that programs see on files: the one by which the kernel stamps what a program touches.

Linux stamps files with its coarse clock, up to 10 ms behind the precise one, and FUSE hands "now" over as a time like
any other. A file stamped by the precise clock would be newer than one that is touched after it. Since Linux 6.13 the
kernel's stamps are sometimes ahead of the coarse clock that processes can read: after one was seen, none is below it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

from holofs_api.numbers import time_in_range

LEAD_NS: Final = 20_000_000
"""Nanoseconds by which a stamp of the kernel can be ahead of the coarse clock: two ticks of the slowest timer.

Times further ahead are no stamps, but wishes of a program, or from before the clock was set back.
"""
_COARSE: Final = 5 if sys.platform == "linux" else time.CLOCK_REALTIME
"""CLOCK_REALTIME_COARSE of linux/time.h, which the module `time` does not name."""


def coarse_ns() -> int:
    return time.clock_gettime_ns(_COARSE)


class StampClock:
    """Gives times that never go back, unless the clock of the machine does. Not thread safe."""

    def __init__(self, read: Callable[[], int] = coarse_ns) -> None:
        self._read = read
        self._last = 0

    def now(self) -> int:
        """Nanoseconds since 1970, inside the range of times."""
        now = self._read()
        if not now < self._last <= now + LEAD_NS:
            self._last = time_in_range(now)
        return self._last

    def seen(self, time_ns: int) -> None:
        """Takes note of a time that a file got: if it is a stamp of the kernel, no later one is below it."""
        if self._last < time_ns <= self._read() + LEAD_NS:
            self._last = time_ns


CLOCK: Final = StampClock()
"""The clock of this process: all mounts and volumes in it."""
