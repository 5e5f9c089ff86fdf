# SPDX-License-Identifier: GPL-3.0-or-later
"""Token bucket: how much of something another device may cost this one, and how long the rest has to wait. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

LEAST = 1e-6
"""Seconds that are not worth waiting for."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Allowance:
    """`burst` can be taken at once; it comes back at `rate` a second. Times are in seconds, of any clock that only goes
    forward."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = 0.0

    def take(self, cost: float, now: float) -> float:
        """Takes `cost`, more than there is if need be; the seconds to wait until nothing is owed."""
        self._refill(now)
        self._left -= cost
        return self._owed()

    def wait(self, now: float) -> float:
        """The seconds until nothing is owed."""
        self._refill(now)
        return self._owed()

    def _owed(self) -> float:
        owed = -self._left / self._rate
        return owed if owed > LEAST else 0.0

    def _refill(self, now: float) -> None:
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now


class Recent(Generic[K, V]):
    """A value for each of the keys used last, made when it is first asked for. The one unused for longest is forgotten
    when there are more than `most`."""

    def __init__(self, make: Callable[[], V], most: int) -> None:
        self._make = make
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()

    def of(self, key: K) -> V:
        value = self._values.get(key)
        if value is None:
            value = self._values[key] = self._make()
            if len(self._values) > self._most:
                self._values.popitem(last=False)
        else:
            self._values.move_to_end(key)
        return value

    def known(self, key: K) -> V | None:
        """Returns the value of a key without making one, and without counting as its use."""
        return self._values.get(key)

    def __len__(self) -> int:
        return len(self._values)
