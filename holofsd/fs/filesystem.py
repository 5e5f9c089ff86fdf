# SPDX-License-Identifier: GPL-3.0-or-later
"""One volume as a filesystem: implements `fs.api.Filesystem` over `tree.local.LocalVolume`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import structlog

from holofs_api import PAST_INO
from holofs_api.stamps import CLOCK
from holofsd.core.errors import HoloError, NameExists
from holofsd.core.ids import Ino
from holofsd.fs.api import ReadCalls
from holofsd.fs.census import take_census
from holofsd.fs.changes.watch import Watchers
from holofsd.fs.content.browsing import Browsing
from holofsd.fs.content.changing import Changing
from holofsd.fs.content.contents import Contents
from holofsd.fs.content.hashing import Hasher
from holofsd.fs.content.opening import Opening
from holofsd.fs.content.versions import Versions
from holofsd.fs.content.writing import Writing
from holofsd.fs.journalled_calls import JournalledCall
from holofsd.fs.mounts.async_creates import AsyncCreates
from holofsd.fs.mounts.attaching import Attaching
from holofsd.fs.mounts.journal_runner import JournalRunner
from holofsd.fs.mounts.journals import Journals
from holofsd.fs.names.alternatives import Alternatives
from holofsd.fs.names.freed import FreedNames
from holofsd.fs.names.naming import Naming
from holofsd.fs.names.renaming import Renaming
from holofsd.fs.names.settling import Settling
from holofsd.fs.nodes.conflicts import Conflicts
from holofsd.fs.nodes.unlinking import Unlinking
from holofsd.fs.past.history import History
from holofsd.fs.ports import ContentSource
from holofsd.fs.present_reading import PresentReading
from holofsd.fs.settings import MAX_NEWS, FsSettings
from holofsd.fs.shared.attrs import Attributes
from holofsd.fs.shared.scope import Scope
from holofsd.fs.shared.staged import StagedFiles
from holofsd.fs.transfer.exporting import Exporting
from holofsd.fs.transfer.importing import Importing
from holofsd.fs.types import (
    AsyncCreate,
    Attachment,
    AttachRequest,
    Attr,
    Census,
    ChangeBatch,
    CommitRequest,
    ContentMap,
    Created,
    CreateRequest,
    Listing,
    Opened,
    RenameRequest,
    SetAttr,
    Staged,
    StatFs,
)
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

_RETRY_TICKS = 30


class VolumeFilesystem:
    """One volume, composed of the rooms of `fs`. Keep `run()` running until `close()`. All happens on one loop."""

    def __init__(
        self,
        volume: LocalVolume,
        remote: ContentSource,
        name: str,
        *,
        settings: FsSettings | None = None,
        now_ns: Callable[[], int] = CLOCK.now,
        journals: bool = True,
    ) -> None:
        """`journals`: whether mounts may keep journals here, and those that are left are run."""
        scope = Scope(volume, remote, settings or FsSettings(), now_ns)
        self._scope = scope
        self.identity = volume.store.volume, name
        self.is_closed = False
        staged = StagedFiles(scope)
        self._staged = staged
        attributes = Attributes(scope, staged)
        self._attributes = attributes
        unlinking = Unlinking(scope, attributes, staged)
        conflicts = Conflicts(scope, unlinking)
        versions = Versions(scope, attributes, conflicts)
        freed = FreedNames(scope, staged)
        self._contents = Contents(scope, attributes, staged)
        self.hasher = Hasher(scope)
        self._watchers = Watchers(scope)
        writing = Writing(scope, attributes, self._contents, staged, versions, self.hasher)
        self._naming = Naming(scope, attributes, conflicts, unlinking, freed, versions)
        self._renaming = Renaming(scope, attributes, conflicts, unlinking, freed, versions, staged)
        self._opening = Opening(
            scope, attributes, self._contents, staged, versions, unlinking, writing, self.hasher, self._watchers
        )
        self._changing = Changing(scope, attributes, conflicts, staged, versions, writing, self._watchers)
        self.browsing = Browsing(scope, attributes, self._contents, staged)
        self.alternatives = Alternatives(scope, self._contents)
        self.settling = Settling(scope, self.alternatives, conflicts, unlinking, self._renaming, staged)
        self.history = History(scope, self._contents, versions, self.hasher)
        self.importing = Importing(scope, staged, versions, self.hasher, self.mounts_know)
        self.exporting = Exporting(scope, attributes, staged, self._contents, self.hasher)
        self._present = PresentReading(scope, attributes, self._contents, self._naming, self._opening, self._changing)
        no_mount = Attachment(
            "", volume.store.volume, name, AttachRequest("journal", "", "", 0, False), read_only=False
        )
        self._async_creates = AsyncCreates(scope, attributes, self._naming, self._opening, no_mount)
        runner = JournalRunner(self._async_creates, self._naming, self._changing) if journals else None
        self._journals = Journals(scope.db, scope.store.directory, runner, no_mount)
        self._attaching = Attaching(
            scope, attributes, staged, unlinking, writing, self._opening, self._watchers, self._journals, name
        )
        self._attaching.is_of_the_past = self.history.files.is_known
        staged.load()
        scope.store.staging.sweep()
        volume.is_open = self._attaching.is_open
        self._unsubscribe = volume.subscribe(self._watchers.tree_changed)
        self._journals.carry_out_all()

    # ---- life
    async def run(self) -> None:
        """Hashes what is written, and tends what mounts left open. Runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.hasher.run(), name="hasher")
            group.create_task(self._tend(), name="tending open files")
            group.create_task(self.history.retention.run(), name="keeping history")
            group.create_task(self.history.retention.budget.run(), name="history within its budget")

    async def _tend(self) -> None:
        ticks = 0
        while True:
            try:
                await self._attaching.tend()
            except (HoloError, OSError, sqlite3.Error) as error:
                log.error("open files could not be tended", exc_info=error)
            ticks += 1
            if ticks % _RETRY_TICKS == 0:
                self.hasher.try_again()
            await asyncio.sleep(self._scope.settings.tick)

    async def tend_once(self) -> None:
        """One round of what `run` does every second."""
        await self._attaching.tend()

    async def close(self) -> None:
        """Tells the mounts. Their open files are kept until they come back. Idempotent."""
        self.is_closed = True
        self._watchers.close()
        self._unsubscribe()
        self._unsubscribe = lambda: None

    def role_changed(self) -> None:
        """Call it when `can_write` changed."""
        self._watchers.access_changed(self._scope.remote.can_write)

    def refused_since_ms(self) -> int:
        """Returns since when writing is refused for want of room; 0: it is not."""
        self._scope.note_space()
        return self._scope.refused_since_ms

    def census(self) -> Census:
        return take_census(self._scope, self._staged, self._journals)

    # ---- attachments
    def attach(self, request: AttachRequest) -> Attachment:
        return self._attaching.attach(request)

    def detach(self, attachment: Attachment) -> None:
        self._attaching.detach(attachment)

    def watch(self, attachment: Attachment) -> AsyncIterator[ChangeBatch]:
        return self._watchers.watch(attachment)

    def news_of(self, batch: ChangeBatch) -> list[Opened]:
        inos = {entry.ino for entry in batch.entries if entry.ino} | {inode.ino for inode in batch.inodes}
        return self._opening.news_of(inos) if len(inos) <= MAX_NEWS else []

    # ---- journals
    def run_journalled(
        self, att: Attachment, number: int, call: JournalledCall, *, late: bool
    ) -> Created | Attr | None:
        return self._journals.once(att, number, call, late=late)

    @property
    def is_behind(self) -> bool:
        """Whether calls that mounts acknowledged are not in the index yet."""
        return self._journals.waiting() > 0

    async def others_know(self, att: Attachment) -> None:
        await self._watchers.others_know(att)

    async def mounts_know(self) -> None:
        """Suspends until the mounts show what a command changed: its user goes on through one of them."""
        await self._watchers.others_know(None)

    def acknowledge(self, att: Attachment, number: int) -> None:
        self._watchers.acknowledge(att, number)

    async def caught_up(self, but: str = "") -> None:
        await self._journals.caught_up(self._attaching.journals(but))

    # ---- reading
    def _reading(self, ino: Ino) -> ReadCalls:
        """Chooses who serves an inode number: from `PAST_INO` on the past, below it the present."""
        return self.history.reading if ino >= PAST_INO else self._present

    async def lookup(self, att: Attachment, parent: Ino, name: bytes) -> Attr:
        past = self.history.reading
        reading: ReadCalls = past if past.begins_at(parent, name) else self._present
        return await reading.lookup(att, parent, name)

    async def get_attr(self, att: Attachment, ino: Ino) -> Attr:
        return await self._reading(ino).get_attr(att, ino)

    async def read_dir(self, att: Attachment, ino: Ino, after: bytes, limit: int) -> Listing:
        return await self._reading(ino).read_dir(att, ino, after, limit)

    async def read_link(self, att: Attachment, ino: Ino) -> bytes:
        return await self._reading(ino).read_link(att, ino)

    async def open(self, att: Attachment, ino: Ino, handle: int, *, write: bool, truncate: bool, base: bytes) -> Opened:
        return await self._reading(ino).open(att, ino, handle, write=write, truncate=truncate, base=base)

    async def ahead(self, att: Attachment, ino: Ino, limit: int) -> list[Opened]:
        return await self._reading(ino).ahead(att, ino, limit)

    async def fetch(
        self, att: Attachment, ino: Ino, version: bytes, offset: int, length: int, suspect: bool = False
    ) -> ContentMap:
        return await self._reading(ino).fetch(att, ino, version, offset, length, suspect)

    async def read(self, att: Attachment, handle: int, offset: int, length: int) -> bytes:
        ino = self._opening.handle(att, handle).ino
        return await self._reading(ino).read(att, handle, offset, length)

    async def get_xattr(self, att: Attachment, ino: Ino, name: bytes) -> bytes:
        return await self._reading(ino).get_xattr(att, ino, name)

    async def list_xattr(self, att: Attachment, ino: Ino) -> tuple[bytes, ...]:
        return await self._reading(ino).list_xattr(att, ino)

    async def stat_fs(self, att: Attachment) -> StatFs:
        found = os.statvfs(self._scope.store.directory)
        block = found.f_frsize
        reserve = self._scope.settings.reserve_bytes // block
        free = max(found.f_bavail - reserve, 0)
        return StatFs(block, found.f_blocks, max(found.f_bfree - reserve, 0), free, found.f_files, found.f_favail)

    # ---- names
    async def create(self, att: Attachment, request: CreateRequest) -> Created:
        await self._scope.room()
        if request.async_create is not None:
            return self._async_creates.create(att, request, request.async_create)
        made = self._create(att, request)
        return replace(made, lease=self.lease(att)) if request.wants_lease else made

    def _create(self, att: Attachment, request: CreateRequest) -> Created:
        name, handle = request.name, request.handle
        directory, entry = self._naming.find(request.parent, name)
        if entry is not None:
            if request.exclusive:
                raise NameExists("This name exists already.")
            if not handle:
                return Created(self._attributes.of(entry.view), self._contents.map_of(entry.view), False)
            opened = self._opening.open(
                att, entry.ino, handle, write=True, truncate=request.truncate, base=request.base
            )
            return Created(opened.attr, opened.map, False)
        ino = self._naming.create_file(
            att, directory, name, request.mode, self._scope.publication_hold_ms() if handle else 0
        )
        if handle:
            self._opening.opened_new(att, ino, handle)
        attr = self._attributes.get(ino)
        return Created(attr, ContentMap(attr.version, 0), True)

    async def make_dir(
        self, att: Attachment, parent: Ino, name: bytes, mode: int, async_create: AsyncCreate | None = None
    ) -> Attr:
        await self._scope.room()
        if async_create is not None:
            return self._async_creates.make_dir(att, parent, name, mode, async_create)
        return self._attributes.get(self._naming.make_dir(att, parent, name, mode))

    async def symlink(self, att: Attachment, parent: Ino, name: bytes, target: bytes) -> Attr:
        await self._scope.room()
        return self._attributes.get(self._naming.symlink(att, parent, name, target))

    async def link(self, att: Attachment, ino: Ino, parent: Ino, name: bytes) -> Attr:
        await self._scope.room()
        self._naming.link(att, ino, parent, name)
        return self._attributes.get(ino)

    async def unlink(self, att: Attachment, parent: Ino, name: bytes, ino: Ino | None = None) -> None:
        self._naming.unlink(att, parent, name, ino)

    async def remove_dir(self, att: Attachment, parent: Ino, name: bytes, ino: Ino | None = None) -> None:
        self._naming.remove_dir(att, parent, name, ino)

    async def rename(self, att: Attachment, request: RenameRequest) -> None:
        self._renaming.rename(att, request)

    # ---- open files
    def lease(self, att: Attachment) -> tuple[Ino, int]:
        return self._async_creates.lease(att)

    async def stage(self, att: Attachment, handle: int, *, empty: bool, base: bytes) -> Staged:
        return await self._opening.stage(att, handle, empty=empty, base=base)

    async def commit(self, att: Attachment, request: CommitRequest) -> Attr:
        if request.data is not None:
            await self._scope.room()
        return self._opening.commit(att, request)

    async def fsync(
        self, att: Attachment, handle: int, ino: Ino, data: bytes | None, onto: bytes | None = None
    ) -> None:
        await self._opening.fsync(att, handle, ino, data, onto)

    async def release(self, att: Attachment, handle: int) -> None:
        self._opening.release(att, self._opening.handle(att, handle))

    async def write(self, att: Attachment, handle: int, offset: int, data: bytes) -> Attr:
        return await self._opening.write(att, handle, offset, data)

    # ---- attributes
    async def set_attr(self, att: Attachment, ino: Ino, change: SetAttr) -> Attr:
        if change.size is not None:
            await self._scope.room()
        return await self._changing.set_attr(att, ino, change)

    async def set_xattr(
        self, att: Attachment, ino: Ino, name: bytes, value: bytes, *, create: bool, replace: bool
    ) -> None:
        await self._scope.room()
        self._changing.set_xattr(att, ino, name, value, create=create, replace=replace)

    async def remove_xattr(self, att: Attachment, ino: Ino, name: bytes) -> None:
        self._changing.remove_xattr(att, ino, name)
