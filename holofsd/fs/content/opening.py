# SPDX-License-Identifier: GPL-3.0-or-later
"""Open files: open, stage, commit, fsync, release, and plain reads and writes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from holofs_api.numbers import MAX_FILE_SIZE
from holofsd.core.errors import (
    BadArgument,
    BadHandle,
    ContentMoved,
    ContentUnavailable,
    FileTooBig,
    IsADirectory,
    TooBig,
)
from holofsd.core.ids import Ino
from holofsd.core.state import Kind
from holofsd.fs.changes.watch import Watchers
from holofsd.fs.content.contents import Contents
from holofsd.fs.content.hashing import Hasher
from holofsd.fs.content.versions import Versions
from holofsd.fs.content.writing import Writing
from holofsd.fs.nodes.unlinking import Unlinking
from holofsd.fs.settings import INLINE_COMMIT, MAX_AHEAD, MAX_READ
from holofsd.fs.shared.attrs import Attributes
from holofsd.fs.shared.handles import RegisteredHandle
from holofsd.fs.shared.scope import Origin, Scope, full_disk_as_no_space
from holofsd.fs.shared.staged import StagedFile, StagedFiles
from holofsd.fs.types import (
    Attachment,
    Attr,
    CommitRequest,
    ContentMap,
    HoleExtent,
    InlineExtent,
    LocalExtent,
    Opened,
    Staged,
)
from holofsd.store import faults
from holofsd.store.threads import Pool
from holofsd.tree.views import NodeView


class Opening:
    """Calls of mounts about open files: open, stage, commit, fsync, read, write, release."""

    def __init__(
        self,
        scope: Scope,
        attributes: Attributes,
        contents: Contents,
        staged: StagedFiles,
        versions: Versions,
        unlinking: Unlinking,
        writing: Writing,
        hasher: Hasher,
        watchers: Watchers,
    ) -> None:
        self._scope = scope
        self._attributes = attributes
        self._contents = contents
        self._staged = staged
        self._versions = versions
        self._unlinking = unlinking
        self._writing = writing
        self._hasher = hasher
        self._watchers = watchers

    def handle(self, att: Attachment, handle: int) -> RegisteredHandle:
        return self._scope.files.get(att.request.mount_id, handle)

    def _writable(self, att: Attachment, handle: int) -> RegisteredHandle:
        opened = self.handle(att, handle)
        if not opened.write:
            raise BadHandle("This file was opened for reading only.")
        self._scope.require_writable(att)
        return opened

    # ---- open and release
    def open(self, att: Attachment, ino: Ino, handle: int, *, write: bool, truncate: bool, base: bytes) -> Opened:
        view = self._attributes.resolve(ino)
        if view.kind is Kind.DIRECTORY:
            raise IsADirectory("This is a directory.")
        if view.kind is Kind.SYMLINK:
            raise BadArgument("A symlink cannot be opened.")
        if write or truncate:
            self._scope.require_writable(att)
        files, mount_id = self._scope.files, att.request.mount_id
        is_new = files.find(mount_id, handle) is None
        opened = files.add(mount_id, handle, ino, write=write)
        try:
            if truncate:
                self._empty(att, opened, base)
        except BaseException:
            if is_new:
                files.remove(opened)
            raise
        view = self._attributes.resolve(ino)
        return Opened(self._attributes.of(view), self._contents.map_of(view))

    def ahead(self, ino: Ino, limit: int) -> list[Opened]:
        """Small files after this one in the directory where it has its first name."""
        entries = self._scope.tree.following(ino, min(limit, MAX_AHEAD))
        return self._small(entry.view for entry in entries)

    def news_of(self, inos: Iterable[Ino]) -> list[Opened]:
        """The small files among these, without those that are being written: they grow without news."""
        inos = (ino for ino in inos if self._staged.of(ino) is None)
        views = (self._scope.tree.view(ino) for ino in inos)
        return self._small(view for view in views if view is not None and not view.detached)

    def _small(self, views: Iterable[NodeView]) -> list[Opened]:
        return [
            Opened(self._attributes.of(view), self._contents.map_of(view))
            for view in views
            if view.kind is Kind.FILE and view.size <= INLINE_COMMIT and not view.remote
        ]

    def opened_new(self, att: Attachment, ino: Ino, handle: int) -> None:
        """The file was made by this open; until something comes back its emptiness is not published."""
        self._scope.files.add(att.request.mount_id, handle, ino, write=True).holds_publication = True

    def _empty(self, att: Attachment, opened: RegisteredHandle, base: bytes) -> None:
        """O_TRUNC: empty at once for everybody here, written now even if it was empty, and published when something
        comes back."""
        ino, now_ns = opened.ino, self._scope.now_ns()
        staged = self._staged.of(ino)
        view = self._attributes.resolve(ino)
        attr = self._attributes.of(view)
        if staged is not None:
            staged.truncate(0)
            staged.set_mtime(now_ns)
            self._watchers.content_changed(ino, attr.version, att)
        elif self._attributes.is_orphan(view):
            self._writing.stage_data(view, b"", b"", att.request.mount_id).set_mtime(now_ns)
        elif attr.size or not view.detached:
            with self._scope.change(att):
                hold, origin = self._scope.publication_hold_ms() if opened.write else 0, Origin(att, inodes={ino})
                if attr.size:
                    content = self._versions.content(b"", now_ns)
                    self._versions.write(ino, content, base=base, publication_hold_ms=hold, origin=origin)
                else:
                    self._versions.redate(ino, now_ns, publication_hold_ms=hold, origin=origin)
            opened.holds_publication = opened.write

    def release(self, att: Attachment | None, opened: RegisteredHandle) -> None:
        """Releases a handle. Whatever happens, the handle is gone afterwards, and nothing that was written is lost."""
        files, ino = self._scope.files, opened.ino
        files.remove(opened)
        if not opened.holds_publication and self._staged.of(ino) is None and files.is_open(ino):
            return
        view = self._scope.tree.view(ino)
        if view is None:
            return
        self._writing.finalize_if_unwritten(ino, Origin(att, written={ino}) if att is not None else None)
        if opened.holds_publication and not view.detached:
            with self._scope.db.transaction():
                self._scope.volume.release(view.node)
        if view.detached and not files.is_open(ino) and self._is_unstaged(ino):
            with self._scope.db.transaction():
                self._unlinking.forget_detached(ino)
            self._hasher.try_again()

    def _is_unstaged(self, ino: Ino) -> bool:
        """No staging file waits to become a version; that of an orphan goes with it."""
        return self._staged.of(ino) is None or self._attributes.is_orphan(self._attributes.resolve(ino))

    # ---- writing
    async def stage(self, att: Attachment, handle: int, *, empty: bool, base: bytes) -> Staged:
        await self._scope.room()
        opened = self._writable(att, handle)
        new = self._staged.of(opened.ino) is None
        staged = await self._writing.stage(opened.ino, att.request.mount_id, empty=empty, base=base)
        if self._scope.files.find(*opened.key) is not opened:
            # Released while the copy was made, so no program has seen the copy.
            self._writing.finalize_if_unwritten(opened.ino)
            raise BadHandle("This file was closed in the meantime.")
        opened.staged = True
        if new or empty:
            self._watchers.content_changed(opened.ino, staged.base, att)
        return Staged(str(staged.path), staged.stat().st_size)

    def commit(self, att: Attachment, request: CommitRequest) -> Attr:
        """Raises ContentMoved where the file does not contain what `data` go on from (`onto`)."""
        data, mtime_ns = request.data, request.mtime_ns
        if data is None and mtime_ns is None:
            opened = self.handle(att, request.handle)
        else:
            opened = self._writable(att, request.handle)
        ino = opened.ino
        view = self._attributes.resolve(ino)
        if data is not None:
            self._check_goes_on(att, opened, view, data, mtime_ns, request.onto)
            self._commit_data(att, opened, view, data, mtime_ns, request.base)
        else:
            self._commit_staged(att, opened, mtime_ns)
        if request.seal and not request.release:
            opened.staged = False
            self._writing.finalize_if_unwritten(ino, Origin(att, inodes={ino}))
        if not request.release:
            return self._attributes.get(ino)
        if view.detached:
            # Closed for good: of a file that was replaced meanwhile there are no later attributes.
            attr = self._attributes.get(ino)
            self.release(att, opened)
            return attr
        self.release(att, opened)
        return self._attributes.get(ino)

    def _commit_data(
        self, att: Attachment, opened: RegisteredHandle, view: NodeView, data: bytes, mtime_ns: int | None, base: bytes
    ) -> None:
        if len(data) > INLINE_COMMIT:
            raise TooBig(f"A commit carries {INLINE_COMMIT} bytes at most.")
        ino = opened.ino
        staged = self._staged.of(ino)
        if staged is None and not self._attributes.is_orphan(view):
            with self._scope.change(att):
                content = self._versions.content(data, self._scope.now_ns() if mtime_ns is None else mtime_ns)
                self._versions.write(ino, content, base=base, origin=Origin(att, inodes={ino}), view=view)
                self._publish(opened)
            faults.reach("writing.committed", self._scope.store)
            return
        self._scope.require_space()
        staged = staged or self._writing.stage_data(view, b"", base or view.version, att.request.mount_id)
        with full_disk_as_no_space():
            staged.replace(data)
        faults.reach("syncing.replaced", self._scope.store)
        if mtime_ns is not None:
            staged.set_mtime(mtime_ns)
        self._watchers.content_changed(ino, staged.base, att)
        if not [writer for writer in self._scope.files.writers(ino) if writer is not opened]:
            opened.staged = False
            self._writing.finalize_if_unwritten(ino, Origin(att, inodes={ino}))

    def _commit_staged(self, att: Attachment, opened: RegisteredHandle, mtime_ns: int | None) -> None:
        staged = self._staged.of(opened.ino)
        if staged is not None:
            if mtime_ns is not None:
                staged.set_mtime(mtime_ns)
            self._watchers.content_changed(opened.ino, staged.base, att)

    def _publish(self, opened: RegisteredHandle) -> None:
        """Lets a file be published that the handle held back, because its content has been committed."""
        if opened.holds_publication:
            opened.holds_publication = False
            self._scope.volume.release(self._attributes.resolve(opened.ino).node)

    def _check_goes_on(
        self,
        att: Attachment,
        opened: RegisteredHandle,
        view: NodeView,
        data: bytes,
        mtime_ns: int | None,
        onto: bytes | None,
    ) -> None:
        """Whether this version, or what the last fsync brought, is still all that the file contains: or `data` already,
        of a call that is repeated because the daemon died before it answered."""
        if onto is None:
            return
        staged = self._staged.of(opened.ino)
        if staged is None:
            goes_on = view.version == onto or self._was_committed(opened.ino, data, mtime_ns)
        else:
            others = [writer for writer in self._scope.files.writers(opened.ino) if writer is not opened]
            goes_on = not others and (staged.is_as_kept() or self._was_staged(att, staged, data, mtime_ns))
        if not goes_on:
            raise ContentMoved("Another mount of this device has written to this file: what was added goes after it.")

    def _was_committed(self, ino: Ino, data: bytes, mtime_ns: int | None) -> bool:
        """Time and content are those of this very call."""
        version = self._attributes.version(ino)
        if mtime_ns is None or version.mtime.value != mtime_ns or version.size != len(data):
            return False
        try:
            return read_map(self._contents.map_of_version(version), 0, len(data)) == data
        except OSError:
            return False

    def _was_staged(self, att: Attachment, staged: StagedFile, data: bytes, mtime_ns: int | None) -> bool:
        """An earlier daemon wrote it for a call that it did not answer, all or a beginning of it. With other mounts
        about a beginning could be theirs as well."""
        if not staged.inherited:
            return False
        found = staged.path.read_bytes() if staged.stat().st_size <= len(data) else None
        if found is None or not data.startswith(found):
            return False
        alone = not att.shared and not self._scope.files.awaited
        return alone or (found == data and staged.stat().st_mtime_ns == mtime_ns)

    async def fsync(
        self, att: Attachment, handle: int, ino: Ino, data: bytes | None, onto: bytes | None = None
    ) -> None:
        if handle:
            opened = self.handle(att, handle)
            ino = opened.ino
            if data is not None:
                self._keep_data(att, self._writable(att, handle), data, onto)
        view = self._attributes.resolve(ino)
        if view.kind is Kind.FILE:
            await self._writing.sync(ino)
        else:
            await self._scope.db.sync(Pool.FOREGROUND)

    def _keep_data(self, att: Attachment, opened: RegisteredHandle, data: bytes, onto: bytes | None) -> None:
        """Moves what the mount still has in memory to a staging file: durable, and no version yet."""
        if len(data) > INLINE_COMMIT:
            raise TooBig(f"An fsync carries {INLINE_COMMIT} bytes at most.")
        self._scope.require_space()
        view = self._attributes.resolve(opened.ino)
        self._check_goes_on(att, opened, view, data, None, onto)
        staged = self._staged.of(opened.ino)
        if staged is None:
            staged = self._writing.stage_data(view, data, view.version, att.request.mount_id)
        else:
            with full_disk_as_no_space():
                staged.replace(data)
        staged.keep()
        faults.reach("syncing.kept", self._scope.store)

    # ---- plain reads and writes
    async def read(self, att: Attachment, handle: int, offset: int, length: int) -> bytes:
        opened = self.handle(att, handle)
        check_read(offset, length)
        if offset >= MAX_FILE_SIZE:
            return b""
        suspect = False
        for _ in range(3):
            view = self._attributes.resolve(opened.ino)
            staged = self._staged.of(opened.ino)
            if staged is not None:
                return _read_file(str(staged.path), offset, length)
            version = self._attributes.version(opened.ino)
            await self._contents.bring(view.node, version, suspect)
            try:
                return read_map(self._contents.map_of_version(version), offset, length)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                suspect = True
        raise ContentUnavailable("This file changes too often to be read: try again.")

    async def write(self, att: Attachment, handle: int, offset: int, data: bytes) -> Attr:
        await self._scope.room()
        opened = self._writable(att, handle)
        if offset < 0:
            raise BadArgument("A write needs an offset.")
        if offset + len(data) > MAX_FILE_SIZE:
            raise FileTooBig("A file cannot be that large.")
        staged = await self._writing.stage(opened.ino, att.request.mount_id, empty=False, base=b"")
        self._write_at(staged, offset, data)
        self._watchers.content_changed(opened.ino, staged.base, att)
        return self._attributes.get(opened.ino)

    def _write_at(self, staged: StagedFile, offset: int, data: bytes) -> None:
        staged.clean = None
        with full_disk_as_no_space(), open(staged.path, "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), data, offset)
        staged.set_mtime(self._scope.now_ns())


def check_read(offset: int, length: int) -> None:
    if offset < 0 or not 0 <= length <= MAX_READ:
        raise BadArgument(f"A read has an offset and at most {MAX_READ} bytes.")


def _read_file(path: str, offset: int, length: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return os.pread(file.fileno(), length, offset)


def read_map(content: ContentMap, offset: int, length: int) -> bytes:
    """Raises FileNotFoundError where a piece is not here."""
    parts: list[bytes] = []
    end = min(offset + length, content.size)
    for extent in content.extents:
        size = len(extent.data) if isinstance(extent, InlineExtent) else extent.length
        start, stop = max(offset, extent.offset) - extent.offset, min(end, extent.offset + size) - extent.offset
        if start >= stop:
            continue
        if isinstance(extent, InlineExtent):
            parts.append(extent.data[start:stop])
        elif isinstance(extent, LocalExtent):
            parts.append(_read_file(extent.path, extent.source_offset + start, stop - start))
        elif isinstance(extent, HoleExtent):
            parts.append(bytes(stop - start))
        else:
            raise FileNotFoundError
    return b"".join(parts)
