# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports: files that a client has put into the staging folder, and small ones that came with the call, become part of
the volume in batches, one transaction each.

The client never waits for a mount, and no path of its own is looked at here. A staging file becomes the content of its
file in the transaction that makes the file (docs/crash-windows.md#importing); what comes after that is the hasher's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

from blake3 import blake3

from holofsd.core.errors import BadArgument, HoloError, NoSpace, ReadOnly, StaleHandle
from holofsd.core.ids import BlobHash
from holofsd.core.runs import BodyExtent
from holofsd.core.state import Blob, Inline, Kind, Manifest, Target, Version
from holofsd.fs.content.hashing import Hasher
from holofsd.fs.content.pieces import ContentPiece
from holofsd.fs.content.versions import Versions
from holofsd.fs.settings import INLINE_COMMIT
from holofsd.fs.shared.scope import Scope
from holofsd.fs.shared.staged import StagedFiles
from holofsd.fs.transfer.taking import TakingIn
from holofsd.fs.transfers import (
    REFUSED,
    FoundName,
    ImportBegun,
    ImportItem,
    ImportItems,
    ImportLook,
    ImportName,
    ImportResult,
)
from holofsd.fs.types import KIND_WORDS
from holofsd.store import faults
from holofsd.store.content import hash_file
from holofsd.store.threads import Pool, in_thread

MOST_ITEMS: Final = 1_000
"""Names in one call: a batch holds up all other calls for as long as it takes."""
_SET_BACK_MS: Final = 600_000
"""Content that an import is about to bring is not fetched from other devices for so long."""
_STAGING_ID: Final = re.compile(r"[0-9a-f]{24}", re.ASCII)


class Importing:
    """Imports into one volume."""

    def __init__(
        self,
        scope: Scope,
        staged: StagedFiles,
        versions: Versions,
        hasher: Hasher,
        mounts_know: Callable[[], Awaitable[None]],
    ) -> None:
        """`mounts_know`: suspends until mounts show what was imported."""
        self._parts = scope, staged, versions, hasher, mounts_know

    def session(self) -> VolumeImport:
        return VolumeImport(*self._parts)


class VolumeImport:
    """One import under way: implements `fs.transfers.ImportSession`."""

    def __init__(
        self,
        scope: Scope,
        staged: StagedFiles,
        versions: Versions,
        hasher: Hasher,
        mounts_know: Callable[[], Awaitable[None]],
    ) -> None:
        self._scope = scope
        self._tree = scope.tree
        self._staged = staged
        self._versions = versions
        self._hasher = hasher
        self._mounts_know = mounts_know
        self._held: set[str] = set()
        """Staging files that are not hashed yet, because the client still has names of its own for them."""
        self._is_closed = False

    def begin(self) -> ImportBegun:
        self._require_writable()
        folder = self._scope.store.staging.folder
        return ImportBegun(os.fsencode(folder), self._scope.settings.reserve_bytes)

    def taken(self, staging: tuple[str, ...]) -> None:
        """Lets these staging files be hashed. See `ImportSession.taken`."""
        self._let_go(self._held.intersection(staging))

    def close(self) -> None:
        self._is_closed = True
        self._let_go(set(self._held))

    def _let_go(self, staging: set[str]) -> None:
        self._held -= staging
        self._hasher.let_go(staging)

    def _require_writable(self) -> None:
        if self._is_closed:
            raise StaleHandle("This import has ended: begin another one.")
        if not self._scope.remote.can_write:
            raise ReadOnly("This device may only read the volume: nothing can be imported here.")

    # ---- looking
    async def look(self, asked: ImportLook) -> tuple[FoundName, ...]:
        """State of each path, in their order. Raises NoSpace where there is no `room`."""
        self._require_writable()
        _require_few(len(asked.names))
        if asked.room:
            await self._scope.room(asked.room)
        if asked.hashed:
            await self._hasher.drain()
            await self._mounts_know()
        found = [await self._look_at(name, asked.read_back) for name in asked.names]
        if asked.read_back:
            await self._scope.db.sync(Pool.BACKGROUND)
        self._set_back(asked.names, found)
        return tuple(found)

    async def _look_at(self, name: ImportName, read_back: bool) -> FoundName:
        if not name.path:
            return FoundName(b"", "directory", here=True)
        entry = self._tree.entry_at(name.path)
        if entry is None:
            return FoundName(name.path)
        view = entry.view
        version = self._tree.version_of(entry.node, entry.dot) if view.kind is not Kind.DIRECTORY else None
        written = self._staged.of(entry.ino) is not None
        hash = await self._hash_of(version, read_back) if version is not None and not written else b""
        return FoundName(
            path=name.path,
            kind=KIND_WORDS[view.kind],
            mode=view.mode,
            size=version.size if version is not None else 0,
            mtime_ns=view.mtime_ns,
            hash=hash,
            version=view.version if not entry.dot else b"",
            here=version is None or self._tree.is_here(version),
            target=version.body.path if version is not None and isinstance(version.body, Target) else b"",
        )

    async def _hash_of(self, version: Version, read_back: bool) -> bytes:
        """Hash of a version's content; empty where it is not known, or where reading it back fails."""
        body = version.body
        if isinstance(body, Inline):
            return blake3(body.data).digest()
        if isinstance(body, Manifest) and self._tree.is_here(version):
            return await self._hash_of_chunks(body.hash, read_back)
        if not isinstance(body, Blob):
            return b""
        if not read_back or not self._tree.is_here(version):
            return body.hash
        try:
            return await in_thread(Pool.BACKGROUND, _read_back, self._scope.store.content.path(body.hash))
        except OSError:
            return b""

    async def _hash_of_chunks(self, cid: BlobHash, read_back: bool) -> bytes:
        """Hash of content that has a list of chunks: its id is none, so all of it is read."""
        bodies = self._scope.store.bodies
        places = [(bodies.segments.path(extent.segment or 0), extent) for extent in bodies.whole_extents(cid)]
        try:
            return await in_thread(Pool.BACKGROUND, _hash_extents, places, read_back)
        except OSError:
            return b""

    def _set_back(self, names: Iterable[ImportName], found: Iterable[FoundName]) -> None:
        """Content that the client seems to have is not fetched from elsewhere for a while."""
        blobs = [
            BlobHash(there.hash)
            for name, there in zip(names, found, strict=True)
            if name.size is not None and there.hash and not there.here and there.size == name.size
        ]
        if blobs:
            with self._scope.db.transaction():
                self._scope.store.content.set_back(blobs, self._scope.now_ms() + _SET_BACK_MS)

    # ---- taking in
    async def put(self, wanted: ImportItems) -> tuple[ImportResult, ...]:
        """Takes names in. What cannot be taken in changes nothing, and its result says why. Raises NoSpace, ReadOnly:
        then nothing was taken in."""
        self._require_writable()
        _require_few(len(wanted.items))
        for item in wanted.items:
            _require_sound(item)
        await self._scope.room()
        if wanted.durable:
            await in_thread(Pool.BACKGROUND, self._sync_staged, [item.staging for item in wanted.items if item.staging])
        self._require_writable()
        results = self._put(wanted)
        if wanted.durable:
            await self._scope.db.sync(Pool.BACKGROUND)
            faults.reach("importing.synced", self._scope.store)
        return tuple(results)

    def _put(self, wanted: ImportItems) -> list[ImportResult]:
        try:
            return self._put_together(wanted.items, wanted)
        except (NoSpace, ReadOnly):
            raise
        except HoloError as error:
            if len(wanted.items) == 1:
                return [ImportResult(wanted.items[0].path, REFUSED, error.message)]
        # One of them is at fault: each by itself, so that the others go on.
        results: list[ImportResult] = []
        for item in wanted.items:
            try:
                results += self._put_together((item,), wanted)
            except (NoSpace, ReadOnly):
                raise
            except HoloError as error:
                results.append(ImportResult(item.path, REFUSED, error.message))
        return results

    def _put_together(self, items: tuple[ImportItem, ...], wanted: ImportItems) -> list[ImportResult]:
        taking = TakingIn(self._scope, self._staged, self._versions, self._hasher, wanted.durable)
        with self._scope.change(None):
            results = [taking.take(item) for item in items]
            taking.write()
        if wanted.hold:  # the hasher has not run since: nothing was awaited
            self._hasher.hold(taking.staging)
            self._held |= taking.staging
        faults.reach("importing.committed", self._scope.store)
        return results

    def _sync_staged(self, staging: list[str]) -> None:
        """Blocking. Files and their names survive power loss. One that is gone is told of later."""
        folder = self._scope.store.staging.folder
        for each in staging:
            _sync(folder / each)
        if staging:
            _sync(folder)


def _read_back(path: Path) -> bytes:
    """Blocking. Hash of a content file, which survives power loss from now on, with its name."""
    _sync(path)
    _sync(path.parent)
    return hash_file(path)[0]


def _hash_extents(places: Iterable[tuple[Path | None, BodyExtent]], durable: bool) -> bytes:
    """Blocking. Hash of the content at these places; zeros are in no file. With `durable` it survives power loss from
    now on."""
    hasher = blake3()
    for path, extent in places:
        with ContentPiece(path, extent.length, extent.source).open() as piece:
            while data := piece.read(1 << 20):
                hasher.update(data)
        if durable and path is not None:
            _sync(path)
            _sync(path.parent)
    return hasher.digest()


def _sync(path: os.PathLike[str]) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _require_few(number: int) -> None:
    if number > MOST_ITEMS:
        raise BadArgument(f"At most {MOST_ITEMS} names go into one call of an import.")


def _require_sound(item: ImportItem) -> None:
    """Raises BadArgument for what no client of ours sends."""
    if item.kind not in KIND_WORDS.values():
        raise BadArgument("What is imported is a file, a directory or a symlink.")
    if not item.path:
        raise BadArgument("The root of a volume is there already.")
    if item.staging and not _STAGING_ID.fullmatch(item.staging):
        raise BadArgument("A staging file of an import is called by 24 hexadecimal digits.")
    if item.kind == "file" and sum((item.data is not None, bool(item.staging), bool(item.link_to))) != 1:
        raise BadArgument("A file that is imported has content, or a staging file, or is one more name.")
    if item.data is not None and len(item.data) > INLINE_COMMIT:
        raise BadArgument(f"Content of more than {INLINE_COMMIT} bytes goes into a staging file.")
