# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume as it was at one time, as a filesystem of its own: `holofsctl mount NAME PATH --at TIME`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Never

from holofsd.core.errors import ReadOnly
from holofsd.core.ids import ROOT_INO, Ino
from holofsd.fs.filesystem import VolumeFilesystem
from holofsd.fs.journalled_calls import JournalledCall
from holofsd.fs.types import (
    AsyncCreate,
    Attachment,
    AttachRequest,
    Attr,
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


def _refuse() -> Never:
    raise ReadOnly("This is the volume as it was: it cannot be changed.")


class PastMount:
    """Implements `fs.api.Filesystem`: the past, with the root of that time as root. Every change is refused.

    What it shows never changes, so its Watch has nothing to say.
    """

    def __init__(self, volume: VolumeFilesystem, at_ms: int) -> None:
        self._volume = volume
        self._at_ms = at_ms
        self._past = volume.history.reading

    @property
    def is_closed(self) -> bool:
        return self._volume.is_closed

    def _ino(self, ino: Ino) -> Ino:
        return self._past.root(self._at_ms) if ino == ROOT_INO else ino

    # ---- attachments
    def attach(self, request: AttachRequest) -> Attachment:
        lost = tuple(known.handle for known in request.handles if not self._past.takes_back(request.mount_id, known))
        volume, name = self._volume.identity
        return Attachment(secrets.token_hex(16), volume, name, request, True, lost)

    def run_journalled(
        self, att: Attachment, number: int, call: JournalledCall, *, late: bool
    ) -> Created | Attr | None:
        _refuse()

    async def others_know(self, att: Attachment) -> None:
        """Returns at once: the past does not change, so other mounts need not hear of anything."""

    def acknowledge(self, att: Attachment, number: int) -> None:
        pass

    async def caught_up(self, but: str = "") -> None:
        pass

    def detach(self, attachment: Attachment) -> None:
        self._past.close_all(attachment)

    async def watch(self, attachment: Attachment) -> AsyncIterator[ChangeBatch]:
        await asyncio.Event().wait()
        yield ChangeBatch()

    def news_of(self, batch: ChangeBatch) -> list[Opened]:
        return []

    # ---- reading
    async def lookup(self, att: Attachment, parent: Ino, name: bytes) -> Attr:
        return await self._past.lookup(att, self._ino(parent), name)

    async def get_attr(self, att: Attachment, ino: Ino) -> Attr:
        return replace(await self._past.get_attr(att, self._ino(ino)), ino=ino)

    async def read_dir(self, att: Attachment, ino: Ino, after: bytes, limit: int) -> Listing:
        return await self._past.read_dir(att, self._ino(ino), after, limit)

    async def read_link(self, att: Attachment, ino: Ino) -> bytes:
        return await self._past.read_link(att, ino)

    async def open(self, att: Attachment, ino: Ino, handle: int, *, write: bool, truncate: bool, base: bytes) -> Opened:
        return await self._past.open(att, ino, handle, write=write, truncate=truncate, base=base)

    def lease(self, att: Attachment) -> tuple[Ino, int]:
        return Ino(0), 0

    async def ahead(self, att: Attachment, ino: Ino, limit: int) -> list[Opened]:
        return await self._past.ahead(att, ino, limit)

    async def release(self, att: Attachment, handle: int) -> None:
        self._past.close(att, handle)

    async def fetch(
        self, att: Attachment, ino: Ino, version: bytes, offset: int, length: int, suspect: bool = False
    ) -> ContentMap:
        return await self._past.fetch(att, ino, version, offset, length, suspect)

    async def read(self, att: Attachment, handle: int, offset: int, length: int) -> bytes:
        return await self._past.read(att, handle, offset, length)

    async def get_xattr(self, att: Attachment, ino: Ino, name: bytes) -> bytes:
        return await self._past.get_xattr(att, self._ino(ino), name)

    async def list_xattr(self, att: Attachment, ino: Ino) -> tuple[bytes, ...]:
        return await self._past.list_xattr(att, self._ino(ino))

    async def stat_fs(self, att: Attachment) -> StatFs:
        return await self._volume.stat_fs(att)

    # ---- changing
    async def set_attr(self, att: Attachment, ino: Ino, change: SetAttr) -> Attr:
        _refuse()

    async def create(self, att: Attachment, request: CreateRequest) -> Created:
        _refuse()

    async def make_dir(
        self, att: Attachment, parent: Ino, name: bytes, mode: int, async_create: AsyncCreate | None = None
    ) -> Attr:
        _refuse()

    async def symlink(self, att: Attachment, parent: Ino, name: bytes, target: bytes) -> Attr:
        _refuse()

    async def link(self, att: Attachment, ino: Ino, parent: Ino, name: bytes) -> Attr:
        _refuse()

    async def unlink(self, att: Attachment, parent: Ino, name: bytes, ino: Ino | None = None) -> None:
        _refuse()

    async def remove_dir(self, att: Attachment, parent: Ino, name: bytes, ino: Ino | None = None) -> None:
        _refuse()

    async def rename(self, att: Attachment, request: RenameRequest) -> None:
        _refuse()

    async def stage(self, att: Attachment, handle: int, *, empty: bool, base: bytes) -> Staged:
        _refuse()

    async def commit(self, att: Attachment, request: CommitRequest) -> Attr:
        _refuse()

    async def fsync(
        self, att: Attachment, handle: int, ino: Ino, data: bytes | None, onto: bytes | None = None
    ) -> None:
        return

    async def write(self, att: Attachment, handle: int, offset: int, data: bytes) -> Attr:
        _refuse()

    async def set_xattr(
        self, att: Attachment, ino: Ino, name: bytes, value: bytes, *, create: bool, replace: bool
    ) -> None:
        _refuse()

    async def remove_xattr(self, att: Attachment, ino: Ino, name: bytes) -> None:
        _refuse()
