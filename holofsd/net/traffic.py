# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters of what goes over the network, and how fast it goes: of all of it, and of each other device."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from holofsd.core.ids import DeviceId

RATE_WINDOW_S: Final = 10
MOST_DEVICES: Final = 1000
"""Devices that are counted each. A stranger can have any number of ids."""


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
    (encryption, acknowledgements, what is sent again) and signs of life are not in it. `whole`: the counter of which
    this one is a part."""

    sent: int = 0
    received: int = 0
    sending: RecentRate = field(default_factory=RecentRate, compare=False)
    receiving: RecentRate = field(default_factory=RecentRate, compare=False)
    whole: Traffic | None = None

    def note_sent(self, size: int) -> None:
        self.sent += size
        self.sending.add(size)
        if self.whole is not None:
            self.whole.note_sent(size)

    def note_received(self, size: int) -> None:
        self.received += size
        self.receiving.add(size)
        if self.whole is not None:
            self.whole.note_received(size)


class TrafficCounters:
    """Counters of an endpoint: the whole, and a part for each device. Where there are too many, the one with the fewest
    bytes is forgotten: strangers, which are heard for a handshake, do not take the place of members."""

    def __init__(self, most: int = MOST_DEVICES) -> None:
        self.whole = Traffic()
        self._most = most
        self._devices: dict[DeviceId, Traffic] = {}

    def of(self, device: DeviceId) -> Traffic:
        """The counter for connections with a device, made if there is none."""
        found = self._devices.get(device)
        if found is None:
            if len(self._devices) >= self._most:
                del self._devices[min(self._devices, key=self._bytes)]
            found = self._devices[device] = Traffic(whole=self.whole)
        return found

    def told(self, device: DeviceId) -> Traffic:
        """Bytes counted for a device. Zeros where none were."""
        return self._devices.get(device, Traffic())

    def _bytes(self, device: DeviceId) -> int:
        counted = self._devices[device]
        return counted.sent + counted.received
