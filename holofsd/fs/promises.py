# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and directories that a mount made before it said so (ADR 9, 11)."""

from __future__ import annotations

from dataclasses import replace

from holofsd.core.errors import BadArgument, NoSuchName, NotADirectory, StaleHandle, TooBig
from holofsd.core.ids import ROOT_INO, Ino, NodeId
from holofsd.core.lost import LOST_NAME as LOST_AND_FOUND
from holofsd.core.state import Kind
from holofsd.fs.naming import Naming
from holofsd.fs.opening import Opening
from holofsd.fs.scope import Scope
from holofsd.fs.settings import INLINE_COMMIT
from holofsd.fs.types import Attachment, Promised
from holofsd.tree.views import Entry


class Promises:
    """Each comes to be once, however often it is said: its number tells. What came to its name stands beside it."""

    def __init__(self, scope: Scope, naming: Naming, opening: Opening, nobody: Attachment) -> None:
        """`nobody`: makes what does not come where its mount takes it to be, so that all mounts are told."""
        self._scope = scope
        self._nodes = scope.nodes
        self._naming = naming
        self._opening = opening
        self._nobody = nobody

    def make_file(
        self, att: Attachment, parent: Ino, name: bytes, mode: int, handle: int, promised: Promised
    ) -> tuple[Ino, bool]:
        """Makes a file that a mount promised. Returns its number, and whether it was made now. `handle`: under which it
        is open, where it comes without content."""
        new = not self._is_made(promised)
        if new:
            if promised.data is not None and len(promised.data) > INLINE_COMMIT:
                raise TooBig(f"A new file carries {INLINE_COMMIT} bytes at most.")
            att, directory, entry = self._place(att, parent, name, promised)
            promised = self._with_number(promised)
            hold_ms = self._opening.hold_ms() if promised.data is None else 0
            self._naming.create_promised(att, directory, name, mode, hold_ms, promised, beside=entry is not None)
        if promised.data is None and self._scope.files.find(att.request.mount_id, handle) is None:
            self._opening.opened_new(att, promised.ino, handle)
        return promised.ino, new

    def make_dir(self, att: Attachment, parent: Ino, name: bytes, mode: int, promised: Promised) -> Ino:
        if not self._is_made(promised):
            att, directory, _ = self._place(att, parent, name, promised, Kind.DIRECTORY)
            promised = self._with_number(promised)
            self._naming.make_dir_at(att, directory, name, mode, promised.ino)
        return promised.ino

    def _is_made(self, promised: Promised) -> bool:
        """Whether the file or directory was made before. For what is kept in a journal `Journals.once` answers that, so
        this says no."""
        return not promised.kept and self._nodes.inode(promised.ino) is not None

    def _with_number(self, promised: Promised) -> Promised:
        """An index that was restored from a backup may know nothing of a lease, or have given its numbers to others."""
        if promised.ino <= self._nodes.last_leased and self._nodes.inode(promised.ino) is None:
            return promised
        if not promised.kept:
            raise BadArgument("This inode number was not leased for a new file.")
        with self._scope.db.transaction():
            return replace(promised, ino=self._nodes.lease_inos(1))

    def _place(
        self, att: Attachment, parent: Ino, name: bytes, promised: Promised, kind: Kind = Kind.FILE
    ) -> tuple[Attachment, NodeId, Entry | None]:
        """Finds the attachment for which something promised is made, its directory, and what is there already. A
        directory is one with another one at its name."""
        try:
            directory, entry = self._naming.find(parent, name)
            if entry is None or not promised.late or kind is entry.view.kind is Kind.DIRECTORY:
                return att, directory, entry
        except (NoSuchName, NotADirectory, StaleHandle):
            if not promised.kept:
                raise
        found = self._naming.find(ROOT_INO, LOST_AND_FOUND)[1]
        if found is None:
            home = self._naming.make_dir(self._nobody, ROOT_INO, LOST_AND_FOUND, 0o755)
        else:
            home = found.ino if found.view.kind is Kind.DIRECTORY else ROOT_INO
        return self._nobody, *self._naming.find(home, name)
