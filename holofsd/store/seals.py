# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be known about seals of versions: from when on our authors make them, and which records lack some."""

from __future__ import annotations

from collections.abc import Iterable

from holofsd.core.ids import AuthorId, NodeId
from holofsd.store.database import Database


class Seals:
    """Writes belong inside `db.transaction()`."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._from: dict[AuthorId, int] = dict(db.all("SELECT author, sealed_from FROM sealing"))
        self._unproven: set[NodeId] | None = None
        db.on_rollback.append(self._forget)

    def _forget(self) -> None:
        self._unproven = None

    def sealed_from(self, author: AuthorId) -> int:
        """Of one of our own authors: the first counter from which on its versions have seals."""
        return self._from.get(author, 1)

    # ---- records that said more than was believed
    @property
    def unproven(self) -> set[NodeId]:
        """The nodes that they are about."""
        if self._unproven is None:
            self._unproven = {row[0] for row in self.db.all("SELECT DISTINCT node FROM unproven")}
        return self._unproven

    def note_unproven(self, node: NodeId, author: AuthorId) -> None:
        self.db.run("INSERT OR IGNORE INTO unproven VALUES (?,?)", (node, author))
        self.unproven.add(node)

    def proven(self, node: NodeId, author: AuthorId) -> None:
        """All that this author's record of the node says is believed."""
        self.db.run("DELETE FROM unproven WHERE node=? AND author=?", (node, author))
        if self.db.one("SELECT 1 FROM unproven WHERE node=?", (node,)) is None:
            self.unproven.discard(node)

    def look_again(self, nodes: Iterable[NodeId]) -> int:
        """More is known of these nodes: what was not believed of them is merged again. How many records that are."""
        queued = 0
        for node in nodes:
            queued += self.db.run(
                "INSERT OR REPLACE INTO merge_queue (author, key, seq) SELECT e.author, e.key, e.seq FROM unproven AS u"
                " JOIN envelopes AS e ON e.author=u.author AND e.key=u.node WHERE u.node=?",
                (node,),
            ).rowcount
        return queued
