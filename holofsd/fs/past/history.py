# SPDX-License-Identifier: GPL-3.0-or-later
"""The past of one volume, for those who ask: versions, trash, bringing things back, and how long all of it is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator

from holofs_api import PAST_INO
from holofsd.core.errors import BadArgument, ContentUnavailable, HoloError, ReadOnly
from holofsd.core.ids import ROOT_ID, ROOT_INO, Ino, NodeId
from holofsd.core.project import token
from holofsd.core.state import Version
from holofsd.fs.content.contents import Contents
from holofsd.fs.content.hashing import Hasher
from holofsd.fs.content.opening import read_map
from holofsd.fs.content.versions import Versions
from holofsd.fs.past.budget import InUse
from holofsd.fs.past.past_files import HIDDEN, PastFiles
from holofsd.fs.past.restoring import Restoring
from holofsd.fs.past.retention import Retention
from holofsd.fs.past.trash import Trash
from holofsd.fs.settings import MAX_READ
from holofsd.fs.shared.scope import Scope
from holofsd.fs.types import Attachment, Opened, OpenHandle
from holofsd.tree.past import Past


class History:
    def __init__(self, scope: Scope, contents: Contents, versions: Versions, hasher: Hasher) -> None:
        self._scope = scope
        self.past = Past(scope.tree)
        self.trash = Trash(scope, self.past)
        self.restoring = Restoring(scope, contents, versions, self.past, hasher)
        self.files = PastFiles(self.past, contents, scope.now_ms)
        self.retention = Retention(scope, self.past, self.trash, self._in_use)
        for collector in (self.retention.collector, self.retention.budget.collector):
            collector.also_needed = self._open_versions
        self._began = time.monotonic()

    # ---- files of the past
    def is_meant(self, parent: Ino, name: bytes) -> bool:
        """Whether a name leads into the past. A file that somebody called so comes first."""
        if parent >= PAST_INO:
            return True
        return parent == ROOT_INO and name == HIDDEN and self.past.tree.lookup(ROOT_ID, HIDDEN) is None

    def open(self, att: Attachment, ino: Ino, handle: int, *, write: bool) -> Opened:
        if write:
            raise ReadOnly("What was cannot be changed: restoring it brings it back.")
        content = self.files.map_of(ino)
        self.files.hold(ino, self._scope.files.is_open)
        self._scope.files.add(att.request.mount_id, handle, ino, write=False)
        return Opened(self.files.get_attr(ino), content)

    def takes_back(self, mount_id: str, known: OpenHandle) -> bool:
        """Whether a handle that a mount has open is known, or is again after a restart."""
        if self._scope.files.find(mount_id, known.handle) is not None:
            return True
        if known.write or not self.files.is_known(known.ino):
            return False
        self._scope.files.add(mount_id, known.handle, known.ino, write=False)
        return True

    def close(self, att: Attachment, handle: int) -> None:
        self._scope.files.remove(self._scope.files.get(att.request.mount_id, handle))

    def close_all(self, att: Attachment) -> None:
        for opened in self._scope.files.of_mount(att.request.mount_id):
            self._scope.files.remove(opened)

    async def read(self, ino: Ino, offset: int, length: int) -> bytes:
        if offset < 0 or not 0 <= length <= MAX_READ:
            raise BadArgument(f"A read has an offset and at most {MAX_READ} bytes.")
        try:
            return read_map(await self.files.fetch(ino), offset, length)
        except FileNotFoundError:
            raise ContentUnavailable("The content of this version is gone.") from None

    def _in_use(self) -> InUse:
        """Collects what programs have open of the past, and what is being restored."""
        found = InUse()
        for node, version in self._versions_in_use():
            found.versions.add(token(version.dot))
            found.removed.add(node)
        if time.monotonic() - self._began < self._scope.settings.reattach:
            found.whole = self._scope.store.history.past_nodes()  # mounts of before the start may come back
        return found

    def _open_versions(self) -> Iterator[Version]:
        return (version for _node, version in self._versions_in_use())

    def _versions_in_use(self) -> Iterator[tuple[NodeId, Version]]:
        for entry in self.restoring.in_use():
            if entry.version is not None:
                yield entry.node, entry.version
        for ino in list(self._scope.files.inos()):
            if ino >= PAST_INO:
                try:
                    yield self.files.version(ino)
                except HoloError:
                    continue  # forgotten: who has it open asks for its path again
