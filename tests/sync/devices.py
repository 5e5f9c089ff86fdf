# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole devices without a daemon: real stores in a folder, the real sync layer, the fake network."""

from __future__ import annotations

import asyncio
import io
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from holofsd.codec.content import hash_bytes
from holofsd.codec.node_ids import new_node_id
from holofsd.codec.signing import SigningKey
from holofsd.codec.ticket import decode_ticket
from holofsd.core import edit
from holofsd.core.chunk_list import profile_of
from holofsd.core.document import Role
from holofsd.core.ids import ROOT_ID, BlobHash, DeviceId, NodeId, VolumeId
from holofsd.core.runs import ZEROS
from holofsd.core.state import Blob, Body, Inline, Kind, Manifest, Marker, Place
from holofsd.fs.settings import INLINE_RECORD
from holofsd.net.fake import FakeNetwork
from holofsd.net.peer import Backoff
from holofsd.net.peers import PeerManager
from holofsd.store.cutting import Cutter
from holofsd.store.device import DeviceStore, VolumeRow
from holofsd.store.volume import VolumeStore
from holofsd.sync.config import SyncConfig
from holofsd.sync.create import create_volume, prepare_joined
from holofsd.sync.hub import SyncHub
from holofsd.sync.invites import redeem
from holofsd.sync.leaving import forget_left, keep_left
from holofsd.sync.volume import VolumeSync
from holofsd.tree.local import LocalVolume
from support.states import shown_version

QUICK = SyncConfig(
    mark_interval=0.05,
    session_retry=0.1,
    retry_most=0.5,
    hello_timeout=2.0,
    run_timeout=3.0,
    missing_retry=0.5,
    no_space_retry=0.3,
    reserve_bytes=0,
    lost_after=0.05,
)
HASTY = partial(PeerManager, backoff=Backoff(first=0.02, most=0.2, stable_after=0.5, refused=4), probe_limit=0.5)
NAME = "Photos"


async def until(condition: Callable[[], object], what: str = "", limit: float = 60.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit:.0f} s for: {what or condition}"
        await asyncio.sleep(0.005)


class Device:
    """One device with at most one volume. `up` and `down` as often as needed; the folder stays."""

    def __init__(self, network: FakeNetwork, folder: Path, name: str, config: SyncConfig = QUICK) -> None:
        self.network = network
        self.folder = folder
        self.name = name
        self.config = config
        self.key = SigningKey(name.encode().ljust(32, b"."))
        self.id = DeviceId(self.key.public)
        self.clock_off_ms = 0
        self.cuts = False
        """Large content that it writes gets a list of chunks."""
        self.volume_id: VolumeId | None = None
        self.secret = b""
        folder.mkdir(parents=True, exist_ok=True)

    # ---- life
    def now_ms(self) -> int:
        return int(time.time() * 1000) + self.clock_off_ms

    async def up(self) -> Device:
        self.devices = DeviceStore(self.folder)
        self.endpoint = self.network.endpoint(self.id)
        self.hub = SyncHub(
            self.endpoint, self.key, self.name, self.devices, self.now_ms, config=self.config, peers=HASTY
        )
        self.running = asyncio.create_task(self.hub.run())
        if self.volume_id is not None:
            self.hold(VolumeStore(self.volume_id, self.directory(self.volume_id)))
        return self

    async def down(self) -> None:
        await self.hub.close()
        await self.endpoint.close()
        await self.running
        if self.volume_id is not None:
            self.store.close()
        self.devices.close()

    async def restart(self) -> None:
        await self.down()
        await self.up()

    async def back_up(self, target: Path) -> None:
        """Stops the device, copies its folder, and starts it again."""
        await self.down()
        shutil.copytree(self.folder, target)
        await self.up()

    async def put_back(self, backup: Path) -> None:
        """Stops the device and puts a copy of its folder in place of the folder. The device stays down."""
        await self.down()
        shutil.rmtree(self.folder)
        shutil.copytree(backup, self.folder)

    def directory(self, volume: VolumeId) -> Path:
        return self.folder / "volumes" / volume.hex()

    def hold(self, store: VolumeStore) -> None:
        self.volume_id = store.volume
        self.store = store
        self.volume = LocalVolume(store, self.name, self.now_ms)
        self.sync = VolumeSync(self.volume, self.key, self.hub.describe, self.now_ms, self.config)
        with self.devices.db.transaction():
            self.devices.put_volume(VolumeRow(store.volume, NAME, "ready", None, self.now_ms()))
        self.hub.add(self.sync)

    # ---- volumes
    def create(self) -> None:
        created = create_volume(self.directory, NAME, self.key, self.name, self.now_ms())
        self.secret = created.secret
        self.hold(created.store)

    def ticket(self, role: Role = Role.WRITER, **more: int) -> str:
        return self.hub.inviter.make(
            self.sync.id, role, NAME, self.endpoint.addresses(), self.endpoint.relay_url(), **more
        ).ticket

    async def join(self, ticket: str) -> None:
        invite = decode_ticket(ticket)
        result = await redeem(self.endpoint, invite, self.hub.names.own)
        self.hub.learn_issuer(invite)
        with self.devices.db.transaction():
            forget_left(self.devices, result.volume)
        self.hold(prepare_joined(self.directory(result.volume), result.volume, result.credentials, self.key))

    async def leave(self) -> None:
        """Leave as `daemon.volumes` does; the files of the volume are deleted."""
        mark = await self.sync.leave()
        await self.hub.remove(self.sync.id)
        self.store.close()
        shutil.rmtree(self.directory(self.sync.id))
        with self.devices.db.transaction():
            self.devices.delete_volume(self.sync.id)
            keep_left(self.devices, self.sync.id, mark)
        self.volume_id = None

    # ---- files, without the fs layer
    def write(self, path: str, data: bytes) -> NodeId:
        """Creates or replaces a file; its folders have to exist."""
        parent, name = self._place(path)
        with self.store.db.transaction():
            entry = self.volume.tree.lookup(parent, name)
            body = self._body(data)
            version = self.volume.new_version(body, len(data), time.time_ns())
            if entry is None:
                node = new_node_id(Kind.FILE)
                link = edit.link_id(node)
                state = edit.new_node(
                    node, Kind.FILE, time.time_ns(), Place(parent, name), link, version, 0o644, version.stamp
                )
            else:
                node = entry.node
                old = self.volume.tree.state(node)
                assert old is not None
                shown = shown_version(old)
                assert shown is not None
                version = self.volume.new_version(body, len(data), time.time_ns(), above=shown.stamp)
                state = edit.with_version(old, version, [shown.dot])
            self.volume.write([state])
        return node

    def _body(self, data: bytes) -> Body:
        if len(data) <= INLINE_RECORD:
            return Inline(data)
        if self.cuts and profile_of(len(data)) is not None:
            return self._cut(data)
        blob = hash_bytes(data)
        part = self.folder / f"new-{blob.hex()}"
        part.write_bytes(data)
        self.store.content.place(part, blob, move=True)
        self.store.content.add(blob, len(data), self.now_ms())
        return Blob(blob)

    def _cut(self, data: bytes) -> Manifest:
        chunks = Cutter(self.store.volume).cut(io.BytesIO(data), len(data))
        part = self.folder / f"new-{chunks.cid().hex()}"
        part.write_bytes(data)
        self.store.bodies.place_whole(part, chunks, move=True, is_durable=False)
        self.store.bodies.add_whole(chunks, self.now_ms())
        return Manifest(chunks.cid())

    def mkdir(self, path: str) -> NodeId:
        parent, name = self._place(path)
        with self.store.db.transaction():
            node = new_node_id(Kind.DIRECTORY)
            version = self.volume.new_version(Marker(), 0, time.time_ns())
            state = edit.new_node(
                node, Kind.DIRECTORY, 0, Place(parent, name), edit.link_id(node), version, 0o755, version.stamp
            )
            self.volume.write([state])
        return node

    def remove(self, path: str) -> None:
        parent, name = self._place(path)
        with self.store.db.transaction():
            entry = self.volume.tree.lookup(parent, name)
            assert entry is not None
            state = self.volume.tree.state(entry.node)
            assert state is not None
            self.volume.write([edit.removed(state)])

    def _place(self, path: str) -> tuple[NodeId, bytes]:
        *folders, name = path.encode().split(b"/")
        parent = ROOT_ID
        for folder in folders:
            entry = self.volume.tree.lookup(parent, folder)
            assert entry is not None, folder
            parent = entry.node
        return parent, name

    def files(self) -> dict[str, bytes | None]:
        """path -> content; None where it is not here; folders end with a slash."""
        found: dict[str, bytes | None] = {}
        edge = [(ROOT_ID, "")]
        while edge:
            parent, path = edge.pop()
            for entry in self.volume.tree.children(parent):
                full = path + entry.name.decode()
                if entry.view.kind is Kind.DIRECTORY:
                    found[full + "/"] = b""
                    edge.append((entry.node, full + "/"))
                else:
                    found[full] = self._content(entry.node, entry.dot)
        return found

    def names(self) -> dict[str, tuple[Kind, NodeId, bytes]]:
        """path -> what is there, without its content."""
        found = {}
        edge = [(ROOT_ID, "")]
        while edge:
            parent, path = edge.pop()
            for entry in self.volume.tree.children(parent):
                full = path + entry.name.decode("utf-8", "backslashreplace")
                found[full] = (entry.view.kind, entry.node, entry.dot)
                if entry.view.kind is Kind.DIRECTORY:
                    edge.append((entry.node, full + "/"))
        return found

    def _content(self, node: NodeId, dot: bytes) -> bytes | None:
        version = self.volume.tree.version_of(node, dot)
        if version is None:
            return None
        if isinstance(version.body, Inline):
            return version.body.data
        assert isinstance(version.body, Blob | Manifest)
        if not self.store.content.has(version.body.hash):
            return None
        if isinstance(version.body, Manifest):
            return self._read_chunks(version.body.hash, version.size)
        return self.store.content.path(version.body.hash).read_bytes()

    def _read_chunks(self, cid: BlobHash, size: int) -> bytes:
        parts, bodies = list[bytes](), self.store.bodies
        for extent in bodies.extents(cid, 0, size):
            assert extent.segment is not None
            path = bodies.segments.path(extent.segment) if extent.segment != ZEROS else None
            with open(path or "/dev/zero", "rb") as file:
                file.seek(extent.source)
                parts.append(file.read(extent.length))
        return b"".join(parts)

    # ---- what is known
    async def wait_copies(self, count: int) -> None:
        """Returns when that many other devices say that they hold everything written here up to now."""
        async for copies in self.sync.copy_counts():
            if copies >= count:
                return

    def heads(self) -> dict[bytes, tuple[int, bytes]]:
        return {author: (head.seq, head.set_hash) for author, head in self.store.documents.heads().items()}

    def is_settled(self) -> bool:
        return self.store.outbox.count() == 0 and self.sync.merger.backlog() == 0


def agree(*devices: Device) -> bool:
    """All of them hold the same records and content, and have nothing to say."""
    first = devices[0]
    if not all(device.is_settled() and device.heads() == first.heads() for device in devices):
        return False
    if any(device.store.content.missing() != (0, 0) for device in devices):
        return False
    files = first.files()
    return None not in files.values() and all(device.files() == files for device in devices[1:])


async def settled(*devices: Device, limit: float = 60.0) -> None:
    try:
        await until(lambda: agree(*devices), limit=limit)
    except AssertionError as error:
        told = [
            (device.name, device.files().keys(), device.sync.status(), device.sync.ingest.counts) for device in devices
        ]
        raise AssertionError("\n".join(map(str, ["devices do not agree:", *told]))) from error


@asynccontextmanager
async def devices(
    folder: Path, *names: str, network: FakeNetwork | None = None, config: SyncConfig = QUICK
) -> AsyncIterator[list[Device]]:
    """Devices that are up, each without a volume; those that are up at the end go down."""
    network = network or FakeNetwork(discovery=True)
    made = [Device(network, folder / name, name, config) for name in names]
    for device in made:
        await device.up()
    try:
        yield made
    finally:
        for device in made:
            if not device.running.done():
                await device.down()


async def share(owner: Device, *others: Device, role: Role = Role.WRITER) -> None:
    """The owner creates a volume, the others join it."""
    if owner.volume_id is None:
        owner.create()
    for other in others:
        await other.join(owner.ticket(role))
