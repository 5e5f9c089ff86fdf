# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters of what goes over the network, and how fast it goes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

RATE_WINDOW_S: Final = 10


class RecentRate:
    """Bytes a second over the last `RATE_WINDOW_S` seconds, counted in slots of one second. `now`: seconds of any clock
    that only goes forward."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._slots: deque[tuple[int, int]] = deque()

    def add(self, size: int) -> None:
        second = int(self._now())
        if self._slots and self._slots[-1][0] == second:
            size += self._slots.pop()[1]
        self._slots.append((second, size))
        self._forget(second)

    def bytes_a_second(self) -> int:
        """Returns the mean since the first byte of the window, so that what began a moment ago is not told too slow."""
        now = self._now()
        self._forget(int(now))
        if not self._slots:
            return 0
        return int(sum(size for _, size in self._slots) / max(now - self._slots[0][0], 1.0))

    def _forget(self, second: int) -> None:
        while self._slots and self._slots[0][0] <= second - RATE_WINDOW_S:
            self._slots.popleft()


@dataclass(slots=True)
class Traffic:
    """Bytes of frames with other devices since an endpoint was bound, over all its connections. What QUIC adds
    (encryption, acknowledgements, what is sent again) and signs of life are not in it."""

    sent: int = 0
    received: int = 0
    sending: RecentRate = field(default_factory=RecentRate, compare=False)
    receiving: RecentRate = field(default_factory=RecentRate, compare=False)

    def count_sent(self, size: int) -> None:
        self.sent += size
        self.sending.add(size)

    def count_received(self, size: int) -> None:
        self.received += size
        self.receiving.add(size)
