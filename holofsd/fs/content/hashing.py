# SPDX-License-Identifier: GPL-3.0-or-later
"""Hashing in the background: finalized staging files get their hash and move into the content store.

At each point where a crash can fall: `hashing.placed` the content file without a row is adopted by the next try;
`hashing.known` the transaction with the hash is whole or not there; `hashing.synced` a row whose version is known is
only removed at the next start; after that a staging file without a row is swept at the next start.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from holofsd.core.chunk_list import ChunkList, profile_of
from holofsd.core.errors import HoloError
from holofsd.core.ids import Ino, NodeId
from holofsd.core.project import parse_token
from holofsd.core.state import Blob, Kind, Manifest, Pending, Version
from holofsd.fs.shared.scope import Scope, full_disk_as_no_space
from holofsd.fs.shared.staged import StagedFile
from holofsd.store import faults
from holofsd.store.bodies import BodyChange
from holofsd.store.content import hash_file
from holofsd.store.copies import sync_path
from holofsd.store.cutting import Cutter
from holofsd.store.immutable import copied, freeze
from holofsd.store.segments import name_of_whole
from holofsd.store.staging import StagingRow
from holofsd.store.threads import Pool, in_thread
from holofsd.store.volume import VolumeStore
from holofsd.tree.states import decode_version, encode_version

log = structlog.get_logger(__name__)

_BATCH = 16
_BATCH_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class _Sealed:
    """Content that is in its place. `chunks`: its list, if it has one."""

    row: StagingRow
    body: Blob | Manifest
    size: int
    chunks: ChunkList | None = None


class _Sealer:
    """Work on files in threads: they get their hash, or their list of chunks, and go to their place.

    `cutter`: large content is cut; None: it is not.
    """

    def __init__(self, store: VolumeStore, cutter: Cutter | None) -> None:
        self._content = store.content
        self._bodies = store.bodies
        self._cutter = cutter

    def seal(self, row: StagingRow, finalized: Path, size: int | None, durable: bool) -> _Sealed | None:
        """Blocking. `size`: bytes of the version; None: it was replaced meanwhile. None if the file is gone."""
        try:
            size = finalized.stat().st_size if size is None else size
            path = copied(finalized, size) if self._has_other_names(finalized, size) else freeze(finalized, size)
            if durable:
                with open(path, "rb") as file:
                    os.fdatasync(file.fileno())
            there = path.stat().st_size  # after a power cut it may be shorter than its version
            if not self._is_cut(there):
                hash, hashed = hash_file(path)
                self._content.place(path, hash, move=path != finalized)
        except FileNotFoundError:
            return None
        if self._is_cut(there):
            return self._cut(row, path, there, path != finalized, durable)
        if durable:
            sync_path(self._content.path(hash).parent)
        return _Sealed(row, Blob(hash), hashed)

    def _is_cut(self, size: int) -> bool:
        return self._cutter is not None and profile_of(size) is not None

    def _cut(self, row: StagingRow, path: Path, size: int, move: bool, durable: bool) -> _Sealed:
        chunks = self._chunks(path, size)
        faults.reach("cutting.cut")
        self._bodies.place_whole(path, chunks, move, durable)
        faults.reach("cutting.placed")
        return _Sealed(row, Manifest(chunks.cid()), size, chunks)

    def _chunks(self, path: Path, size: int) -> ChunkList:
        assert self._cutter is not None
        with open(path, "rb", buffering=0) as file:
            return self._cutter.cut(file, size)

    def _has_other_names(self, finalized: Path, size: int) -> bool:
        """Blocking. Whether a process can open the file by a name outside of the store, as one that an import took over
        and whose own name is still there. One name more may be that in the store, where sealing was interrupted."""
        found = finalized.stat()
        if found.st_nlink == 1:
            return False
        if self._is_cut(size):
            placed = self._bodies.segments.files.path(name_of_whole(self._chunks(finalized, size).cid()))
        else:
            placed = self._content.path(hash_file(finalized)[0])
        return found.st_nlink > 2 or not placed.exists() or not placed.samefile(finalized)


class Hasher:
    """Background worker that hashes finalized staging files and puts them into the content store."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._rows = scope.store.staging
        self._cutter = Cutter(scope.store.volume)
        self._wake = asyncio.Event()
        # What was finalized before this start may have been fsynced: this is not stored.
        self._durable: set[str] = {row.id for row in self._rows.to_hash(-1)}
        self._skipped: set[str] = set()
        """Rows that wait for an open file, or failed."""
        self._lost: set[str] = set()
        """Rows whose file is gone."""
        self._held: set[str] = set()
        """Rows of an import whose files still have names elsewhere."""
        self._draining = asyncio.Lock()
        self._detached_before = set(scope.nodes.detached())
        """Open files of a mount that may still come back."""

    def expect(self, staged: StagedFile) -> None:
        """A finalized row was committed."""
        if staged.synced:
            self._durable.add(staged.id)
        self._wake.set()

    def keep_durable(self, staging_id: str) -> None:
        self._durable.add(staging_id)

    def hold(self, staging: Iterable[str]) -> None:
        """Leaves rows out until `let_go`, for what has other names cannot become content without being copied."""
        self._held.update(staging)

    def let_go(self, staging: Iterable[str]) -> None:
        """Ends `hold`."""
        before = len(self._held)
        self._held.difference_update(staging)
        if len(self._held) < before:
            self._wake.set()

    def try_again(self) -> None:
        """Tries again what was left out and may be possible now: an open file was closed, time went by."""
        if self._skipped:
            self._skipped.clear()
            self._wake.set()

    async def run(self) -> None:
        while True:
            await self.drain()
            await self._wake.wait()

    async def drain(self) -> None:
        """Hashes all that is finalized. Rows that cannot be handled now are left out. One caller at a time."""
        async with self._draining:
            await self._drain()

    async def _drain(self) -> None:
        while True:
            self._wake.clear()
            left_out = self._skipped | self._lost | self._held
            rows = self._rows.to_hash(_BATCH * self._scope.settings.hashers + len(left_out))
            rows = [row for row in rows if row.id not in left_out]
            if not rows:
                return
            parts = [rows[i :: self._scope.settings.hashers] for i in range(self._scope.settings.hashers)]
            await asyncio.gather(*(self._hash(part) for part in parts if part))

    async def _hash(self, rows: list[StagingRow]) -> None:
        needed = [row for row in rows if self._is_needed(row)]
        while needed:
            batch = self._take(needed)
            durable = {row.id for row in batch if row.id in self._durable}
            hashed: list[_Sealed] = []
            try:
                with full_disk_as_no_space():
                    hashed = await in_thread(Pool.BACKGROUND, self._hash_batch, batch, self._sizes(batch), durable)
                    faults.reach("hashing.placed", self._scope.store)
                    await self._sync_what_is_known(hashed)
                    left_over = self._known(hashed, remove=not durable)
                    if any(change.segments or change.lists for change in left_over):
                        await self._scope.db.sync(Pool.BACKGROUND)
                        for change in left_over:
                            self._scope.store.bodies.unlink(change)
                    if durable:
                        await self._scope.db.sync(Pool.BACKGROUND)
                        faults.reach("hashing.synced", self._scope.store)
                        self._remove([item.row for item in hashed])
            except (HoloError, OSError) as error:
                self._skipped.update(row.id for row in batch)
                log.warning("content could not be hashed yet", files=len(batch), problem=str(error))
                continue
            gone = {row.id for row in batch} - {item.row.id for item in hashed}
            self._lost |= gone
            if gone:
                log.error("files that were written are gone from the staging directory", files=sorted(gone))

    def _take(self, rows: list[StagingRow]) -> list[StagingRow]:
        """The next rows that are small enough together to be one step."""
        batch: list[StagingRow] = []
        size = 0
        while rows and len(batch) < _BATCH and size < _BATCH_BYTES:
            row = rows.pop(0)
            batch.append(row)
            path = self._rows.path(row.id)
            size += path.stat().st_size if path.exists() else 0
        return batch

    def _hash_batch(self, rows: list[StagingRow], sizes: dict[str, int], durable: set[str]) -> list[_Sealed]:
        sealer = _Sealer(self._scope.store, self._cutter if self._scope.volume.may_list() else None)
        found = [sealer.seal(row, self._rows.path(row.id), sizes.get(row.id), row.id in durable) for row in rows]
        return [item for item in found if item is not None]

    def _sizes(self, rows: list[StagingRow]) -> dict[str, int]:
        """Bytes of the versions that these rows contain, as they were counted when they were finalized."""
        return {row.id: version.size for row in rows if (version := self._pending(row)) is not None}

    # ---- rows
    def _is_needed(self, row: StagingRow) -> bool:
        """False, and removed, if no version has this content any more and no open file either."""
        if self._pending(row) is not None:
            return True
        if row.id in self._pinned():
            self._skipped.add(row.id)
        else:
            self._remove([row])
        return False

    def _pending(self, row: StagingRow) -> Version | None:
        """The version whose content this row is."""
        body = Pending(row.id)
        states = (self._scope.tree.state(node) for node in self._scope.nodes.pending_in(row.id))
        versions = (v for state in states if state is not None for v in state.versions.values())
        return next((v for v in versions if v.body == body), None)

    def _detached(self) -> list[tuple[Ino, bytes, bytes]]:
        """(ino, node, version) of open files that do not follow their node."""
        found: list[tuple[Ino, bytes, bytes]] = []
        for ino in self._detached_before.union(self._scope.files.inos()):
            inode = self._scope.nodes.inode(ino)
            if inode is not None and inode.detached is not None:
                found.append((ino, inode.node, inode.detached))
            elif inode is None:
                self._detached_before.discard(ino)
        return found

    def _pinned(self) -> set[str]:
        bodies = (decode_version(version).body for _, _, version in self._detached())
        return {body.staging for body in bodies if isinstance(body, Pending)}

    async def _sync_what_is_known(self, hashed: list[_Sealed]) -> None:
        """Syncs files that take the place of segments which are synced."""
        bodies = self._scope.store.bodies
        for item in hashed:
            if item.chunks is not None and bodies.is_body(item.body.hash):
                path = bodies.segments.files.path(name_of_whole(item.body.hash))
                await in_thread(Pool.BACKGROUND, sync_path, path)

    def _known(self, hashed: list[_Sealed], remove: bool) -> list[BodyChange]:
        """Gives the versions their hash, in one transaction with the content rows. Returns what is left over."""
        left_over: list[BodyChange] = []
        with self._scope.db.transaction():
            for item in hashed:
                left_over.append(self._add(item))
                with self._unseen_by_programs(item.row):
                    dot = parse_token(item.row.version)
                    change = self._scope.volume.body_known(item.row.node, dot, item.body, item.row.id)
                if not change.nodes:
                    self._scope.tree.untraced[item.body.hash] = item.size  # replaced while it was hashed
                self._tell_detached(item)
                if remove:
                    self._rows.remove(item.row.id)
        faults.reach("hashing.known", self._scope.store)
        return left_over

    def _add(self, item: _Sealed) -> BodyChange:
        store, now_ms = self._scope.store, self._scope.now_ms()
        if item.chunks is not None:
            return store.bodies.add_whole(item.chunks, now_ms)
        store.content.add(item.body.hash, item.size, now_ms)
        return BodyChange()

    @contextmanager
    def _unseen_by_programs(self, row: StagingRow) -> Iterator[None]:
        """Keeps ctime over a change that programs do not see: else tar would say that the file changed as it was
        read."""
        nodes = self._scope.nodes
        rows = [nodes.get(node) for node in {row.node, *nodes.pending_in(row.id)}]
        yield
        for found in rows:
            if found is not None:
                nodes.keep_ctime(found.node, found.ctime_ns)

    def _tell_detached(self, item: _Sealed) -> None:
        """Open files that keep this version read it from the content store from now on."""
        for ino, node, payload in self._detached():
            version = decode_version(payload)
            if version.body == Pending(item.row.id):
                self._scope.nodes.detach(ino, _rehashed(node, version, item.body))

    def _remove(self, rows: list[StagingRow]) -> None:
        with self._scope.db.transaction():
            for row in rows:
                self._scope.nodes.forget_pending(row.id)
                self._rows.remove(row.id)
        self._scope.volume.staging_went(row.id for row in rows)
        self._durable.difference_update(row.id for row in rows)


def _rehashed(node: bytes, version: Version, body: Blob | Manifest) -> bytes:
    return encode_version(NodeId(node), Kind.FILE, replace(version, body=body))
