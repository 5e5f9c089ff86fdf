# SPDX-License-Identifier: GPL-3.0-or-later
"""Knowledge about seals of versions: from when on our authors make them, and which records lack some."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from holofsd.core.ids import AuthorId, NodeId
from holofsd.store.database import Database

_QUEUE: Final = (
    "INSERT OR IGNORE INTO merge_queue (author, key, seq) SELECT e.author, e.key, e.seq FROM unproven AS u"
    " JOIN envelopes AS e ON e.author=u.author AND e.key=u.node"
)
_WENT: Final = -1


class Seals:
    """Writes belong inside `db.transaction()`."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._from: dict[AuthorId, int] | None = None
        self._any_unproven: bool | None = None
        db.on_rollback.append(self._forget)

    def _forget(self) -> None:
        self._from = self._any_unproven = None

    def _noted(self) -> dict[AuthorId, int]:
        if self._from is None:
            self._from = dict(self.db.all("SELECT author, sealed_from FROM sealing"))
        return self._from

    def sealed_from(self, author: AuthorId) -> int:
        """Returns for one of our own authors the first counter from which on its versions have seals."""
        return self._noted().get(author, 1)

    def heard(self, author: AuthorId, sealed_from: int) -> bool:
        """Notes from which counter on an author of another device seals its versions. True if it said something else
        before."""
        before = self._noted().get(author)
        if before in (sealed_from, _WENT):
            return False
        self._note(author, sealed_from)
        return before is not None

    def last_heard(self, author: AuthorId) -> int:
        """Returns the counter that an author said last; 0 if none, or if its records went."""
        return max(self._noted().get(author, 0), 0)

    def went(self, author: AuthorId) -> bool:
        """The records of an author went, and others never hear what they said. True for the first time only: an author
        that comes back and goes, again and again, has not everything looked at again each time."""
        is_first = self._noted().get(author) != _WENT
        if is_first:
            self._note(author, _WENT)
        return is_first

    def _note(self, author: AuthorId, sealed_from: int) -> None:
        self.db.run("INSERT OR REPLACE INTO sealing VALUES (?,?)", (author, sealed_from))
        self._noted()[author] = sealed_from

    # ---- records that said more than was believed
    @property
    def any_unproven(self) -> bool:
        """Remembered: asked with every record."""
        if self._any_unproven is None:
            self._any_unproven = self.db.one("SELECT 1 FROM unproven LIMIT 1") is not None
        return self._any_unproven

    def unproven_authors(self) -> list[AuthorId]:
        """Lists the authors of unproven versions. Reads them all."""
        return [row[0] for row in self.db.all("SELECT DISTINCT author FROM unproven")]

    def is_unproven(self, node: NodeId) -> bool:
        """Whether any record of that node is one of them."""
        return self.any_unproven and self.db.one("SELECT 1 FROM unproven WHERE node=?", (node,)) is not None

    def note_unproven(self, node: NodeId, author: AuthorId) -> None:
        self.db.run("INSERT OR IGNORE INTO unproven VALUES (?,?)", (node, author))
        self._any_unproven = True

    def proven(self, node: NodeId, author: AuthorId) -> None:
        """All that this author's record of the node says is believed."""
        if self.any_unproven and self.db.run("DELETE FROM unproven WHERE node=? AND author=?", (node, author)).rowcount:
            self._any_unproven = None

    def look_again(self, nodes: Iterable[NodeId]) -> int:
        """More is known of these nodes: what was not believed of them is merged again. How many records that are."""
        return sum(self.db.run(_QUEUE + " WHERE u.node=?", (node,)).rowcount for node in nodes)

    def look_again_at_all(self) -> None:
        self.db.run(_QUEUE)
