# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface that rpc serves: one volume as a filesystem."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from holofsd.core.ids import Ino
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


class ReadCalls(Protocol):
    """Calls that only read (and opening). Implemented twice: for the volume as it is, and for the past."""

    async def lookup(self, att: Attachment, parent: Ino, name: bytes) -> Attr: ...
    async def get_attr(self, att: Attachment, ino: Ino) -> Attr: ...
    async def read_dir(self, att: Attachment, ino: Ino, after: bytes, limit: int) -> Listing: ...
    async def read_link(self, att: Attachment, ino: Ino) -> bytes: ...
    async def open(
        self, att: Attachment, ino: Ino, handle: int, *, write: bool, truncate: bool, base: bytes
    ) -> Opened: ...
    async def ahead(self, att: Attachment, ino: Ino, limit: int) -> list[Opened]:
        """Small files that follow this one in its directory, by name, as `open` answers for each; without handles."""
        ...

    async def fetch(
        self, att: Attachment, ino: Ino, version: bytes, offset: int, length: int, suspect: bool = False
    ) -> ContentMap:
        """Suspends until the bytes are local; ContentUnavailable, ContentTimeout or ContentDamaged otherwise.

        `suspect`: reading what the map led to failed.
        """
        ...

    async def read(self, att: Attachment, handle: int, offset: int, length: int) -> bytes: ...
    async def get_xattr(self, att: Attachment, ino: Ino, name: bytes) -> bytes: ...
    async def list_xattr(self, att: Attachment, ino: Ino) -> tuple[bytes, ...]: ...


class Filesystem(ReadCalls, Protocol):
    """Every method raises HoloError with the errno a person's program expects.

    Nothing here waits for the network, but `fetch`, and `stage`/`read` of content that is not here (bounded).
    """

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be done through it any more: the volume was left, or is being opened anew."""
        ...

    def attach(self, request: AttachRequest) -> Attachment: ...
    def detach(self, attachment: Attachment) -> None: ...
    def watch(self, attachment: Attachment) -> AsyncIterator[ChangeBatch]: ...
    def news_of(self, batch: ChangeBatch) -> list[Opened]:
        """Small files that a batch is about, as `open` answers for each; none where it is about many."""
        ...

    def run_journalled(
        self, att: Attachment, number: int, call: JournalledCall, *, late: bool
    ) -> Created | Attr | None:
        """Runs a call of the attachment's journal once, without suspending. See `Journals.once`."""
        ...

    async def others_know(self, att: Attachment) -> None:
        """Suspends until the other mounts have acknowledged what changed; for a second at most."""
        ...

    def acknowledge(self, att: Attachment, number: int) -> None:
        """Notes that the mount shows nothing of the state before the batch of changes with this number."""
        ...

    async def caught_up(self, but: str = "") -> None:
        """Suspends until the calls that mounts acknowledged early have run; for seconds at most.

        `but`: a mount id, whose calls are left out.
        """
        ...

    # Coroutines that, but for those marked, complete without suspending.
    async def set_attr(self, att: Attachment, ino: Ino, change: SetAttr) -> Attr: ...
    async def create(self, att: Attachment, request: CreateRequest) -> Created: ...
    async def make_dir(
        self, att: Attachment, parent: Ino, name: bytes, mode: int, async_create: AsyncCreate | None = None
    ) -> Attr: ...
    async def symlink(self, att: Attachment, parent: Ino, name: bytes, target: bytes) -> Attr: ...
    async def link(self, att: Attachment, ino: Ino, parent: Ino, name: bytes) -> Attr: ...
    async def unlink(self, att: Attachment, parent: Ino, name: bytes, ino: Ino | None = None) -> None: ...
    async def remove_dir(self, att: Attachment, parent: Ino, name: bytes, ino: Ino | None = None) -> None: ...
    async def rename(self, att: Attachment, request: RenameRequest) -> None: ...
    def lease(self, att: Attachment) -> tuple[Ino, int]:
        """Inode numbers for async creates: the first, and how many; 0: none."""
        ...

    async def stage(self, att: Attachment, handle: int, *, empty: bool, base: bytes) -> Staged:
        """May suspend: copies the content, or fetches it."""
        ...

    async def commit(self, att: Attachment, request: CommitRequest) -> Attr: ...
    async def fsync(
        self, att: Attachment, handle: int, ino: Ino, data: bytes | None, onto: bytes | None = None
    ) -> None:
        """Suspends: waits for the disk."""
        ...

    async def release(self, att: Attachment, handle: int) -> None: ...
    async def write(self, att: Attachment, handle: int, offset: int, data: bytes) -> Attr: ...
    async def set_xattr(
        self, att: Attachment, ino: Ino, name: bytes, value: bytes, *, create: bool, replace: bool
    ) -> None: ...
    async def remove_xattr(self, att: Attachment, ino: Ino, name: bytes) -> None: ...
    async def stat_fs(self, att: Attachment) -> StatFs: ...
