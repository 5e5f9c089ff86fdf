# SPDX-License-Identifier: GPL-3.0-or-later
"""Saving: commits open files when they are closed, synced, or quiet for a while, and releases their handles."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable
from typing import Final

import structlog

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.content import BufferedBody, StagedBody
from holofs_mount.core.daemon_calls import DaemonCalls
from holofs_mount.core.local_opens import LocalOpens, inline_map
from holofs_mount.core.mount_state import MountState
from holofs_mount.core.openfile import Freshness, Handle, OpenFile, Use
from holofs_mount.core.registration import Registrar
from holofs_mount.core.staging import Stager, is_refused, onto
from holofs_mount.patience import GRACE
from holofs_mount.write_behind.assembly import WriteBehind
from holofs_mount.write_behind.creates import Existence, PendingCreate
from holofs_mount.write_behind.eligibility import close_must_wait
from holofs_mount.write_behind.retry import retry

log = structlog.get_logger(__name__)

QUIET_SECONDS: Final = 5.0
SAVE_SECONDS: Final = 60.0


class Saving:
    """Closing, syncing and letting go of open files."""

    def __init__(
        self,
        state: MountState,
        daemon: DaemonCalls,
        write_behind: WriteBehind,
        local_opens: LocalOpens,
        registrar: Registrar,
        stager: Stager,
    ) -> None:
        self._state = state
        self._daemon = daemon
        self._write_behind = write_behind
        self._local_opens = local_opens
        self._registrar = registrar
        self._stager = stager

    # ---- committing ----
    async def flush(self, number: int) -> None:
        """Commits after the close of a descriptor: what was written must survive the end of every process of ours."""
        handle = self._state.table.handle(number)
        if handle.write and handle.file.dirty:
            await self.commit(handle, last=handle.use is not Use.LINGERING)
            if not handle.was_registered:
                self._registrar.watch_for_lingering(handle)

    async def commit(self, handle: Handle, last: bool = False) -> None:
        """Commits an open file. `last`: the handle will probably not be used again, so the daemon may release it."""
        file = handle.file
        async with file.lock:
            if not file.dirty:
                return
            if await self._commit_new_file(handle, last):
                return
            writer = await self._registrar.writer_of(handle)
            try:
                await self._commit_through(writer, last)
            except OSError as error:
                if not (isinstance(file.body, BufferedBody) and is_refused(error)):
                    raise
                await self._stager.spill(writer, file.body)
                await self._commit_through(writer, last)

    async def _commit_through(self, writer: Handle, last: bool) -> None:
        """Commits through a registered handle. Raises EBUSY if the file is not the one that was appended to."""
        file = writer.file
        await self._stager.move_displaced(writer)
        edits, since = file.edits, self._state.epochs.now
        request = pb.CommitRequest(handle=writer.number, mtime_ns=file.mtime_ns, base=writer.base)
        if isinstance(file.body, BufferedBody):
            request.MergeFrom(pb.CommitRequest(data=bytes(file.body.data), onto=onto(file)))
            request.release = last and len(file.handles) == 1 and not file.unlinked
        attr = await self._sent(writer, request)
        if attr is None:
            await self._commit_through(writer, last)
            return
        self._committed(file, writer, attr, edits, since)
        if isinstance(file.body, BufferedBody):
            file.body.stored = len(request.data)
            if not file.dirty and not file.unlinked:
                content = inline_map(attr.version, bytes(file.body.data))
                self._local_opens.cache_map(attr, content, self._state.epochs.now)

    async def _sent(self, writer: Handle, request: pb.CommitRequest) -> pb.Attr | None:
        """Sends a commit. None: the daemon that answered came after the one that was asked, so it is to be repeated."""
        async with writer.registering:
            attr: pb.Attr = await self._daemon.call("commit", request)
            if writer.file.displaced:
                return None
            writer.set_registered(not request.release)
            return attr

    async def _commit_new_file(self, handle: Handle, last: bool) -> bool:
        """Commits a file whose create is unsent, with its content. False: it is sent or done. The lock is held."""
        file = handle.file
        pending = self._write_behind.creates.take(file)
        if pending is None or not isinstance(file.body, BufferedBody):
            return False
        edits, since = file.edits, self._state.epochs.now
        try:
            pending.request.data = bytes(file.body.data)
            pending.request.mtime_ns = file.attr.mtime_ns if file.mtime_ns is None else file.mtime_ns
            pending.request.ctime_ns = self._state.shown(file.attr).ctime_ns
            if last and self._may_close_async(file):
                since = self._cache_guess(file, pending.request)
                if self._create_async(handle, pending, edits, since):
                    return True
            reply = await self._daemon.commit_new_file(pending.request)
        except BaseException:
            self._write_behind.creates.put_back(file)
            raise
        self._create_acknowledged(handle, pending.request, edits, since, reply)
        file.body.stored = len(pending.request.data)
        return True

    def _may_close_async(self, file: OpenFile) -> bool:
        """Whether `close` may return before the daemon has this new file (ADR 11)."""
        only_handle = len(file.handles) == 1
        conditions = self._write_behind.conditions()
        return close_must_wait(conditions, only_handle=only_handle, unlinked=file.unlinked) is None

    def _cache_guess(self, file: OpenFile, request: pb.CreateRequest) -> int:
        """Caches attributes as the daemon will give them, and returns the epoch in which they were cached."""
        attr = pb.Attr()
        attr.CopyFrom(file.attr)
        attr.mode, attr.size = request.mode, len(request.data)
        attr.mtime_ns, attr.ctime_ns = request.mtime_ns, request.ctime_ns
        self._state.cache_own_change(attr, self._state.epochs.now)
        return self._state.epochs.now

    def _create_async(self, handle: Handle, pending: PendingCreate, edits: int, since: int) -> bool:
        """Queues the create of a closed file. False: the journal refuses it."""
        file, request = handle.file, pending.request

        def created(reply: pb.CreateReply) -> None:
            self._create_acknowledged(handle, request, edits, since, reply)

        if not self._write_behind.queue.create("create", request, created):
            return False
        file.committed = edits
        file.mtime_ns = None
        if isinstance(file.body, BufferedBody):
            file.body.stored = len(request.data)
        self._write_behind.creates.known(file)
        return True

    def _create_acknowledged(
        self, handle: Handle, request: pb.CreateRequest, edits: int, since: int, reply: pb.CreateReply
    ) -> None:
        """Notes that the daemon has a new file with its content."""
        file = handle.file
        self._write_behind.creates.acknowledged(file, reply)
        if not reply.created or reply.attr.ino != file.ino:
            # Made by an earlier attempt, with all that was sent: it may have been changed since, or removed.
            file.committed = edits
            if not file.dirty:
                file.mtime_ns = None
            self._state.attrs.drop(file.ino)
            file.freshness = Freshness.STALE
            return
        self._committed(file, handle, reply.attr, edits, since)
        if not file.dirty:
            content = inline_map(reply.attr.version, request.data)
            self._local_opens.cache_map(reply.attr, content, self._state.epochs.now)

    def _committed(self, file: OpenFile, handle: Handle, attr: pb.Attr, edits: int, since: int) -> None:
        """Notes that the daemon has the content of a file as of `edits`."""
        file.committed = edits
        if not file.dirty:
            file.mtime_ns = None
        if isinstance(file.body, BufferedBody):
            for each in file.handles.values():
                each.base = b""
            self._state.bases.has_written(file.ino, handle.pid)
            self._state.bases.changed(file.ino, file.version, attr.version, elsewhere=False)
            file.set_version(attr.version)
        elif isinstance(file.body, StagedBody):
            file.body.unsaved.clear()
        if file.unlinked:
            file.attr = attr
        else:
            self._state.cache_own_change(attr, since)

    async def fsync(self, number: int) -> None:
        handle = self._state.table.handle(number)
        file = handle.file
        if not await self._sync_memory(handle):
            if isinstance(file.body, StagedBody) and file.body.writable:
                await self._sync_staged(handle)
            request = pb.FsyncRequest(handle=number) if handle.was_registered else pb.FsyncRequest(ino=file.ino)
            await self._daemon.call("fsync", request)
            if file.displaced:  # the daemon that answered came after the one that was asked
                await self.fsync(number)
                return
        self._check_nothing_failed()

    async def _sync_staged(self, handle: Handle) -> None:
        async with handle.file.lock:  # the descriptor must not be closed meanwhile
            await self._stager.move_displaced(handle)
            if isinstance(handle.file.body, StagedBody):
                await asyncio.to_thread(handle.file.body.sync)

    async def _sync_memory(self, handle: Handle) -> bool:
        """Makes durable what only this mount has. False: the content is in the staging file, or unchanged."""
        file = handle.file
        async with file.lock:
            if not (isinstance(file.body, BufferedBody) and file.dirty):
                return False
            writer = await self._registrar.writer_of(handle)
            data = bytes(file.body.data)
            try:
                await self._daemon.call("fsync", pb.FsyncRequest(handle=writer.number, data=data, onto=onto(file)))
            except OSError as error:
                if not is_refused(error):
                    raise
                await self._stager.spill(writer, file.body)
                return False
            file.body.stored = len(data)
            file.body.synced = True
            return True

    async def fsync_inode(self, ino: int) -> None:
        async def ask() -> None:
            await self._daemon.call("fsync", pb.FsyncRequest(ino=ino))

        await self._state.gone.ask(ino, ask, lambda gone: None)
        self._check_nothing_failed()

    def _check_nothing_failed(self) -> None:
        """Raises OSError EIO if an operation that was acknowledged before could not be stored."""
        if self._write_behind.queue.has_failed:
            raise OSError(errno.EIO, "files that were closed before could not be stored yet")

    async def release(self, number: int) -> None:
        """Ends a handle after its last descriptor and mapping. Never waits for a daemon that is away."""
        handle = self._state.table.handle(number)
        handle.use = Use.CLOSING
        try:
            await self._end(handle)
        except OSError as error:
            if error.errno != errno.ETIMEDOUT:
                raise
            self._daemon.in_background(self._end_later(handle))

    async def _end(self, handle: Handle) -> None:
        """Commits what was written, and takes the handle from its file. Raises OSError ETIMEDOUT: both are still here,
        because the daemon is away, or the file in use for longer than the patience."""
        if handle.write and handle.file.dirty:
            await self._commit_at_end(handle)
        await self._detach(handle)

    async def _commit_at_end(self, handle: Handle) -> None:
        """Commits what no `close` has committed. Raises OSError ETIMEDOUT; logs what the daemon refuses for good."""
        pending = handle.file.pending_create
        was_reported = pending is not None and (pending.reported or pending.existence is Existence.REFUSED)
        try:
            await self.commit(handle, last=True)
        except OSError as error:
            if error.errno == errno.ETIMEDOUT:
                raise
            if not was_reported:
                log.error(
                    "what was written at the end could not be handed over", ino=handle.file.ino, reason=str(error)
                )

    async def _end_later(self, handle: Handle) -> None:
        """Repeats `_end` whenever the daemon is back: while the mount lives, no write is given up. A task."""

        def when_back(error: OSError) -> Awaitable[None] | None:
            return self._daemon.back() if error.errno == errno.ETIMEDOUT else None

        try:
            await retry(self._end(handle), lambda: self._end(handle), when_back)
        except asyncio.CancelledError:
            log.error("the mount ended before the daemon came back: a file lost its last writes", ino=handle.file.ino)
            raise

    async def _detach(self, handle: Handle) -> None:
        """Takes the handle from its file, and releases it in the background."""
        file = handle.file
        wrote_staging = handle.write and isinstance(file.body, StagedBody)
        async with file.lock:  # a task that registers the handle has done so, or sees that it closes
            self._state.table.detach(handle)
        if file.existence is not Existence.KNOWN and not file.handles:
            self._create_refused(file)
        if wrote_staging and not file.handles:
            self._state.attrs.drop(file.ino)  # the version is made now, by the daemon
        if handle.was_registered or handle.registering.locked():
            self._daemon.in_background(self._release(handle))
        else:
            self._state.table.remove(handle)

    def _create_refused(self, file: OpenFile) -> None:
        """Forgets a new file that the daemon refused, as the program that closed it was told."""
        pending = self._write_behind.creates.drop(file)
        if pending is not None:
            parent, name = pending.request.parent, pending.request.name
            self._state.invalidate_entry(parent, name)
            self._state.attrs.drop(file.ino)

    async def _release(self, handle: Handle) -> None:
        # The handle stays in the table until the daemon has released it: a new daemon has to hear of it again.
        try:
            async with handle.registering:
                if handle.was_registered and not handle.lost:
                    await self._daemon.call("release", pb.ReleaseRequest(handle=handle.number))
        except OSError as error:
            log.debug("release failed", reason=str(error))
        finally:
            self._state.table.remove(handle)

    # ---- files that stay open ----
    async def save_quiet(self) -> None:
        """Commits files in memory that stay open and have been quiet for a while.

        The daemon itself makes versions of staging files.
        """
        now = time.monotonic()
        for file in list(self._state.table.files.values()):
            writer = file.writer()
            if not isinstance(file.body, BufferedBody) or not file.dirty or file.unlinked or writer is None:
                continue
            if now - file.written_at < QUIET_SECONDS or now - file.saved_at < SAVE_SECONDS:
                continue
            file.saved_at = now
            try:
                await self.commit(writer)
            except OSError as error:
                log.warning("an open file could not be saved yet", ino=file.ino, reason=str(error))

    async def finish(self) -> None:
        """Ends all handles, as the mount ends. Nothing written is lost if the daemon answers within the patience."""
        handles = [handle for handle in self._state.table.handles.values() if not handle.closing]
        releases = {asyncio.ensure_future(self.release(handle.number)): handle for handle in handles}
        if not releases:
            return
        done, late = await asyncio.wait(releases, timeout=self._daemon.patience_left + GRACE)
        for release in late:
            log.error("the mount ended before an open file could be handed over", ino=releases[release].file.ino)
            release.cancel()
        for release in done:
            if (error := release.exception()) is not None:
                log.error("an open file could not be let go", ino=releases[release].file.ino, reason=str(error))
