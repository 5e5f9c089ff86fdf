# SPDX-License-Identifier: GPL-3.0-or-later
"""Staging files that are being written: one per inode, shared by all its handles and mounts.

The row in `staging` exists before a mount gets the path, so what is written there survives kill -9 of everything.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from holofsd.core.ids import Ino, NodeId
from holofsd.fs.shared.scope import Scope
from holofsd.store import faults
from holofsd.store.staging import StagingRow

_CLOCK_TICK_NS = 1_000_000_000
"""File times advance in coarse steps: a time younger than this proves nothing about what was written since."""


@dataclass(eq=False, slots=True)
class StagedFile:
    """One staging file with its row: what it is based on, and who writes to it."""

    id: str
    ino: Ino
    node: NodeId
    path: Path
    base: bytes
    """Token of the version it was made from, or last finalized as; '' for none."""
    mount_id: str
    clean: tuple[int, int] | None = None
    """(mtime_ns, size) with which it equals `base`; None: not known to."""
    synced: bool = False
    """fsync returned for it: its way into the content store must survive power loss at each step."""
    kept: tuple[int, int] | None = None
    """(mtime_ns, size) as an fsync brought all of it from a mount's memory; None: it did not."""
    snapshot_at: float = 0.0
    """Monotonic time of the last version made while it was open."""
    inherited: bool = False
    """Made before the daemon started: a mount that has not re-attached yet may be writing to it."""

    def stat(self) -> os.stat_result:
        return self.path.stat()

    def is_clean(self) -> bool:
        if self.clean is None:
            return False
        found = self.stat()
        return (found.st_mtime_ns, found.st_size) == self.clean

    def is_as_kept(self) -> bool:
        """Whether it is unchanged since an fsync brought its content."""
        found = self.stat()
        return (found.st_mtime_ns, found.st_size) == self.kept

    def keep(self) -> None:
        """Call it when an fsync has brought its content."""
        found = self.stat()
        self.kept = (found.st_mtime_ns, found.st_size)

    def set_mtime(self, mtime_ns: int) -> None:
        self.clean = None
        os.utime(self.path, ns=(mtime_ns, mtime_ns))

    def truncate(self, size: int) -> None:
        self.clean = None
        os.truncate(self.path, size)

    def replace(self, data: bytes) -> None:
        """The whole content anew. Killed in the middle it leaves what was there, or a beginning of `data` over it: an
        fsync may have returned for it."""
        self.clean = None
        with open(self.path, "r+b", buffering=0) as file:
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
            file.truncate(len(data))

    def matches_base(self, mtime_ns: int, now_ns: int) -> None:
        """Call it when the copy is complete: it gets the time of its base, so that merely opening changes nothing."""
        os.utime(self.path, ns=(mtime_ns, mtime_ns))
        if mtime_ns < now_ns - _CLOCK_TICK_NS:
            self.clean = (mtime_ns, self.stat().st_size)


class StagedFiles:
    """Staging files that can still be written. Changes of rows belong inside `db.transaction()`."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._rows = scope.store.staging
        self._files: dict[Ino, StagedFile] = {}

    def load(self) -> None:
        """Loads, at start, what was being written when this device stopped. Rows whose file is gone are forgotten."""
        with self._scope.db.transaction():
            for row in self._rows.unfinalized():
                path = self._rows.path(row.id)
                if path.exists():
                    staged = StagedFile(row.id, row.ino, row.node, path, row.base, row.mount_id, synced=True)
                    staged.inherited = True
                    self._files[row.ino] = staged
                else:
                    self._rows.remove(row.id)

    def of(self, ino: Ino) -> StagedFile | None:
        return self._files.get(ino)

    def all(self) -> list[StagedFile]:
        return list(self._files.values())

    def __len__(self) -> int:
        return len(self._files)

    def make_file(self) -> tuple[str, Path]:
        """Makes a staging file without a row. It is garbage until it gets one, and swept at the next start."""
        staging_id = self._rows.new_id()
        path = self._rows.make_file(staging_id)
        faults.reach("writing.made", self._scope.store)
        return staging_id, path

    def adopt(self, staging_id: str, path: Path, ino: Ino, node: NodeId, base: bytes, mount_id: str) -> StagedFile:
        """Makes a staging file the content of an inode from now on."""
        staged = StagedFile(staging_id, ino, node, path, base, mount_id, snapshot_at=time.monotonic())
        self._rows.add(StagingRow(staging_id, ino, node, base, mount_id, b"", self._scope.now_ms()))
        self._scope.db.after_commit(lambda: self._listed(staged))
        return staged

    def _listed(self, staged: StagedFile) -> None:
        self._files[staged.ino] = staged
        faults.reach("writing.listed", self._scope.store)

    def rebind(self, ino: Ino, node: NodeId) -> None:
        """The inode number means another node now."""
        staged = self._files.get(ino)
        if staged is not None:
            self._rows.rebind(staged.id, ino, node)
            self._scope.db.after_commit(lambda: setattr(staged, "node", node))

    def based_on(self, staged: StagedFile, base: bytes) -> None:
        """Sets the version that the content of a staging file was finalized as, or replaces."""
        self._rows.set_base(staged.id, base)
        self._scope.db.after_commit(lambda: setattr(staged, "base", base))

    def finalized(self, staged: StagedFile, version: bytes) -> None:
        """Marks a staging file as finalized: it is never written again, and waits to be hashed."""
        self._rows.finalize(staged.id, version)
        self._scope.db.after_commit(lambda: self._forget(staged))
        self._scope.db.after_commit(lambda: faults.reach("writing.finalized", self._scope.store))

    def add_finalized(self, staged: StagedFile, version: bytes) -> None:
        """A copy of an open file, complete from the start."""
        row = StagingRow(staged.id, staged.ino, staged.node, staged.base, "", version, self._scope.now_ms())
        self._rows.add(row)

    def remove(self, staged: StagedFile) -> None:
        self._rows.remove(staged.id)
        self._scope.db.after_commit(lambda: self._forget(staged))

    def _forget(self, staged: StagedFile) -> None:
        if self._files.get(staged.ino) is staged:
            del self._files[staged.ino]
