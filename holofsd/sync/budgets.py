# SPDX-License-Identifier: GPL-3.0-or-later
"""Record budgets of the other devices: what their records take here, what they may take, and what has to wait.

Checked before anything is stored, by `ingest`. An author whose device is over its budget is not asked for more, and
what it sends is ignored; its session, the other authors, and whoever relays its records go on. The budget is this
device's own: it says what its disk is for, so no other member can raise it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from holofsd.core.errors import BadArgument
from holofsd.core.ids import AuthorId, DeviceId
from holofsd.core.record_budget import NOTHING, Weight, budget, strange_budget
from holofsd.store.volume import VolumeStore
from holofsd.sync.config import NODE_KEY_LENGTH
from holofsd.sync.members import Members
from holofsd.sync.publication import BEGINS, KNOWN_KEYS

_MAX: Final = "record-budget"
_COUNTED: Final = "strange-counted"
"""In `meta`: what the program understands that counted the rest."""
_MOST: Final = 1 << 62
_HELD_FOR: Final = 2.0
"""Seconds for which the weight of held removals is good: it is a look at all of them."""
PROMOTING: Final = 3
"""So many times their weight is needed for records that go from `incoming` to the document and into the tree: the rows,
the log that they pass through, and the states."""


class Excess(StrEnum):
    """Reason for which records have to wait."""

    RECORDS = "records"
    """The device's records take all that they may."""
    STRANGE = "not understood"
    """Those of them that this program does not understand do."""
    DISK = "disk"
    """The disk has no more left than the reserve."""


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """A device's records as this device keeps them. Sizes in bytes."""

    device: DeviceId
    records: Weight
    most: int
    most_strange: int
    excess: Excess | None
    """Why its further records wait; None: they do not."""


class RecordBudgets:
    """Limits of what the records of other devices may take of the index.

    `under_way` tells the weight that authors' records will have when what is arriving has arrived; `waits` why the
    records of an author have to wait.
    """

    def __init__(
        self,
        store: VolumeStore,
        members: Members,
        reserve: int,
        under_way: Callable[[], Mapping[AuthorId, Weight]],
        waits: Callable[[], Mapping[AuthorId, Excess]],
    ) -> None:
        self._store = store
        self._documents = store.documents
        self._members = members
        self._reserve = reserve
        self._under_way = under_way
        self._waits = waits
        self._held: dict[AuthorId, int] = {}
        self._held_at = -_HELD_FOR
        self._log = store.db.path.with_name(store.db.path.name + "-wal")
        disk = os.statvfs(store.directory)
        self._disk_bytes = disk.f_blocks * disk.f_frsize
        self._count_again()

    def _count_again(self) -> None:
        """Counts anew what is not understood, if another program counted it. Reads all records of the authors that have
        some."""
        known = b" ".join((*KNOWN_KEYS, BEGINS))
        if self._store.meta(_COUNTED) != known:
            with self._store.db.transaction():
                self._documents.recount_strange(KNOWN_KEYS, NODE_KEY_LENGTH, BEGINS)
                self._store.set_meta(_COUNTED, known)

    # ---- the size that a person set
    @property
    def own_max(self) -> int | None:
        told = self._store.meta(_MAX)
        return int(told) if told else None

    def set_max(self, size: int | None) -> None:
        """Bytes for each other device; None: the default. Raises BadArgument."""
        if size is not None and not 0 <= size <= _MOST:
            raise BadArgument("What the records of a device may take is a size, and not below 0.")
        with self._store.db.transaction():
            self._store.set_meta(_MAX, b"" if size is None else str(size).encode())

    # ---- what they take
    def excess(self, author: AuthorId, before: Weight, after: Weight) -> Excess | None:
        """Reason why the records of an author may not weigh `after`, where they weighed `before`; None if they may."""
        if after.bytes <= before.bytes and after.strange <= before.strange:
            return None
        taken = self._taken()
        owner = self._members.membership.device_of(author)
        if owner is None or owner == self._members.device:
            return None
        mine = taken.get(owner, NOTHING) - self._now().get(author, NOTHING) + after
        most = self._most(owner, taken)
        if after.bytes > before.bytes and mine.bytes > most:
            return Excess.RECORDS
        if after.strange > before.strange and mine.strange > strange_budget(most):
            return Excess.STRANGE
        return None

    def refuses_more(self, author: AuthorId) -> Excess | None:
        """Whether nothing at all fits any more: the quarantine is as full as it may be."""
        owner = self._members.membership.device_of(author)
        if owner is None or owner == self._members.device:
            return None
        taken = self._taken()
        full = taken.get(owner, NOTHING).strange > strange_budget(self._most(owner, taken))
        return Excess.STRANGE if full else None

    def _now(self) -> dict[AuthorId, Weight]:
        return {**self._documents.weights(), **self._under_way()}

    def _taken(self) -> dict[DeviceId, Weight]:
        """Weighs the records of each device, over all its authors."""
        membership = self._members.membership
        taken: dict[DeviceId, Weight] = {}
        held = self._held_bytes()
        for author, found in self._now().items():
            owner = membership.device_of(author)
            if owner is not None:
                refused = Weight(held.get(author, 0), self._documents.refused_bytes(author))
                taken[owner] = taken.get(owner, NOTHING) + found + refused
        return taken

    def _held_bytes(self) -> dict[AuthorId, int]:
        """Returns the size of the removals of which the brake keeps a copy, per author. Counted anew after a while."""
        now = time.monotonic()
        if now - self._held_at > _HELD_FOR:
            self._held, self._held_at = self._store.removals.held_bytes(), now
        return self._held

    def _most(self, device: DeviceId, taken: Mapping[DeviceId, Weight]) -> int:
        own = self.own_max
        if own is not None:
            return own
        others = (found.bytes for other, found in taken.items() if other != device)
        return budget(others, self._disk_bytes)

    def reports(self) -> list[BudgetReport]:
        """Reports on every other device that has records here, or is a member."""
        taken, waits = self._taken(), self._waits()
        membership = self._members.membership
        found = []
        for device in sorted({*taken, *self._members.others()} - {self._members.device}):
            most = self._most(device, taken)
            why = {waits[author] for author in waits if membership.device_of(author) == device}
            excess = next((excess for excess in Excess if excess in why), None)
            found.append(BudgetReport(device, taken.get(device, NOTHING), most, strange_budget(most), excess))
        return found

    # ---- the disk
    def missing_room(self, more: int) -> int:
        """Bytes that are to be freed before `more` of records can be stored; 0: there is room.

        The log counts as a whole: what is in it goes into the index too, and until then both are there.
        """
        disk = os.statvfs(self._store.directory)
        try:
            log_bytes = os.stat(self._log).st_size
        except FileNotFoundError:
            log_bytes = 0
        free = disk.f_bavail * disk.f_frsize
        return max(self._reserve + log_bytes + PROMOTING * more - free, 0) if self._reserve else 0

    def has_room_to_merge(self) -> bool:
        """Room for merging was asked for when the records were stored; other programs may have taken it since."""
        disk = os.statvfs(self._store.directory)
        return disk.f_bavail * disk.f_frsize >= self._reserve // 2
