# SPDX-License-Identifier: GPL-3.0-or-later
"""Store of one volume, everything on disk: `volumes/<hex id>/{index.db, content/, staging/, incoming/}`."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

from holofsd.core.errors import HoloError
from holofsd.core.ids import ROOT_ID, AuthorId, NodeId, VolumeId
from holofsd.store.bodies import Bodies
from holofsd.store.content import Content
from holofsd.store.damage import Damage
from holofsd.store.database import Database, scripts
from holofsd.store.documents import Documents
from holofsd.store.garbage import Garbage
from holofsd.store.history import HistoryStore
from holofsd.store.ignored import IgnoredNodes
from holofsd.store.lies import Lies
from holofsd.store.meta import WithMeta
from holofsd.store.nodes import Nodes
from holofsd.store.outbox import Outbox
from holofsd.store.past_sizes import PastSizes
from holofsd.store.record_slices import RecordSlices
from holofsd.store.removals import Removals
from holofsd.store.seals import Seals
from holofsd.store.staging import Staging


class VolumeStore(WithMeta):
    """Open it once per process; the daemon's lock keeps others out.

    Meta values in use: `hlc` (last stamp, see tree), `fell_behind` (seq of a higher own head that was seen elsewhere).
    """

    def __init__(self, volume: VolumeId, directory: Path) -> None:
        self.volume = volume
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.db = Database(directory / "index.db", scripts("volume_formats"))
        self.documents = Documents(self.db)
        self.nodes = Nodes(self.db)
        self.ignored = IgnoredNodes(self.db)
        self.outbox = Outbox(self.db, self.ignored)
        self.staging = Staging(self.db, directory / "staging")
        self.content = Content(self.db, directory / "content", directory / "incoming")
        self.bodies = Bodies(self.db, self.content, directory)
        self.history = HistoryStore(self.db, self.nodes.aliases)
        self.past_sizes = PastSizes(self.db)
        self.removals = Removals(self.db)
        self.lies = Lies(self.db)
        self.seals = Seals(self.db)
        self.garbage = Garbage(self.db)
        self.record_slices = RecordSlices(self.db)
        self.damage = Damage(self.db, self.content, directory / "damaged")
        with self.db.transaction():
            # The root is inode 1: the first row ever.
            self.nodes.ino_of(ROOT_ID)

    # ---- meta
    def take_meta(self, name: str) -> bytes | None:
        """Returns a stored value and deletes it."""
        value = self.meta(name)
        if value is not None:
            self.delete_meta(name)
        return value

    # ---- directories that outlived their removal, to be looked at
    def outlived(self, limit: int) -> list[NodeId]:
        return [row[0] for row in self.db.all("SELECT node FROM outlived LIMIT ?", (limit,))]

    def note_outlived(self, node: NodeId) -> None:
        self.db.run("INSERT OR IGNORE INTO outlived VALUES (?)", (node,))

    def forget_outlived(self, node: NodeId) -> None:
        self.db.run("DELETE FROM outlived WHERE node=?", (node,))

    # ---- own authors
    def active_author(self) -> tuple[AuthorId, bytes, int] | None:
        """(author, seed, last dot counter given)."""
        row = self.db.one("SELECT author, seed, counter FROM authors WHERE active=1")
        return (row[0], row[1], row[2]) if row else None

    def own_authors(self) -> list[AuthorId]:
        return [row[0] for row in self.db.all("SELECT author FROM authors")]

    def seed_of(self, author: AuthorId) -> bytes | None:
        """Returns the seed of one of our own authors."""
        row = self.db.one("SELECT seed FROM authors WHERE author=?", (author,))
        return row[0] if row else None

    def add_author(self, author: AuthorId, seed: bytes) -> None:
        """A new active author; the one before stays known as ours."""
        self.db.run("UPDATE authors SET active=0")
        self.db.run("INSERT INTO authors VALUES (?,?,0,1)", (author, seed))

    def set_counter(self, author: AuthorId, counter: int) -> None:
        self.db.run("UPDATE authors SET counter=? WHERE author=?", (counter, author))

    # ---- credentials and marks (protobuf; verified by the caller)
    def credentials(self) -> list[tuple[str, bytes]]:
        """(kind, message)."""
        return [(row[0], row[1]) for row in self.db.all("SELECT kind, message FROM credentials")]

    def add_credential(self, kind: str, digest: bytes, message: bytes) -> None:
        self.db.run("INSERT OR IGNORE INTO credentials VALUES (?,?,?)", (kind, digest, message))

    def remove_credential(self, kind: str, digest: bytes) -> None:
        self.db.run("DELETE FROM credentials WHERE kind=? AND digest=?", (kind, digest))

    def marks(self) -> list[tuple[bytes, int, bytes]]:
        """(device, at_ms, message)."""
        return [(row[0], row[1], row[2]) for row in self.db.all("SELECT device, at_ms, message FROM marks")]

    def put_mark(self, device: bytes, at_ms: int, message: bytes) -> bool:
        """Keeps the newest; True if this one is."""
        cursor = self.db.run(
            "INSERT INTO marks VALUES (?,?,?) ON CONFLICT (device)"
            " DO UPDATE SET at_ms=excluded.at_ms, message=excluded.message"
            " WHERE excluded.at_ms > at_ms",
            (device, at_ms, message),
        )
        return cursor.rowcount > 0

    def close(self) -> None:
        with suppress(HoloError, sqlite3.DatabaseError):  # a full or damaged disk: the last counts are lost
            self.lies.save()
        self.db.close()
