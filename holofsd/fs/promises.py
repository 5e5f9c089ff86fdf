# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that a mount made before it said so: by its calls, or by what its journal says after its end."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from holofsd.core.errors import NoSuchName, NotADirectory, StaleHandle, TooBig
from holofsd.core.ids import ROOT_INO, Ino, NodeId
from holofsd.core.state import Kind
from holofsd.fs.journals import Journals
from holofsd.fs.naming import Naming
from holofsd.fs.opening import Opening
from holofsd.fs.scope import Scope
from holofsd.fs.settings import INLINE_COMMIT
from holofsd.fs.types import Attachment, AttachRequest, Promised
from holofsd.sync.lost import NAME as LOST_AND_FOUND
from holofsd.tree.views import Entry

_NOBODY: Final = AttachRequest("a journal", "", "", 0, read_only=False)


class Promises:
    def __init__(self, scope: Scope, naming: Naming, opening: Opening) -> None:
        self._scope = scope
        self._naming = naming
        self._opening = opening
        self._journal = Attachment("", scope.store.volume, "", _NOBODY, read_only=False)
        self.journals = Journals(scope.store.directory / "journals", self._make_kept)

    def make(self, att: Attachment, parent: Ino, name: bytes, mode: int, handle: int, promised: Promised) -> None:
        """Once, however often it is said."""
        if self._scope.nodes.inode(promised.ino) is None:
            if promised.data is not None and len(promised.data) > INLINE_COMMIT:
                raise TooBig(f"A new file carries {INLINE_COMMIT} bytes at most.")
            directory, entry = self._place(att, parent, name, promised.kept)
            hold_ms = self._opening.hold_ms() if promised.data is None else 0
            self._naming.create_promised(att, directory, name, mode, hold_ms, promised, beside=entry is not None)
        if promised.data is None and self._scope.files.find(att.request.mount_id, handle) is None:
            self._opening.opened_new(att, promised.ino, handle)

    def _make_kept(self, parent: Ino, name: bytes, mode: int, promised: Promised) -> None:
        last = self._scope.nodes.last_leased
        if promised.ino > last:  # of a lease that an index from a backup does not know
            with self._scope.db.transaction():
                promised = replace(promised, ino=self._scope.nodes.lease_inos(1))
        self.make(self._journal, parent, name, mode, 0, promised)

    def _place(self, att: Attachment, parent: Ino, name: bytes, kept: bool) -> tuple[NodeId, Entry | None]:
        try:
            return self._naming.find(parent, name)
        except (NoSuchName, NotADirectory, StaleHandle):
            if not kept:
                raise
        home = self._naming.find(ROOT_INO, LOST_AND_FOUND)[1]
        if home is None:
            return self._naming.find(self._naming.make_dir(att, ROOT_INO, LOST_AND_FOUND, 0o755), name)
        return self._naming.find(home.ino if home.view.kind is Kind.DIRECTORY else ROOT_INO, name)
