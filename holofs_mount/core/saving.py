# SPDX-License-Identifier: GPL-3.0-or-later
"""What was written here is told to the daemon: when a file is closed, synced, or quiet for a while."""

from __future__ import annotations

import asyncio
import errno
import time
from typing import Final

import structlog

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.content import BufferedBody, StagedBody
from holofs_mount.core.context import Context
from holofs_mount.core.light import LightOpens, inline_map
from holofs_mount.core.names import Names
from holofs_mount.core.openfile import Birth, Handle, OpenFile
from holofs_mount.core.registration import daemon_handle, watch_for_lingering
from holofs_mount.core.sharing import is_refused, move_displaced, onto, spill
from holofs_mount.patience import GRACE

log = structlog.get_logger(__name__)

QUIET_SECONDS: Final = 5.0
SAVE_SECONDS: Final = 60.0


class Saving:
    """Closing, syncing and letting go of open files."""

    def __init__(self, context: Context, names: Names, light: LightOpens) -> None:
        self._x = context
        self._names = names
        self._light = light

    # ---- telling the daemon ----
    async def flush(self, number: int) -> None:
        """A descriptor was closed: what was written must survive the end of every process of ours."""
        handle = self._x.table.handle(number)
        if handle.write and handle.file.dirty:
            await self.commit(handle, last=not handle.lingers)
            if not handle.registered:
                watch_for_lingering(self._x, handle)

    async def commit(self, handle: Handle, last: bool = False) -> None:
        """`last`: as far as can be known the handle will not be used again, so the daemon may let go of it."""
        file = handle.file
        async with file.lock:
            if not file.dirty:
                return
            if await self._borne(handle, last):
                return
            told = await daemon_handle(self._x, handle)
            try:
                await self._committed(told, last)
            except OSError as error:
                if not (isinstance(file.body, BufferedBody) and is_refused(error)):
                    raise
                await spill(self._x, told, file.body)
                await self._committed(told, last)

    async def _committed(self, told: Handle, last: bool) -> None:
        """Tells the daemon through a handle that it knows. Raises EBUSY where the file is not what was appended to."""
        file = told.file
        await move_displaced(self._x, told)
        generation, since = file.generation, self._x.clock.now
        request = pb.CommitRequest(handle=told.number, mtime_ns=file.mtime_ns, base=told.base)
        if isinstance(file.body, BufferedBody):
            request.MergeFrom(pb.CommitRequest(data=bytes(file.body.data), onto=onto(file)))
            request.release = last and len(file.handles) == 1 and not file.unlinked
        attr: pb.Attr = await self._x.call("commit", request)
        if file.displaced:  # the daemon that answered came after the one that was asked
            await self._committed(told, last)
            return
        told.registered = not request.release
        self._told(file, told, attr, generation, since)
        if isinstance(file.body, BufferedBody):
            file.body.told = len(request.data)
            if not file.dirty and not file.unlinked:
                self._light.keep(attr, inline_map(attr.version, bytes(file.body.data)), self._x.clock.now)

    async def _borne(self, handle: Handle, last: bool) -> bool:
        """Tells the daemon of a new file, with all there is. False: it has heard of it before. The lock is held."""
        file = handle.file
        birth = self._x.newborn.take(file)
        if birth is None or not isinstance(file.body, BufferedBody):
            return False
        generation, since = file.generation, self._x.clock.now
        try:
            birth.request.data = bytes(file.body.data)
            birth.request.mtime_ns = file.attr.mtime_ns if file.mtime_ns is None else file.mtime_ns
            birth.request.ctime_ns = self._x.shown(file.attr).ctime_ns
            if last and self._may_promise(file):
                since = self._settle_guess(file, birth.request)
                if self._promised(handle, birth, generation, since):
                    return True
            with self._x.later.somebody_waits():
                await self._x.later.in_order(self._x.client.patience_left)
                reply: pb.CreateReply = await self._x.client.call("create", birth.request)
        except BaseException:
            birth.refused = True
            self._x.newborn.give_back(file)
            raise
        self._taken(handle, birth.request, generation, since, reply)
        file.body.told = len(birth.request.data)
        return True

    def _may_promise(self, file: OpenFile) -> bool:
        """Nobody has to wait for the daemon to take this file (ADR 11)."""
        x = self._x
        return len(file.handles) == 1 and not file.unlinked and x.may_promise

    def _settle_guess(self, file: OpenFile, request: pb.CreateRequest) -> int:
        """Attributes as the daemon will give them; returns when they were settled."""
        attr = pb.Attr()
        attr.CopyFrom(file.attr)
        attr.mode, attr.size = request.mode, len(request.data)
        attr.mtime_ns, attr.ctime_ns = request.mtime_ns, request.ctime_ns
        self._x.settle(attr, self._x.clock.now)
        return self._x.clock.now

    def _promised(self, handle: Handle, birth: Birth, generation: int, since: int) -> bool:
        """It is in the journal: as good as told."""
        file, request = handle.file, birth.request

        def made(reply: pb.CreateReply) -> None:
            self._taken(handle, request, generation, since, reply)

        if not self._x.later.promise("create", request, made):
            return False
        file.committed = generation
        file.mtime_ns = None
        if isinstance(file.body, BufferedBody):
            file.body.told = len(request.data)
        self._x.newborn.is_kept(file)
        return True

    def _taken(
        self, handle: Handle, request: pb.CreateRequest, generation: int, since: int, reply: pb.CreateReply
    ) -> None:
        """The daemon has the new file, whole."""
        file = handle.file
        self._x.newborn.said(file, reply)
        if not reply.created or reply.attr.ino != file.ino:
            # Made before, with all that was sent: somebody may have changed it since, or removed it.
            file.committed = generation
            if not file.dirty:
                file.mtime_ns = None
            self._x.attrs.drop(file.ino)
            file.stale = True
            return
        self._told(file, handle, reply.attr, generation, since)
        if not file.dirty:
            self._light.keep(reply.attr, inline_map(reply.attr.version, request.data), self._x.clock.now)

    def _told(self, file: OpenFile, handle: Handle, attr: pb.Attr, generation: int, since: int) -> None:
        file.committed = generation
        if not file.dirty:
            file.mtime_ns = None
        if isinstance(file.body, BufferedBody):
            for each in file.handles.values():
                each.base = b""
            self._x.bases.has_written(file.ino, handle.pid)
            self._x.bases.changed(file.ino, file.version, attr.version, elsewhere=False)
            file.version = attr.version
            file.stale = False
        elif isinstance(file.body, StagedBody):
            file.body.unsaved.clear()
        if file.unlinked:
            file.attr = attr
        else:
            self._x.settle(attr, since)

    async def fsync(self, number: int) -> None:
        handle = self._x.table.handle(number)
        file = handle.file
        if not await self._kept_from_memory(handle):
            if isinstance(file.body, StagedBody) and file.body.writable:
                await self._sync_staged(handle)
            told = pb.FsyncRequest(handle=number) if handle.registered else pb.FsyncRequest(ino=file.ino)
            await self._x.call("fsync", told)
            if file.displaced:  # the daemon that answered came after the one that was asked
                await self.fsync(number)
                return
        self._check_kept()

    async def _sync_staged(self, handle: Handle) -> None:
        async with handle.file.lock:  # nobody may close the descriptor meanwhile
            await move_displaced(self._x, handle)
            if isinstance(handle.file.body, StagedBody):
                await asyncio.to_thread(handle.file.body.sync)

    async def _kept_from_memory(self, handle: Handle) -> bool:
        """Makes durable what only this mount has. False: the content is in the staging file, or unchanged."""
        file = handle.file
        async with file.lock:
            if not (isinstance(file.body, BufferedBody) and file.dirty):
                return False
            told = await daemon_handle(self._x, handle)
            data = bytes(file.body.data)
            try:
                await self._x.call("fsync", pb.FsyncRequest(handle=told.number, data=data, onto=onto(file)))
            except OSError as error:
                if not is_refused(error):
                    raise
                await spill(self._x, told, file.body)
                return False
            file.body.told = len(data)
            file.body.kept = True
            return True

    async def fsync_inode(self, ino: int) -> None:
        async def ask() -> None:
            await self._x.call("fsync", pb.FsyncRequest(ino=ino))

        await self._x.gone.ask(ino, ask, lambda gone: None)
        self._check_kept()

    def _check_kept(self) -> None:
        """What was closed before is said to have been stored by whoever syncs."""
        if self._x.later.failing:
            raise OSError(errno.EIO, "files that were closed before could not be stored yet")

    async def release(self, number: int) -> None:
        """The last descriptor is gone, and with it the last mapping."""
        handle = self._x.table.handle(number)
        handle.closing = True
        if not await self._ended(handle):
            self._x.client.in_background(self._release_later(handle))

    async def _ended(self, handle: Handle) -> bool:
        """False: the daemon is away, and the handle, with what was written, is still here."""
        if handle.write and handle.file.dirty and not await self._handed_over(handle):
            return False
        return await self._let_go(handle)

    async def _handed_over(self, handle: Handle) -> bool:
        """False: the daemon is away, and what was written is still here."""
        birth = handle.file.birth
        was_told = birth is not None and (birth.refused or birth.failed is not None)
        try:
            await self.commit(handle, last=True)
        except OSError as error:
            if error.errno == errno.ETIMEDOUT:
                return False
            if not was_told:
                log.error(
                    "what was written at the end could not be handed over", ino=handle.file.ino, reason=str(error)
                )
        return True

    async def _release_later(self, handle: Handle) -> None:
        # For as long as the mount lives nothing is given up.
        try:
            while not await self._ended(handle):
                await self._x.client.back()
        except asyncio.CancelledError:
            log.error("the mount ended before the daemon came back: a file lost its last writes", ino=handle.file.ino)
            raise

    async def _let_go(self, handle: Handle) -> bool:
        """False: the file is in use for longer than the patience."""
        file = handle.file
        wrote_staging = handle.write and isinstance(file.body, StagedBody)
        try:
            async with file.lock:  # whoever tells the daemon of the handle again has done so, or sees that it closes
                self._x.table.detach(handle)
        except OSError as error:
            if error.errno != errno.ETIMEDOUT:
                raise
            return False
        if file.birth is not None and not file.handles:
            self._stillborn(file)
        if wrote_staging and not file.handles:
            self._x.attrs.drop(file.ino)  # the version is made now, by the daemon
        if handle.registered:
            self._x.client.in_background(self._release(handle))
        else:
            self._x.table.remove(handle)
        return True

    def _stillborn(self, file: OpenFile) -> None:
        """The daemon refused a new file, and who made it was told so."""
        birth = self._x.newborn.forget(file)
        if birth is not None:
            parent, name = birth.request.parent, birth.request.name
            self._x.unsure_of(parent, name)
            self._x.attrs.drop(file.ino)

    async def _release(self, handle: Handle) -> None:
        # The handle stays in the table until the daemon let it go: a daemon that dies in between hears of it again.
        try:
            if not handle.lost:
                await self._x.call("release", pb.ReleaseRequest(handle=handle.number))
        except OSError as error:
            log.debug("release failed", reason=str(error))
        finally:
            self._x.table.remove(handle)

    # ---- files that stay open ----
    async def save_quiet(self) -> None:
        """Hands over what is in memory of files that stay open and have been quiet for a while.

        Of what is staged the daemon makes versions itself.
        """
        now = time.monotonic()
        for file in list(self._x.table.files.values()):
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
        """The mount ends: nothing written may be lost, as far as the daemon answers within the patience."""
        handles = [handle for handle in self._x.table.handles.values() if not handle.closing]
        releases = {asyncio.ensure_future(self.release(handle.number)): handle for handle in handles}
        if not releases:
            return
        done, late = await asyncio.wait(releases, timeout=self._x.client.patience_left + GRACE)
        for release in late:
            log.error("the mount ended before an open file could be handed over", ino=releases[release].file.ino)
            release.cancel()
        for release in done:
            if (error := release.exception()) is not None:
                log.error("an open file could not be let go", ino=releases[release].file.ino, reason=str(error))
