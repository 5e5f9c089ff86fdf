# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that read, on inode numbers of the past. The only way in which files of the past are served."""

from __future__ import annotations

from holofs_api import PAST_INO
from holofsd.core.errors import ContentUnavailable, ReadOnly
from holofsd.core.ids import ROOT_ID, ROOT_INO, Ino
from holofsd.fs.content.opening import check_read, read_map
from holofsd.fs.past.past_files import HIDDEN, PastFiles
from holofsd.fs.shared.scope import Scope
from holofsd.fs.types import Attachment, Attr, ContentMap, Listing, Opened, OpenHandle


class PastReading:
    """Implements `fs.api.ReadCalls`."""

    def __init__(self, scope: Scope, files: PastFiles) -> None:
        self._scope = scope
        self._files = files

    def begins_at(self, parent: Ino, name: bytes) -> bool:
        """Whether a name leads into the past. A file with that name comes first."""
        if parent >= PAST_INO:
            return True
        return name == HIDDEN and parent == ROOT_INO and self._scope.tree.lookup(ROOT_ID, HIDDEN) is None

    def root(self, at_ms: int) -> Ino:
        """The directory that a mount of one time shows as its root."""
        return self._files.root(at_ms).ino

    # ---- handles
    def takes_back(self, mount_id: str, known: OpenHandle) -> bool:
        """Whether a handle that a mount has open is known, or is again after a restart."""
        if self._scope.files.find(mount_id, known.handle) is not None:
            return True
        if known.write or not self._files.is_known(known.ino):
            return False
        self._scope.files.add(mount_id, known.handle, known.ino, write=False)
        return True

    def close(self, att: Attachment, handle: int) -> None:
        self._scope.files.remove(self._scope.files.get(att.request.mount_id, handle))

    def close_all(self, att: Attachment) -> None:
        for opened in self._scope.files.of_mount(att.request.mount_id):
            self._scope.files.remove(opened)

    # ---- calls
    async def lookup(self, att: Attachment, parent: Ino, name: bytes) -> Attr:
        return self._files.lookup(parent, name)

    async def get_attr(self, att: Attachment, ino: Ino) -> Attr:
        return self._files.get_attr(ino)

    async def read_dir(self, att: Attachment, ino: Ino, after: bytes, limit: int) -> Listing:
        return await self._files.read_dir(ino, after, limit)

    async def read_link(self, att: Attachment, ino: Ino) -> bytes:
        return self._files.read_link(ino)

    async def open(self, att: Attachment, ino: Ino, handle: int, *, write: bool, truncate: bool, base: bytes) -> Opened:
        if write or truncate:
            raise ReadOnly("What was cannot be changed: restoring it brings it back.")
        content = self._files.map_of(ino)
        self._files.hold(ino, self._scope.files.is_open)
        self._scope.files.add(att.request.mount_id, handle, ino, write=False)
        return Opened(self._files.get_attr(ino), content)

    async def ahead(self, att: Attachment, ino: Ino, limit: int) -> list[Opened]:
        return []

    async def fetch(
        self, att: Attachment, ino: Ino, version: bytes, offset: int, length: int, suspect: bool = False
    ) -> ContentMap:
        return await self._files.fetch(ino)

    async def read(self, att: Attachment, handle: int, offset: int, length: int) -> bytes:
        ino = self._scope.files.get(att.request.mount_id, handle).ino
        check_read(offset, length)
        try:
            return read_map(await self._files.fetch(ino), offset, length)
        except FileNotFoundError:
            raise ContentUnavailable("The content of this version is gone.") from None

    async def get_xattr(self, att: Attachment, ino: Ino, name: bytes) -> bytes:
        return self._files.get_xattr(ino, name)

    async def list_xattr(self, att: Attachment, ino: Ino) -> tuple[bytes, ...]:
        return self._files.list_xattr(ino)
