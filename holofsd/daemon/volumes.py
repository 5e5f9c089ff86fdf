# SPDX-License-Identifier: GPL-3.0-or-later
"""The volumes of this device: opened at the start, each on its own, so that a damaged one does not stop the others."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from holofsd.codec.signing import SigningKey
from holofsd.core.document import Credentials, DeviceInfo
from holofsd.core.errors import BadArgument, HoloError, VolumeExists, VolumeUnknown
from holofsd.core.ids import VolumeId
from holofsd.daemon.names import check_volume_name
from holofsd.daemon.vitals import now_ms
from holofsd.fs.filesystem import VolumeFilesystem
from holofsd.fs.settings import FsSettings
from holofsd.store import faults
from holofsd.store.device import DeviceStore, VolumeRow
from holofsd.store.volume import VolumeStore
from holofsd.sync.config import SyncConfig
from holofsd.sync.create import create_volume, prepare_joined
from holofsd.sync.hub import SyncHub
from holofsd.sync.tasks import Tasks
from holofsd.sync.volume import VolumeSync
from holofsd.tree.local import LocalVolume

_log = structlog.get_logger(__name__)

READY: Final = "ready"
JOINING: Final = "joining"
LEFT: Final = "left"
"""Folder of the state directory where the files of volumes that were left are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenVolume:
    """A volume in use: its store, its tree, its conversation with others, and how it looks to programs."""

    id: VolumeId
    store: VolumeStore
    local: LocalVolume
    sync: VolumeSync
    filesystem: VolumeFilesystem
    resources: AsyncExitStack


@dataclass(frozen=True, slots=True)
class Settings:
    """What the volumes are given; tests make them faster."""

    sync: SyncConfig
    fs: FsSettings


class Volumes:
    def __init__(
        self,
        state: Path,
        store: DeviceStore,
        node_key: SigningKey,
        device_name: str,
        describe: Callable[[], DeviceInfo],
        hub: SyncHub,
        settings: Settings,
    ) -> None:
        self._state = state
        self._store = store
        self._node_key = node_key
        self._device_name = device_name
        self._describe = describe
        self._hub = hub
        self._settings = settings
        self._rows = {row.id: row for row in store.volumes()}
        self._open: dict[VolumeId, OpenVolume] = {}
        self.damage: dict[VolumeId, str] = {}
        """Why a volume could not be opened, in one sentence."""

    # ---- the daemon's life
    async def open_all(self, copied: bool) -> None:
        """Opens what is ready. `copied`: the state directory is a copy, so every volume gets a new author first."""
        for row in list(self._rows.values()):
            if row.state != READY:
                continue
            try:
                await self._start(VolumeStore(row.id, self._directory(row.id)), copied)
            except HoloError as error:
                self.damage[row.id] = error.message
                _log.error("a volume cannot be opened", volume=row.name, why=error.message)

    async def close(self) -> None:
        for volume in list(self._open.values()):
            await self._stop(volume)

    # ---- finding
    def rows(self) -> list[VolumeRow]:
        return sorted(self._rows.values(), key=lambda row: row.name)

    def names(self) -> set[str]:
        return {row.name for row in self._rows.values()}

    def name_of(self, volume: VolumeId) -> str:
        row = self._rows.get(volume)
        return row.name if row is not None else volume.hex()[:16]

    def row(self, told: str) -> VolumeRow:
        """By name on this device or hex id. Raises VolumeUnknown."""
        for row in self._rows.values():
            if told in (row.name, row.id.hex()):
                return row
        raise VolumeUnknown(f"This device has no volume {told!r}; `holofsctl list` shows those it has.")

    def row_of(self, volume: VolumeId) -> VolumeRow | None:
        return self._rows.get(volume)

    def get(self, volume: VolumeId) -> OpenVolume | None:
        return self._open.get(volume)

    def all(self) -> list[OpenVolume]:
        return list(self._open.values())

    def find(self, told: str) -> OpenVolume:
        """An open volume. Raises VolumeUnknown, also where it is still being joined or damaged."""
        row = self.row(told)
        volume = self._open.get(row.id)
        if volume is None:
            why = self.damage.get(row.id, "it is still being joined, `holofsctl status` shows how far it is.")
            raise VolumeUnknown(f"The volume {row.name} cannot be used yet: {why}")
        return volume

    # ---- coming and going
    async def create(self, name: str) -> VolumeRow:
        check_volume_name(name)
        self.require_free(name)
        created = create_volume(self._directory, name, self._node_key, self._device_name, now_ms())
        faults.reach("creating.made")
        row = VolumeRow(created.store.volume, name, READY, created.secret, now_ms())
        self._put(row)
        await self._start(created.store, copied=False)
        return row

    def reserve(self, volume: VolumeId, name: str) -> VolumeRow:
        """The row of a volume that is being joined: its name is taken from now on."""
        row = VolumeRow(volume, name, JOINING, None, now_ms())
        self._put(row)
        return row

    async def enter(self, volume: VolumeId, credentials: Credentials) -> VolumeRow:
        """Opens a volume that this device has become a member of."""
        row = self._rows[volume]
        present = self._open.get(volume)
        if present is not None:
            await present.sync.learn_credentials(credentials)
        else:
            store = prepare_joined(self._directory(volume), volume, credentials, self._node_key)
            faults.reach("joining.stored")
            await self._start(store, copied=False)
        with self._store.db.transaction():
            row = replace(row, state=READY)
            self._put(row)
            self._store.delete_join(volume)
        return row

    async def leave(self, volume: VolumeId, delete: bool) -> str:
        """Closes and forgets the volume; where its directory was moved to, empty if deleted."""
        opened = self._open.get(volume)
        if opened is not None:
            await self._stop(opened)
        kept = "" if delete else self._keep_aside(volume)
        faults.reach("leaving.aside")
        self.forget(volume)
        if delete:
            await asyncio.to_thread(_remove_tree, self._directory(volume))
        return kept

    def keep_secret(self, volume: VolumeId, secret: bytes | None) -> None:
        """The seed of the volume's own key; None: this device has it no longer."""
        self._put(replace(self._rows[volume], secret=secret))
        opened = self._open.get(volume)
        if opened is not None:
            opened.sync.members.volume_key = SigningKey(secret) if secret else None

    def forget(self, volume: VolumeId) -> None:
        self._rows.pop(volume, None)
        self.damage.pop(volume, None)
        with self._store.db.transaction():
            self._store.delete_volume(volume)

    def require_free(self, name: str) -> None:
        if name in self.names():
            raise VolumeExists(f"This device already has a volume {name!r}; choose another name.")

    # ---- one volume
    async def _start(self, store: VolumeStore, copied: bool) -> None:
        async with AsyncExitStack() as stack:
            stack.callback(store.close)
            local = LocalVolume(store, self._device_name, now_ms)
            sync = VolumeSync(local, self._node_key, self._describe, now_ms, self._settings.sync)
            stack.push_async_callback(sync.close)
            row = self._rows.get(store.volume)
            sync.members.volume_key = SigningKey(row.secret) if row is not None and row.secret else None
            if copied:
                sync.rotate_author()
            filesystem = VolumeFilesystem(local, sync, self.name_of(store.volume), settings=self._settings.fs)
            stack.push_async_callback(filesystem.close)
            sync.on_role_change(filesystem.role_changed)
            tasks = Tasks("filesystem")
            stack.push_async_callback(tasks.close)
            tasks.spawn(filesystem.run(), self.name_of(store.volume))
            self._hub.add(sync)
            stack.push_async_callback(self._hub.remove, store.volume)
            opened = OpenVolume(store.volume, store, local, sync, filesystem, stack.pop_all())
        self._open[store.volume] = opened
        self.damage.pop(store.volume, None)

    async def _stop(self, volume: OpenVolume) -> None:
        self._open.pop(volume.id, None)
        await volume.resources.aclose()

    def _put(self, row: VolumeRow) -> None:
        with self._store.db.transaction():
            self._store.put_volume(row)
        self._rows[row.id] = row

    def _directory(self, volume: VolumeId) -> Path:
        return self._state / "volumes" / volume.hex()

    def _keep_aside(self, volume: VolumeId) -> str:
        source = self._directory(volume)
        if not source.exists():
            return ""
        kept = self._state / LEFT / f"{volume.hex()}-{now_ms()}"
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        source.rename(kept)
        return str(kept)


def _remove_tree(directory: Path) -> None:
    if directory.parent.name != "volumes":
        raise BadArgument("Only the directory of a volume can be deleted.")
    shutil.rmtree(directory, ignore_errors=True)
