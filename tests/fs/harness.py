# SPDX-License-Identifier: GPL-3.0-or-later
"""One or several devices' filesystems without mounts and network: programs talk to VolumeFilesystem directly."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

from holofsd.codec.signing import SigningKey
from holofsd.core.document import Envelope, Head
from holofsd.core.errors import ContentUnavailable, HoloError, NoSuchName, NotADirectory
from holofsd.core.ids import ROOT_ID, ROOT_INO, AuthorId, BlobHash, Ino, NodeId, VolumeId
from holofsd.core.node import is_publishable
from holofsd.core.state import Kind, NodeState
from holofsd.fs.filesystem import VolumeFilesystem
from holofsd.fs.settings import INLINE_COMMIT, FsSettings
from holofsd.fs.types import (
    Attachment,
    AttachRequest,
    Attr,
    CommitRequest,
    ContentMap,
    CreateRequest,
    InlineExtent,
    LocalExtent,
    OpenHandle,
    RenameFlags,
    RenameRequest,
    SetAttr,
)
from holofsd.store.body_checks import chunk_places, too_short
from holofsd.store.damage import is_whole, looks_whole
from holofsd.store.volume import VolumeStore
from holofsd.tree.local import LocalVolume

VOLUME = VolumeId(b"v" * 32)


@dataclass
class Clock:
    """The real time, which a test can move on."""

    offset_ns: int = 0

    def now_ns(self) -> int:
        return time.time_ns() + self.offset_ns

    def advance(self, seconds: float) -> None:
        self.offset_ns += int(seconds * 1e9)


@dataclass
class Elsewhere:
    """The other devices: has what `blobs` says."""

    can_write: bool = True
    blobs: dict[BlobHash, bytes] = field(default_factory=dict)
    device: Device | None = None
    asked: list[BlobHash] = field(default_factory=list)
    damaged: set[BlobHash] = field(default_factory=set)

    async def is_whole(self, hash: BlobHash, node: NodeId, thorough: bool) -> bool:
        assert self.device is not None
        store = self.device.store
        size = store.content.size(hash) or 0
        if store.bodies.is_body(hash):
            return not too_short(chunk_places(store.bodies, hash))
        path = store.content.path(hash)
        if looks_whole(path, size) and (not thorough or is_whole(path, hash, size)):
            return True
        self.damaged.add(hash)
        with store.db.transaction():
            store.damage.found(hash, size, 0)
            self.device.volume.content_lost(hash, [node])
        return False

    def is_damaged(self, hash: BlobHash) -> bool:
        return hash in self.damaged

    async def fetch(self, hash: BlobHash, size: int, timeout: float, is_list: bool = False) -> None:
        self.asked.append(hash)
        if hash not in self.blobs or self.device is None:
            raise ContentUnavailable("Nobody has it.")
        self.device.receive(hash, self.blobs[hash])


class Device:
    """Opens (or opens again) the store in a directory."""

    def __init__(self, directory: Path, name: str = "here", settings: FsSettings | None = None) -> None:
        self.directory = directory
        self.name = name
        self.clock = Clock()
        self.settings = settings or FsSettings()
        self.elsewhere = Elsewhere(device=self)
        self._handles = 0
        self.start()

    def start(self) -> None:
        self.store = VolumeStore(VOLUME, self.directory)
        if self.store.active_author() is None:
            seed = secrets.token_bytes(32)
            with self.store.db.transaction():
                self.store.add_author(AuthorId(SigningKey(seed).public), seed)
        self.volume = LocalVolume(self.store, self.name, lambda: self.clock.now_ns() // 1_000_000)
        self.fs = VolumeFilesystem(
            self.volume,
            self.elsewhere,
            "vol",
            settings=self.settings,
            now_ns=self.clock.now_ns,
        )

    def kill(self) -> None:
        """Die as by kill -9: nothing is tidied up."""
        self.store.close()

    def restart(self) -> None:
        self.kill()
        self.start()

    def attach(
        self,
        mount_id: str = "mount",
        *,
        read_only: bool = False,
        pid: int | None = None,
        handles: tuple[OpenHandle, ...] = (),
    ) -> Program:
        request = AttachRequest("test", mount_id, "/mnt", os.getpid() if pid is None else pid, read_only, handles)
        return Program(self, self.fs.attach(request))

    def new_handle(self) -> int:
        self._handles += 1
        return self._handles

    def receive(self, hash: BlobHash, data: bytes) -> None:
        incoming = self.store.content.receive(hash)
        incoming.write(data)
        path = incoming.finish(durable=False)
        self.store.content.place(path, hash, move=True)
        with self.store.db.transaction():
            self.store.content.add(hash, len(data), 0)
            self.volume.content_arrived(hash)

    def states(self) -> list[NodeState]:
        rows = self.store.db.all("SELECT node FROM nodes WHERE node!=?", (bytes(16),))
        found = [self.volume.tree.state(NodeId(row[0])) for row in rows]
        return [state for state in found if state is not None and is_publishable(state)]

    def publish(self) -> list[NodeId]:
        """Publish everything that may be published; returns what was."""
        store, author = self.store, self.volume.author
        due = [node for node in store.outbox.due(self.volume.now_ms(), 10_000) if self._is_whole(node)]
        with store.db.transaction():
            for node in due:
                store.documents.put(Envelope(author, 1, node, b"", b""))
                store.outbox.remove(node)
            head = store.documents.head(author)
            said = [self.volume.tree.state(node) for node in due]
            dots = max([head.dots if head else 0, *(state.context.get(author, 0) for state in said if state)])
            store.documents.set_head(Head(author, 1, dots, bytes(32), b""))
        return due

    def _is_whole(self, node: NodeId) -> bool:
        state = self.volume.tree.state(node)
        return state is not None and is_publishable(state)

    async def settle(self) -> None:
        """Hash and publish everything that was written and closed."""
        await self.fs.hasher.drain()
        self.publish()

    def node_at(self, path: str) -> NodeId:
        """Node of a path, to see which file is which."""
        node = ROOT_ID
        for part in path.split("/"):
            entry = self.volume.tree.lookup(node, os.fsencode(part))
            assert entry is not None, path
            node = entry.node
        return node

    def give_to(self, other: Device, content: bool = True) -> None:
        """All records, and all content."""
        self.publish()
        if content:
            for (hash,) in self.store.db.all("SELECT hash FROM content"):
                if not other.store.content.has(hash):
                    other.receive(hash, self.store.content.path(hash).read_bytes())
        with other.store.db.transaction():
            other.volume.merge([state for state in self.states() if not self.store.ignored.has(state.id)])


@dataclass
class Program:
    """Does what programs do on a mount, by path, through one attachment."""

    device: Device
    att: Attachment

    @property
    def fs(self) -> VolumeFilesystem:
        return self.device.fs

    # ---- paths
    async def walk(self, path: str) -> Ino:
        ino = ROOT_INO
        for part in path.split("/"):
            if part:
                ino = (await self.fs.lookup(self.att, ino, os.fsencode(part))).ino
        return ino

    async def _parent(self, path: str) -> tuple[Ino, bytes]:
        directory, _, name = path.rpartition("/")
        ino = await self.walk(directory)
        if (await self.fs.get_attr(self.att, ino)).kind is not Kind.DIRECTORY:
            # The kernel looks at this before it goes on to a second path.
            raise NotADirectory("This is not a directory.")
        return ino, os.fsencode(name)

    async def stat(self, path: str) -> Attr:
        return await self.fs.get_attr(self.att, await self.walk(path))

    async def exists(self, path: str) -> bool:
        try:
            await self.walk(path)
        except NoSuchName:
            return False
        return True

    async def names(self, path: str = "") -> list[str]:
        listing = await self.fs.read_dir(self.att, await self.walk(path), b"", 0)
        return [os.fsdecode(name) for name, _ in listing.entries]

    async def kinds(self, path: str = "") -> dict[str, Kind]:
        """Every path below, with what is there."""
        return {found: attr.kind for found, attr in await self._attrs(path, await self.walk(path))}

    async def tree(self, path: str = "") -> dict[str, bytes | None]:
        """Every path below with its content; None for directories, '-> target' for symlinks."""
        found: dict[str, bytes | None] = {}
        for below, attr in await self._attrs(path, await self.walk(path)):
            if attr.kind is Kind.DIRECTORY:
                found[below] = None
            elif attr.kind is Kind.SYMLINK:
                found[below] = b"-> " + await self.fs.read_link(self.att, attr.ino)
            else:
                found[below] = await self.read(below)
        return found

    async def _attrs(self, path: str, directory: Ino) -> list[tuple[str, Attr]]:
        """Each name is looked up in the directory that was listed, as the kernel does it."""
        found: list[tuple[str, Attr]] = []
        for name, _ in (await self.fs.read_dir(self.att, directory, b"", 0)).entries:
            below = f"{path}/{os.fsdecode(name)}" if path else os.fsdecode(name)
            attr = await self.fs.lookup(self.att, directory, name)
            found.append((below, attr))
            if attr.kind is Kind.DIRECTORY:
                found += await self._attrs(below, attr.ino)
        return found

    # ---- files
    async def create(self, path: str, mode: int = 0o644, exclusive: bool = False) -> int:
        """Returns the handle, open for writing."""
        parent, name = await self._parent(path)
        handle = self.device.new_handle()
        await self.fs.create(
            self.att, CreateRequest(parent, name, mode, exclusive=exclusive, truncate=True, handle=handle)
        )
        return handle

    async def open(self, path: str, *, write: bool = False, truncate: bool = False, base: bytes = b"") -> int:
        handle = self.device.new_handle()
        ino = await self.walk(path)
        await self.fs.open(self.att, ino, handle, write=write, truncate=truncate, base=base)
        return handle

    async def release(self, handle: int) -> None:
        await self.fs.release(self.att, handle)

    async def commit(
        self, handle: int, data: bytes | None = None, *, release: bool = False, seal: bool = False, base: bytes = b""
    ) -> Attr:
        return await self.fs.commit(self.att, CommitRequest(handle, data=data, seal=seal, release=release, base=base))

    async def put(self, handle: int, data: bytes) -> None:
        """The whole content through a handle, as a mount does it: small in a commit, large in the staging file."""
        if len(data) <= INLINE_COMMIT:
            await self.commit(handle, data)
            return
        staged = await self.fs.stage(self.att, handle, empty=True, base=b"")
        Path(staged.path).write_bytes(data)
        await self.commit(handle)

    async def write(self, path: str, data: bytes) -> None:
        """open(path, 'wb').write(data)"""
        handle = await self.create(path)
        await self.put(handle, data)
        await self.release(handle)

    async def read(self, path: str) -> bytes:
        handle = await self.open(path)
        try:
            return await self.read_handle(handle)
        finally:
            await self.release(handle)

    async def read_handle(self, handle: int) -> bytes:
        return await self.fs.read(self.att, handle, 0, 1 << 20)

    async def append(self, path: str, data: bytes) -> None:
        handle = await self.open(path, write=True)
        attr = await self.stat(path)
        await self.fs.write(self.att, handle, attr.size, data)
        await self.release(handle)

    # ---- names
    async def mkdir(self, path: str, mode: int = 0o755) -> Attr:
        return await self.fs.make_dir(self.att, *await self._parent(path), mode)

    async def rmdir(self, path: str) -> None:
        await self.fs.remove_dir(self.att, *await self._parent(path))

    async def unlink(self, path: str) -> None:
        await self.fs.unlink(self.att, *await self._parent(path))

    async def symlink(self, target: str, path: str) -> Attr:
        return await self.fs.symlink(self.att, *await self._parent(path), os.fsencode(target))

    async def link(self, source: str, path: str) -> Attr:
        return await self.fs.link(self.att, await self.walk(source), *await self._parent(path))

    async def rename(self, source: str, path: str, flags: RenameFlags = RenameFlags.NONE, base: bytes = b"") -> None:
        request = RenameRequest(*await self._parent(source), *await self._parent(path), flags, base)
        await self.fs.rename(self.att, request)

    async def chmod(self, path: str, mode: int) -> Attr:
        return await self.fs.set_attr(self.att, await self.walk(path), SetAttr(mode=mode))

    async def truncate(self, path: str, size: int) -> Attr:
        return await self.fs.set_attr(self.att, await self.walk(path), SetAttr(size=size))

    async def utime(self, path: str, mtime_ns: int) -> Attr:
        return await self.fs.set_attr(self.att, await self.walk(path), SetAttr(mtime_ns=mtime_ns))


def bytes_of(content: ContentMap) -> bytes:
    """Reads a map as a mount does: its local files itself."""
    if content.staging:
        return Path(content.staging).read_bytes()
    parts: list[bytes] = []
    for extent in content.extents:
        if isinstance(extent, InlineExtent):
            parts.append(extent.data)
        elif isinstance(extent, LocalExtent):
            data = Path(extent.path).read_bytes()
            parts.append(data[extent.source_offset : extent.source_offset + extent.length])
        else:
            raise AssertionError(f"not here: {extent}")
    return b"".join(parts)


async def errno_of(work: object) -> int:
    """0, or the errno with which an awaitable fails."""
    try:
        await work  # type: ignore[misc]
    except HoloError as error:
        return error.errno
    return 0
