# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be known about seals of versions: from when on our authors make them, and which records lack some."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from holofsd.core.ids import AuthorId, NodeId
from holofsd.store.database import Database

_QUEUE: Final = (
    "INSERT OR REPLACE INTO merge_queue (author, key, seq) SELECT e.author, e.key, e.seq FROM unproven AS u"
    " JOIN envelopes AS e ON e.author=u.author AND e.key=u.node"
)


class Seals:
    """Writes belong inside `db.transaction()`."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._from: dict[AuthorId, int] = dict(db.all("SELECT author, sealed_from FROM sealing"))
        self._any_unproven: bool | None = None
        db.on_rollback.append(self._forget)

    def _forget(self) -> None:
        self._any_unproven = None

    def sealed_from(self, author: AuthorId) -> int:
        """Of one of our own authors: the first counter from which on its versions have seals."""
        return self._from.get(author, 1)

    # ---- records that said more than was believed
    @property
    def any_unproven(self) -> bool:
        """Remembered: asked with every record."""
        if self._any_unproven is None:
            self._any_unproven = self.db.one("SELECT 1 FROM unproven LIMIT 1") is not None
        return self._any_unproven

    def is_unproven(self, node: NodeId) -> bool:
        """Whether any record of that node is one of them."""
        return self.any_unproven and self.db.one("SELECT 1 FROM unproven WHERE node=?", (node,)) is not None

    def note_unproven(self, node: NodeId, author: AuthorId) -> None:
        self.db.run("INSERT OR IGNORE INTO unproven VALUES (?,?)", (node, author))
        self._any_unproven = True

    def proven(self, node: NodeId, author: AuthorId) -> None:
        """All that this author's record of the node says is believed."""
        if self.any_unproven:
            self.db.run("DELETE FROM unproven WHERE node=? AND author=?", (node, author))
            self._any_unproven = None

    def look_again(self, nodes: Iterable[NodeId]) -> int:
        """More is known of these nodes: what was not believed of them is merged again. How many records that are."""
        return sum(self.db.run(_QUEUE + " WHERE u.node=?", (node,)).rowcount for node in nodes)

    def look_again_at_all(self) -> None:
        self.db.run(_QUEUE)
