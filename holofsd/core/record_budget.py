# SPDX-License-Identifier: GPL-3.0-or-later
"""Record budget: how much of this device's disk the records of one other device may take.

A budget belongs to a device, over all its authors, so that a device gains nothing by a further author. A record weighs
its key and payload and a fixed amount for its signature and its rows in the index. Only records count that are kept:
the newest of each author under each key, and those on their way to a head.

The budget is not meant to be met by honest work. A record of a program of ours takes 300 bytes to 5 KiB, so a million
files with as much content inside their records as goes there take 5 GB, and a million large files half of one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

WEIGHT: Final = 256
"""Bytes that a record takes beside its key and payload: signature, author, numbers, index rows."""
LEAST: Final = 6 << 30
"""Bytes: the budget of a device in a small volume."""
FACTOR: Final = 2
"""A device may have so many times the records that any other device has. It says each node once, as they do."""
DISK_PART: Final = 8
"""One part in so many of the disk, at most: the index holds what a record says several times."""
LEAST_OF_DISK: Final = 256 << 20
"""Bytes: the budget on the smallest disk."""
STRANGE_PART: Final = 100
"""One part in so many of the budget is for records that this program does not understand. They are kept for the
program that will."""
LEAST_STRANGE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Weight:
    """Bytes of records. `strange`: those among them that this program cannot understand."""

    bytes: int = 0
    strange: int = 0

    def __add__(self, other: Weight) -> Weight:
        return Weight(self.bytes + other.bytes, self.strange + other.strange)

    def __sub__(self, other: Weight) -> Weight:
        return Weight(self.bytes - other.bytes, self.strange - other.strange)


NOTHING: Final = Weight()


def weight(key: bytes, payload: bytes, is_strange: bool) -> Weight:
    """Weighs one record."""
    taken = len(key) + len(payload) + WEIGHT
    return Weight(taken, taken if is_strange else 0)


def budget(others: Iterable[int], disk_bytes: int) -> int:
    """Bytes for a device, where nobody set it. `others`: what the records of each other device take, this one included;
    `disk_bytes`: the size of the disk."""
    most = max(disk_bytes // DISK_PART, LEAST_OF_DISK)
    return min(max(LEAST, FACTOR * max(others, default=0)), most)


def strange_budget(bytes: int) -> int:
    """The part of a budget for records that are not understood."""
    return max(bytes // STRANGE_PART, LEAST_STRANGE)
