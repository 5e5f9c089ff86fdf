# SPDX-License-Identifier: GPL-3.0-or-later
"""Slices of stored records, for passes that look at very many of them and let others run in between."""

from __future__ import annotations

from holofsd.core.document import Envelope
from holofsd.core.ids import ROOT_ID, AuthorId, NodeId
from holofsd.store.database import Database


class RecordSlices:
    """Reads only. Each slice goes on after `key`, in order of key; `key_length` leaves out records with other keys."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def keys_beyond(self, author: AuthorId, seq: int, key: bytes, key_length: int, limit: int) -> list[bytes]:
        """Lists keys of an author's records with a number above `seq`."""
        rows = self.db.all(
            "SELECT key FROM envelopes WHERE author=? AND seq>? AND length(key)=? AND key>? ORDER BY key LIMIT ?",
            (author, seq, key_length, key, limit),
        )
        return [row[0] for row in rows]

    def nodes(self, node: bytes, limit: int) -> list[NodeId]:
        """Lists nodes in order of their ids, but for the root."""
        sql = "SELECT node FROM nodes WHERE node>? AND node!=? ORDER BY node LIMIT ?"
        return [row[0] for row in self.db.all(sql, (node, ROOT_ID, limit))]

    def up_to(self, author: AuthorId, seq: int, key: bytes, limit: int) -> list[Envelope]:
        """Lists an author's records with no higher number, whatever they are about."""
        rows = self.db.all(
            "SELECT author, seq, key, payload, signature FROM envelopes"
            " WHERE author=? AND key>? AND seq<=? ORDER BY key LIMIT ?",
            (author, key, seq, limit),
        )
        return [Envelope(*row) for row in rows]

    def understood(self, author: AuthorId, key: bytes, key_length: int, limit: int) -> list[Envelope]:
        """Lists an author's records that are not in quarantine."""
        rows = self.db.all(
            "SELECT author, seq, key, payload, signature FROM envelopes AS e"
            " WHERE author=? AND key>? AND length(key)=? AND NOT EXISTS"
            " (SELECT 1 FROM quarantine AS q WHERE q.author=e.author AND q.key=e.key) ORDER BY key LIMIT ?",
            (author, key, key_length, limit),
        )
        return [Envelope(*row) for row in rows]

    def by_own_authors(self, key: bytes, key_length: int, limit: int) -> list[tuple[bytes, AuthorId, bytes]]:
        """(key, author, payload) of records by this device's own authors, former ones too."""
        rows = self.db.all(
            "SELECT e.key, e.author, e.payload FROM envelopes AS e JOIN authors AS a ON a.author=e.author"
            " WHERE e.key>? AND length(e.key)=? ORDER BY e.key LIMIT ?",
            (key, key_length, limit),
        )
        return [(row[0], row[1], row[2]) for row in rows]
