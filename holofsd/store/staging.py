# SPDX-License-Identifier: GPL-3.0-or-later
"""Staging files: content that is being written, or written and not hashed yet.

Life of one: row (no version) and empty file -> the mount writes -> finalized (row names the version; never written
again) -> hashed, linked into content/, row deleted in the transaction that puts the hash into the version -> file
unlinked. A file without a row is garbage; a row without a file was never written.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from holofsd.core.ids import Ino, NodeId
from holofsd.store.database import Database


@dataclass(frozen=True, slots=True)
class StagingRow:
    id: str
    ino: Ino
    node: NodeId
    base: bytes
    mount_id: str
    version: bytes
    """Token of the version that it was made into; empty while it is written. The column is called `sealed`."""
    made_ms: int


_COLUMNS = "id, ino, node, base, mount_id, sealed, made_ms"


class Staging:
    """Folder of staging files, and their rows."""

    def __init__(self, db: Database, root: Path) -> None:
        self.db = db
        self.folder = root
        root.mkdir(mode=0o700, exist_ok=True)

    def path(self, staging_id: str) -> Path:
        return self.folder / staging_id

    def new_id(self) -> str:
        return secrets.token_hex(12)

    def make_file(self, staging_id: str) -> Path:
        """An empty file, 0600."""
        path = self.path(staging_id)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return path

    def add(self, row: StagingRow) -> None:
        self.db.run(
            f"INSERT INTO staging ({_COLUMNS}) VALUES (?,?,?,?,?,?,?)",
            (row.id, row.ino, row.node, row.base, row.mount_id, row.version, row.made_ms),
        )

    def get(self, staging_id: str) -> StagingRow | None:
        row = self.db.one(f"SELECT {_COLUMNS} FROM staging WHERE id=?", (staging_id,))
        return StagingRow(*row) if row else None

    def writable(self, ino: Ino) -> StagingRow | None:
        """The staging file that this inode is being written to."""
        row = self.db.one(f"SELECT {_COLUMNS} FROM staging WHERE ino=? AND sealed=x''", (ino,))
        return StagingRow(*row) if row else None

    def unfinalized(self) -> list[StagingRow]:
        return [StagingRow(*row) for row in self.db.all(f"SELECT {_COLUMNS} FROM staging WHERE sealed=x''")]

    def to_hash(self, limit: int) -> list[StagingRow]:
        rows = self.db.all(f"SELECT {_COLUMNS} FROM staging WHERE sealed!=x'' ORDER BY made_ms LIMIT ?", (limit,))
        return [StagingRow(*row) for row in rows]

    def finalize(self, staging_id: str, version: bytes) -> None:
        self.db.run("UPDATE staging SET sealed=? WHERE id=?", (version, staging_id))

    def finalized_as(self, version: bytes) -> list[str]:
        return [row[0] for row in self.db.all("SELECT id FROM staging WHERE sealed=?", (version,))]

    def renamed(self, tokens: Mapping[bytes, bytes]) -> None:
        """Versions got other tokens, old -> new."""
        for staging_id, base, version in self.db.all("SELECT id, base, sealed FROM staging"):
            self.db.run(
                "UPDATE staging SET base=?, sealed=? WHERE id=?",
                (tokens.get(base, base), tokens.get(version, version), staging_id),
            )

    def based_on(self, tokens: Mapping[bytes, bytes]) -> None:
        """Versions that are being written on top of were written anew with the same content, old -> new token."""
        self.db.run_many("UPDATE staging SET base=? WHERE base=?", [(new, old) for old, new in tokens.items()])

    def rebind(self, staging_id: str, ino: Ino, node: NodeId) -> None:
        self.db.run("UPDATE staging SET ino=?, node=? WHERE id=?", (ino, node, staging_id))

    def set_base(self, staging_id: str, base: bytes) -> None:
        """Names the version that the content of a staging file replaces."""
        self.db.run("UPDATE staging SET base=? WHERE id=?", (base, staging_id))

    def forget(self, staging_id: str) -> None:
        """Deletes the row alone."""
        self.db.run("DELETE FROM staging WHERE id=?", (staging_id,))

    def remove(self, staging_id: str) -> None:
        """Deletes the row; the file goes when the transaction is committed."""
        self.forget(staging_id)
        self.db.after_commit(lambda: self.path(staging_id).unlink(missing_ok=True))

    def sweep(self) -> None:
        """Deletes files that no row names; called at start."""
        known = {row[0] for row in self.db.all("SELECT id FROM staging")}
        for path in self.folder.iterdir():
            if path.name not in known:
                path.unlink()
