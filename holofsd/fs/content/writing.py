# SPDX-License-Identifier: GPL-3.0-or-later
"""Staging and finalizing: how what mounts write becomes durable, and then a version (docs/durability.md).

Crash windows, in order: a copy without row is swept at start; once the row exists the file is finalized at start or by
the mount that comes back; the version and the row's token are one transaction; what follows is the hasher's.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import structlog

from holofsd.core.errors import ContentUnavailable, HoloError
from holofsd.core.ids import Ino
from holofsd.core.project import token
from holofsd.core.state import Inline, Pending, Version
from holofsd.fs.content.contents import Contents
from holofsd.fs.content.hashing import Hasher
from holofsd.fs.content.pieces import ContentPiece, copy_pieces
from holofsd.fs.content.versions import Versions
from holofsd.fs.shared.attrs import Attributes
from holofsd.fs.shared.scope import Origin, Scope, full_disk_as_no_space
from holofsd.fs.shared.staged import StagedFile, StagedFiles
from holofsd.store.threads import Pool, in_thread
from holofsd.tree.views import NodeView

log = structlog.get_logger(__name__)

_ATTEMPTS = 4


class Writing:
    """Staging files from their making to the version that they become when they are finalized."""

    def __init__(
        self,
        scope: Scope,
        attributes: Attributes,
        contents: Contents,
        staged: StagedFiles,
        versions: Versions,
        hasher: Hasher,
    ) -> None:
        self._scope = scope
        self._attributes = attributes
        self._contents = contents
        self._staged = staged
        self._versions = versions
        self._hasher = hasher
        self._locks: dict[Ino, tuple[asyncio.Lock, int]] = {}

    # ---- staging
    async def stage(self, ino: Ino, mount_id: str, *, empty: bool, base: bytes) -> StagedFile:
        """The staging file of an inode, made if there is none. Suspends where content has to be copied or fetched."""
        staged = self._staged.of(ino) or self._stage_at_once(ino, mount_id, empty=empty, base=base)
        if staged is None:
            lock, waiting = self._locks.get(ino, (asyncio.Lock(), 0))
            self._locks[ino] = (lock, waiting + 1)
            try:
                async with lock:
                    staged = self._staged.of(ino) or await self._stage_copy(ino, mount_id, base)
            finally:
                self._leave(ino)
        if empty and staged.stat().st_size:
            staged.truncate(0)
        return staged

    def _leave(self, ino: Ino) -> None:
        lock, waiting = self._locks[ino]
        if waiting == 1:
            del self._locks[ino]
        else:
            self._locks[ino] = (lock, waiting - 1)

    def _stage_at_once(self, ino: Ino, mount_id: str, *, empty: bool, base: bytes) -> StagedFile | None:
        view = self._attributes.resolve(ino)
        version = self._attributes.version(ino)
        if empty and version.size:
            return self.stage_data(view, b"", base or token(version.dot), mount_id)
        if isinstance(version.body, Inline):
            staged = self.stage_data(view, version.body.data, base or token(version.dot), mount_id)
            staged.matches_base(version.mtime.value, self._scope.now_ns())
            return staged
        return None

    def stage_data(self, view: NodeView, data: bytes, base: bytes, mount_id: str) -> StagedFile:
        """A staging file with this content, at once."""
        with full_disk_as_no_space():
            staging_id, path = self._staged.make_file()
            path.write_bytes(data)
            with self._scope.db.transaction():
                return self._staged.adopt(staging_id, path, view.ino, view.node, base, mount_id)

    async def _stage_copy(self, ino: Ino, mount_id: str, base: bytes) -> StagedFile:
        for _ in range(_ATTEMPTS):
            version = self._attributes.version(ino)
            await self._contents.bring(self._attributes.resolve(ino).node, version)
            await self._scope.room(version.size)
            staging_id, path = self._staged.make_file()
            adopted = False
            try:
                complete = await self._copied(version, path)
                # While the copy was made the inode may have got another staging file, content, or even node.
                other = self._staged.of(ino)
                if other is not None:
                    return other
                if complete and self._attributes.version(ino).dot == version.dot:
                    with self._scope.db.transaction():
                        node = self._attributes.resolve(ino).node
                        base = base or token(version.dot)
                        staged = self._staged.adopt(staging_id, path, ino, node, base, mount_id)
                    adopted = True
                    staged.matches_base(version.mtime.value, self._scope.now_ns())
                    return staged
            finally:
                if not adopted:
                    path.unlink(missing_ok=True)
        raise ContentUnavailable("This file changes too often to be opened for writing: try again.")

    async def _copied(self, version: Version, path: Path) -> bool:
        """False if the content moved while it was copied (a staging file was hashed): look again where it is."""
        try:
            with full_disk_as_no_space():
                await in_thread(Pool.FOREGROUND, copy_pieces, self._contents.pieces(version), path)
        except FileNotFoundError:
            return False
        return path.stat().st_size == version.size

    # ---- finalizing
    def finalize(self, staged: StagedFile, origin: Origin | None = None) -> None:
        """Makes a version of what was written. No mount may write to the file any more."""
        view = self._attributes.resolve(staged.ino)
        if self._attributes.is_orphan(view):
            return
        with self._scope.change(None, needs_space=False):
            if staged.is_clean():
                self._staged.remove(staged)
                return
            version = self._versions.write_staged(staged, origin)
            self._scope.volume.release(view.node)
            if isinstance(version.body, Pending):
                self._staged.finalized(staged, token(version.dot))
                self._hasher.expect(staged)
            else:
                self._staged.remove(staged)

    def finalize_if_unwritten(self, ino: Ino, origin: Origin | None = None) -> None:
        """Finalizes a file if no process writes it any more; called when one stopped. A failure is logged and tried
        again later."""
        staged = self._staged.of(ino)
        if staged is None or self._scope.files.writers(ino) or self._may_have_unknown_writers(staged):
            return
        try:
            self.finalize(staged, origin)
        except HoloError as error:
            log.warning("a written file could not be finalized yet", ino=ino, problem=error.message)

    def _may_have_unknown_writers(self, staged: StagedFile) -> bool:
        """Whether a mount that has not re-attached since the daemon started may write to the file. `Attaching.tend`
        finalizes it once each of them is back or dead."""
        return staged.inherited and bool(self._scope.files.awaited)

    async def snapshot(self, staged: StagedFile) -> None:
        """A version of a file that stays open: of a copy, for the mount may go on writing at any time."""
        staged.snapshot_at = time.monotonic()
        before = staged.stat()
        self._scope.require_space(before.st_size)
        staging_id, path = self._staged.make_file()
        kept = False
        try:
            with full_disk_as_no_space():
                await in_thread(Pool.BACKGROUND, copy_pieces, [ContentPiece(staged.path, before.st_size)], path)
            after = staged.stat() if self._staged.of(staged.ino) is staged else None
            if after is not None and (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size):
                os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
                kept = self._finalize_copy(staged, staging_id, path)
                staged.clean = (before.st_mtime_ns, before.st_size)
        finally:
            if not kept:
                path.unlink(missing_ok=True)

    def _finalize_copy(self, staged: StagedFile, staging_id: str, path: Path) -> bool:
        """True if the copy is needed further."""
        if self._attributes.is_orphan(self._attributes.resolve(staged.ino)):
            return False
        copy = StagedFile(staging_id, staged.ino, staged.node, path, staged.base, staged.mount_id)
        with self._scope.change(None, needs_space=False):
            version = self._versions.write_staged(copy)
            dot = token(version.dot)
            self._staged.based_on(staged, dot)
            if not isinstance(version.body, Pending):
                return False
            self._staged.add_finalized(copy, dot)
            self._hasher.expect(copy)
        return True

    # ---- durability
    async def sync(self, ino: Ino) -> None:
        """Returns when what the inode contains survives power loss."""
        for _ in range(_ATTEMPTS):
            try:
                await self._sync_content(ino)
                break
            except FileNotFoundError:
                # Finalized or hashed in the meantime: look again where it is.
                continue
        await self._scope.db.sync(Pool.FOREGROUND)

    async def _sync_content(self, ino: Ino) -> None:
        staged = self._staged.of(ino)
        if staged is not None:
            staged.synced = True
            await in_thread(Pool.FOREGROUND, sync_file, staged.path)
            return
        version = self._attributes.version(ino)
        if isinstance(version.body, Pending):
            self._hasher.keep_durable(version.body.staging)
        if not isinstance(version.body, Inline) and self._scope.tree.is_here(version):
            for path in dict.fromkeys(piece.path for piece in self._contents.pieces(version)):
                if path is not None:
                    await in_thread(Pool.FOREGROUND, sync_file, path)


def sync_file(path: Path) -> None:
    """Blocking: the file and its name. Raises FileNotFoundError."""
    for target, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(target, flags)
        try:
            os.fsync(descriptor) if target is not path else os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
