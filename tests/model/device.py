# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole device but for gRPC and FUSE: real stores in a folder, the real tree, sync and fs, the fake network."""

from __future__ import annotations

import asyncio
import random
import shutil
from contextvars import Context, copy_context
from dataclasses import replace
from functools import partial
from pathlib import Path

from holofsd.codec.content import hash_bytes
from holofsd.codec.signing import SigningKey
from holofsd.codec.ticket import decode_ticket
from holofsd.core.document import Role
from holofsd.core.ids import DeviceId, NodeId, VolumeId
from holofsd.core.state import Blob, Inline
from holofsd.fs.filesystem import VolumeFilesystem
from holofsd.fs.settings import FsSettings
from holofsd.fs.types import AttachRequest, OpenHandle
from holofsd.net.fake import FakeNetwork
from holofsd.net.peers import PeerManager
from holofsd.store.device import DeviceStore, VolumeRow
from holofsd.store.volume import VolumeStore
from holofsd.sync.config import SyncConfig
from holofsd.sync.create import create_volume, prepare_joined
from holofsd.sync.hub import SyncHub
from holofsd.sync.invites import redeem
from holofsd.sync.tasks import Tasks
from holofsd.sync.volume import VolumeSync
from holofsd.tree.local import LocalVolume
from model.chance import LIFE, START_NS, Life, Processes, SeededLoop

NAME = "volume"
DEFAULT = SyncConfig(reserve_bytes=0, streams_per_peer=2)
QUICK = replace(
    DEFAULT,
    mark_interval=0.25,
    merge_slice=4,
    forget_interval=2.0,
    fold_after=1.0,
    session_retry=0.1,
    retry_most=0.5,
    hello_timeout=2.0,
    run_timeout=3.0,
    no_space_retry=0.3,
)
CONFIGS = (DEFAULT, QUICK)


class ModelDevice:
    def __init__(
        self, loop: SeededLoop, processes: Processes, network: FakeNetwork, folder: Path, name: str, config: SyncConfig
    ) -> None:
        self.loop, self.processes, self.network = loop, processes, network
        self.name, self.config = name, config
        self.key = SigningKey(name.encode().ljust(32, b"."))
        self.id = DeviceId(self.key.public)
        self.clock_off_ms = 0
        self.volume_id: VolumeId | None = None
        self.secret = b""
        """The seed of the volume's own key, on the device that made it: on paper, for the model."""
        self._root = folder
        self._lives = 0
        self.folder = folder / "0"
        self.folder.mkdir(parents=True)
        self.is_up = False
        self.pid = 0
        self.mount_id = ""
        self.mounts = 0
        self._copied = False
        self.was_restored = False
        """Was put back from a backup: there may be two histories of it."""
        self._chance = random.Random(f"peers {name}")

    # ---- time
    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def now_ns(self) -> int:
        return START_NS + int(self.loop.time() * 1e9) + self.clock_off_ms * 1_000_000

    # ---- life
    def up(self, handles: tuple[OpenHandle, ...] = (), *, copied: bool = False) -> tuple[int, ...]:
        """`handles`: the mount lived on and has these open; returns those that it cannot have back.

        `copied`: it is noticed that the state directory is a copy.
        """
        self._copied = copied
        self.life = Life(self.die)
        self.died: asyncio.Future[str] = self.loop.create_future()
        """Has the name of the fault point where it crashed, empty if at none."""
        self._buried = False
        self.context = copy_context()
        self.context.run(LIFE.set, self.life)
        return self.context.run(self._up, handles)

    def _up(self, handles: tuple[OpenHandle, ...]) -> tuple[int, ...]:
        self.devices = DeviceStore(self.folder)
        self.endpoint = self.network.endpoint(self.id)
        peers = partial(PeerManager, chance=self._chance, clock=self.loop.time)
        self.hub = SyncHub(
            self.endpoint, self.key, self.name, self.devices, self.now_ms, config=self.config, peers=peers
        )
        self.running = asyncio.create_task(self.hub.run())
        self.is_up = True
        if self.volume_id is None:
            return ()
        return self._hold(VolumeStore(self.volume_id, self._directory(self.volume_id)), handles)

    def _hold(self, store: VolumeStore, handles: tuple[OpenHandle, ...] = ()) -> tuple[int, ...]:
        """Wire it as `daemon.volumes` does."""
        self.volume_id = store.volume
        self.store = store
        self.local = LocalVolume(store, self.name, self.now_ms)
        self.sync = VolumeSync(self.local, self.key, self.hub.describe, self.now_ms, self.config)
        if self._copied:
            self.sync.rotate_author()
            self._copied = False
        settings = FsSettings(reserve_bytes=0)
        self.fs = VolumeFilesystem(self.local, self.sync, NAME, settings=settings, now_ns=self.now_ns)
        self.sync.on_role_change(self.fs.role_changed)
        self.tasks = Tasks("filesystem")
        self.tasks.spawn(self.fs.run(), NAME)
        with self.devices.db.transaction():
            self.devices.put_volume(VolumeRow(store.volume, NAME, "ready", None, self.now_ms()))
        self.hub.add(self.sync)
        return self._attach(handles)

    def _attach(self, handles: tuple[OpenHandle, ...]) -> tuple[int, ...]:
        if not handles and str(self.pid) not in self.processes.running:
            self.pid = self.processes.start()
            self.mounts += 1
            self.mount_id = f"{self.name}{self.mounts}"
        request = AttachRequest("model", self.mount_id, "/m", self.pid, False, handles)
        self.att = self.fs.attach(request)
        return self.att.lost_handles

    def unmount(self) -> None:
        """The mount's process is gone."""
        self.processes.kill(self.pid)
        self.pid = 0
        if self.is_up:
            self.fs.detach(self.att)

    def mount(self) -> None:
        self.context.run(self._attach, ())

    async def down(self) -> None:
        """Close in the order of `daemon.volumes`, then `daemon.device`."""
        self.is_up = False
        self.life.fault = None
        await self.hub.remove(self.store.volume)
        await self._end()
        self.life.alive = False

    async def _end(self) -> None:
        await self.tasks.close()
        await self.fs.close()
        await self.sync.close()
        self.store.close()
        await self.hub.close()
        await self.endpoint.close()
        await self.running
        self.devices.close()

    def die(self, point: str = "") -> None:
        """kill -9, at a fault point or between two turns of the loop: what is on disk at this moment is what there is.
        Nothing that runs can touch it any more."""
        self._lives += 1
        self._left = self.folder
        self.folder = self._root / str(self._lives)
        shutil.copytree(self._left, self.folder)
        self.is_up = False
        self.life.alive = False
        self.network.kill(self.id, notice=self._lives % 2 == 0)
        self.died.set_result(point)

    @property
    def is_dead(self) -> bool:
        return not self.is_up and self.died.done() and not self._buried

    async def bury(self) -> None:
        """End what is left of a run that crashed."""
        self._buried = True
        await self._end()
        shutil.rmtree(self._left)

    def back_up(self) -> None:
        """A copy of the disk as it is now."""
        shutil.rmtree(self._backup, ignore_errors=True)
        shutil.copytree(self.folder, self._backup)

    @property
    def _backup(self) -> Path:
        return self._root / "backup"

    def restore(self) -> bool:
        """Put a copy of its disk back, while it is down. False if there is no copy."""
        if not self._backup.exists():
            return False
        shutil.rmtree(self.folder)
        shutil.copytree(self._backup, self.folder)
        self.was_restored = True
        return True

    def _directory(self, volume: VolumeId) -> Path:
        return self.folder / "volumes" / volume.hex()

    # ---- the volume
    def create(self) -> None:
        created = create_volume(self._directory, NAME, self.key, self.name, self.now_ms())
        self.secret = created.secret
        self.context.run(self._hold, created.store)

    async def join(self, owner: ModelDevice) -> None:
        made = owner.hub.inviter.make(owner.sync.id, Role.WRITER, NAME, owner.endpoint.addresses(), "")
        invite = decode_ticket(made.ticket)
        result = await redeem(self.endpoint, invite, self.hub.names.own)
        self.hub.learn_issuer(invite)
        store = prepare_joined(self._directory(result.volume), result.volume, result.credentials, self.key)
        self.context.run(self._hold, store)

    async def join_again(self, owner: ModelDevice, role: Role, *, afresh: bool) -> None:
        """Join again with what it holds of the volume; `afresh`: with nothing."""
        made = owner.hub.inviter.make(owner.sync.id, role, NAME, owner.endpoint.addresses(), "")
        invite = decode_ticket(made.ticket)
        result = await redeem(self.endpoint, invite, self.hub.names.own)
        self.hub.learn_issuer(invite)
        await self.hub.remove(self.store.volume)
        await self.tasks.close()
        await self.fs.close()
        await self.sync.close()
        self.store.close()
        self.processes.kill(self.pid)
        self.pid = 0
        shutil.rmtree(self._backup, ignore_errors=True)
        if afresh:
            shutil.rmtree(self._directory(result.volume))
        self._hold(prepare_joined(self._directory(result.volume), result.volume, result.credentials, self.key))

    def run(self, context: Context | None = None) -> Context:
        return context or self.context.copy()

    # ---- what is known
    def addresses(self) -> list[str]:
        return self.endpoint.addresses()

    def heads(self) -> dict[bytes, tuple[int, bytes]]:
        return {author: (head.seq, head.set_hash) for author, head in self.store.documents.heads().items()}

    def hidden(self, parent: NodeId | None = None, slot: bytes = b"") -> set[bytes]:
        """Hashes of the conflict copies that are listed and not shown, inside `.git`: everywhere, or of one name."""
        found: set[bytes] = set()
        for row in self.store.nodes.hidden_copies():
            if parent is None or (row.parent, row.slot) == (parent, slot):
                state = self.local.tree.state(row.node)
                bodies = [version.body for version in state.versions.values()] if state is not None else []
                found.update(hash_bytes(body.data) for body in bodies if isinstance(body, Inline))
                found.update(body.hash for body in bodies if isinstance(body, Blob))
        return found

    def missing(self) -> int:
        """Amount of content that is on its way."""
        return self.store.content.missing()[0]

    def quarantined(self) -> int:
        return sum(self.store.documents.quarantined().values())

    def unsettled(self) -> str:
        """Reason why this device is not done yet; empty if it is."""
        staging = self.store.db.number("SELECT count(*) FROM staging")
        reasons = {
            "outbox": self.store.outbox.count(),
            "merging": self.sync.merger.backlog(),
            "staging": staging,
            "missing": self.missing(),
            "quarantined": self.quarantined(),
            "adopting": len(list(self.sync.adopter.beyond())) if self.sync.members.can_write else 0,
        }
        return ", ".join(f"{name} {count}" for name, count in reasons.items() if count)
