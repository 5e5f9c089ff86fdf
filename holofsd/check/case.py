# SPDX-License-Identifier: GPL-3.0-or-later
"""One check of one volume: what all its parts share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from holofsd.check.report import Report
from holofsd.core.document import Membership
from holofsd.core.ids import AuthorId, BlobHash, NodeId
from holofsd.store.volume import VolumeStore


@dataclass(slots=True)
class Case:
    """`store` is closed to everybody else, or a copy. Parts look and note; what they would change they put into
    `repairs`, and it is done at the end, in one transaction."""

    store: VolumeStore
    report: Report
    membership: Membership
    can_write: bool
    """This device may publish: what only it knows can be said again."""
    bad_records: set[tuple[AuthorId, bytes]] = field(default_factory=set)
    """(author, key) of records that are not what their author signed."""
    unreadable: set[NodeId] = field(default_factory=set)
    """Nodes whose state cannot be read and cannot be made again from the document."""
    lost_content: set[BlobHash] = field(default_factory=set)
    found_content: dict[BlobHash, int] = field(default_factory=dict)
    """Content that has a row and no file, and the other way round (with its size)."""
    repairs: list[Callable[[], None]] = field(default_factory=list)
    after: list[Callable[[], None]] = field(default_factory=list)
    """Done once the repairs are committed: files that go."""

    def sql(self, statement: str, *values: object) -> None:
        """A repair that is one statement."""

        def change() -> None:
            self.store.db.run(statement, values)

        self.repairs.append(change)
