# SPDX-License-Identifier: GPL-3.0-or-later
"""State of an author's records that are on their way here, and how far they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from holofsd.core import sethash
from holofsd.core.document import Envelope, Head
from holofsd.core.ids import AuthorId
from holofsd.core.record_budget import NOTHING, Weight
from holofsd.sync.publication import element_of, weigh


@dataclass(slots=True)
class Run:
    """An author's records on their way here from one session. `total` is the set hash if all so far is taken over."""

    source: object
    base: int
    after: int
    whole: bool
    total: int
    last: int
    alive_at: float
    stored: int = 0
    """How many records of it are in `incoming`."""
    dropped: dict[bytes, int] = field(default_factory=dict)
    """Keys that the author named as dropped, with the number of the record that is gone."""
    weight: Weight = NOTHING
    """Of all records that count in `total`."""
    stored_bytes: int = 0
    """Weight of those in `incoming`."""

    def add(self, envelope: Envelope) -> None:
        self.total = sethash.add(self.total, element_of(envelope))
        self.weight += weigh(envelope)

    def take_out(self, envelope: Envelope) -> None:
        self.total = sethash.subtract(self.total, element_of(envelope))
        self.weight -= weigh(envelope)

    def put_back(self, before: Run) -> None:
        """Undoes what was counted since a copy was made: the transaction that took a page in failed."""
        self.total, self.last, self.stored, self.dropped = before.total, before.last, before.stored, before.dropped
        self.weight, self.stored_bytes = before.weight, before.stored_bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Records of one author in order, as one frame brings them; with a head if they are the last."""

    author: AuthorId
    after: int
    whole: bool
    envelopes: Sequence[Envelope]
    head: Head | None


@dataclass(slots=True)
class IngestCounts:
    """Counts of what was refused or ignored, for `status`."""

    ignored_pages: int = 0
    false_signatures: int = 0
    disagreements: int = 0
    forks: set[AuthorId] = field(default_factory=set)
