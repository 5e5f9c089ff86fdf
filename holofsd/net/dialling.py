# SPDX-License-Identifier: GPL-3.0-or-later
"""Budget of dialling addresses that others name, so that no member makes its peers flood a third machine.

A member's records may name any address, of a machine that has nothing to do with it, and new ones again and again. Each
attempt costs that machine some packets. Attempts are counted by machine (`addresses.network_of`), over all devices;
where a device proved itself by a connection, attempts for it are not counted, nor on this machine itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from holofsd.net.addresses import network_of, parse

BURST: Final = 30
"""Attempts at one machine at once."""
EVERY_S: Final = 5.0
"""Seconds until there is one more: 12 addresses a minute for ever, whatever anybody says. As many as six devices that
are away there need."""
MAX_NETWORKS: Final = 4096
"""Machines that are remembered; beyond that the one that was dialled longest ago is forgotten."""


@dataclass(slots=True)
class Bucket:
    """Attempts that are left, and when that was."""

    left: float
    at: float

    def take(self, now: float, most: float, every: float) -> bool:
        self.left = min(most, self.left + max(0.0, now - self.at) / every)
        self.at = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


class DialBudget:
    """`now` is in seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def affordable(self, addresses: Iterable[str], proven: Iterable[str], now: float) -> list[str]:
        """Picks those of a device's addresses that may be dialled now, which counts as dialled. `proven`: its
        networks."""
        known = set(proven)
        return [
            address
            for address in addresses
            if (network := network_of(address)) in known or _is_here(address) or self._take(network, now)
        ]

    def _take(self, network: str, now: float) -> bool:
        bucket = self._buckets.setdefault(network, Bucket(BURST, now))
        self._buckets.move_to_end(network)
        if len(self._buckets) > MAX_NETWORKS:
            self._buckets.popitem(last=False)
        return bucket.take(now, BURST, EVERY_S)


def _is_here(address: str) -> bool:
    parsed = parse(address)
    return parsed is not None and parsed[0].is_loopback
