# SPDX-License-Identifier: GPL-3.0-or-later
"""The volumes of this device: opened at the start, each on its own, so that a damaged one does not stop the others."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import structlog

from holofs_api.stamps import CLOCK
from holofsd.check.document import NEW_AUTHOR
from holofsd.check.mending import INDEX, finish, forget_readable
from holofsd.codec.signing import SigningKey, generate, sign_mark
from holofsd.core.document import LEFT as LEFT_ENTRIES
from holofsd.core.document import Credentials, DeviceInfo, Mark
from holofsd.core.errors import HoloError, NoSpace, VolumeExists, VolumeUnknown
from holofsd.core.ids import AuthorId, DeviceId, VolumeId
from holofsd.daemon.fsck import explained, index_complaint
from holofsd.daemon.history_budget import HistoryBudget
from holofsd.daemon.names import check_volume_name, did_you_mean
from holofsd.daemon.orphans import DELETING, finish_deleting, take_up
from holofsd.daemon.rescue import RescuedVolume, rescue
from holofsd.daemon.vitals import now_ms
from holofsd.fs.filesystem import VolumeFilesystem
from holofsd.fs.settings import FsSettings
from holofsd.store import faults
from holofsd.store.database import compact_if_worth
from holofsd.store.device import DeviceStore, VolumeRow
from holofsd.store.threads import Pool, in_thread
from holofsd.store.volume import VolumeStore
from holofsd.sync.config import SyncConfig
from holofsd.sync.create import create_volume, prepare_joined
from holofsd.sync.hub import SyncHub
from holofsd.sync.leaving import forget_left, keep_left
from holofsd.sync.tasks import Tasks
from holofsd.sync.to_send import ToSendFigures
from holofsd.sync.volume import VolumeSync
from holofsd.tree.local import LocalVolume

_log = structlog.get_logger(__name__)

T = TypeVar("T")

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
    to_send: ToSendFigures
    resources: AsyncExitStack


@dataclass(frozen=True, slots=True)
class VolumeSettings:
    """Settings that all volumes are given; tests make them faster."""

    sync: SyncConfig
    fs: FsSettings


class Volumes:
    """All volumes of this device, by their state: open, damaged, being joined."""

    def __init__(
        self,
        state: Path,
        store: DeviceStore,
        node_key: SigningKey,
        describe: Callable[[], DeviceInfo],
        hub: SyncHub,
        settings: VolumeSettings,
    ) -> None:
        self._state = state
        self._store = store
        self._node_key = node_key
        self._describe = describe
        self._hub = hub
        self._settings = settings
        self._rows = {row.id: row for row in store.volumes()}
        self._open: dict[VolumeId, OpenVolume] = {}
        self.damage: dict[VolumeId, str] = {}
        """Why a volume could not be opened, in one sentence."""
        self._rescued: dict[VolumeId, RescuedVolume] = {}
        self._tasks = Tasks("volumes")
        self._mending = asyncio.Lock()
        self.history_budget = HistoryBudget(
            store, state, lambda: {id: opened.filesystem.history.retention for id, opened in self._open.items()}
        )

    # ---- the daemon's life
    async def open_all(self, copied: bool) -> None:
        """Opens what is ready. `copied`: the state directory is a copy, so every volume gets a new author first."""
        finish_deleting(self._state / LEFT)
        for volume, name in take_up(self._state / "volumes", self._rows, self.names(), DeviceId(self._node_key.public)):
            self._put(VolumeRow(volume, name, READY, None, now_ms()))
        for row in list(self._rows.values()):
            if row.state == READY:
                await self._open_row(row, copied)

    async def _open_row(self, row: VolumeRow, copied: bool) -> None:
        """Opens a volume; of one whose index is damaged it serves, read-only, what can be read."""
        directory = self.directory(row.id)
        try:
            complaint = await in_thread(Pool.FOREGROUND, complaint_before_opening, directory)
            if not complaint:
                await self._start(VolumeStore(row.id, directory), copied)
                return
            why = explained(complaint, row.name, directory)
        except HoloError as error:
            why = error.message
        except sqlite3.DatabaseError as error:
            why = explained(str(error), row.name, directory)
        await self._serve_damaged(row, why)

    async def _serve_damaged(self, row: VolumeRow, why: str) -> None:
        self.damage[row.id] = why
        _log.error("a volume is served read-only", volume=row.name, why=why)
        device, settings = DeviceId(self._node_key.public), self._settings.fs
        try:
            found = await rescue(row.id, self.directory(row.id), device, row.name, settings, now_ms)
        except (HoloError, OSError, sqlite3.Error) as error:
            _log.error("nothing of a damaged volume can be read", volume=row.name, why=str(error))
        else:
            self._rescued[row.id] = found

    def damaged(self, volume: VolumeId, complaint: str) -> None:
        """Stops all writing to a volume's index that is in use and was found damaged."""
        opened = self._open.get(volume)
        if opened is not None and volume not in self.damage:
            self.damage[volume] = complaint
            self._tasks.spawn(self._degrade(opened, complaint), "damaged index")

    async def _degrade(self, opened: OpenVolume, complaint: str) -> None:
        async with self._mending:
            row = self._rows[opened.id]
            await self._stop(opened)
            await self._serve_damaged(row, explained(complaint, row.name, self.directory(row.id)))

    async def closed_for(self, row: VolumeRow, work: Callable[[], T]) -> T:
        """Does blocking work on the directory of a volume while nobody has it open; its mounts wait."""
        async with self._mending:
            await self._close_one(row.id)
            self.damage[row.id] = "It is being repaired, and comes back by itself."
            try:
                return await in_thread(Pool.FOREGROUND, work)
            finally:
                self.damage.pop(row.id, None)
                if row.state == READY:
                    await self._open_row(row, copied=False)

    async def beside(self, work: Callable[[], T]) -> T:
        """Does blocking work that looks at the directory of a volume, open or not; nobody repairs it meanwhile."""
        async with self._mending:
            return await in_thread(Pool.BACKGROUND, work)

    async def _close_one(self, volume: VolumeId) -> None:
        opened, rescued = self._open.get(volume), self._rescued.pop(volume, None)
        if opened is not None:
            await self._stop(opened)
        if rescued is not None:
            await rescued.resources.aclose()

    async def close(self) -> None:
        await self._tasks.close()
        for volume in [*self._open, *self._rescued]:
            await self._close_one(volume)

    # ---- finding
    def rows(self) -> list[VolumeRow]:
        return sorted(self._rows.values(), key=lambda row: row.name)

    def names(self) -> set[str]:
        return {row.name for row in self._rows.values()}

    def name_of(self, volume: VolumeId) -> str:
        row = self._rows.get(volume)
        return row.name if row is not None else volume.hex()[:16]

    def row(self, told: str) -> VolumeRow:
        """Finds a volume by its name on this device or its hex id. Raises VolumeUnknown."""
        for row in self._rows.values():
            if told in (row.name, row.id.hex()):
                return row
        near = did_you_mean(told, self.names())
        raise VolumeUnknown(f"This device has no volume {told!r}; `holofsctl list` shows those it has.{near}")

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

    def filesystem(self, told: str) -> VolumeFilesystem:
        """Returns the filesystem of an open volume, or what can be read of a damaged one. Raises VolumeUnknown."""
        rescued = self._rescued.get(self.row(told).id)
        return rescued.filesystem if rescued is not None else self.find(told).filesystem

    def directories(self) -> list[tuple[VolumeId, Path]]:
        """Lists the open volumes with their directories."""
        return [(volume, self.directory(volume)) for volume in self._open]

    # ---- coming and going
    async def create(self, name: str) -> VolumeRow:
        check_volume_name(name)
        self.require_free(name)
        made: list[Path] = []

        def directory(volume: VolumeId) -> Path:
            made.append(self.directory(volume))
            return made[-1]

        try:
            created = create_volume(directory, name, self._node_key, self._hub.names.own, now_ms())
            faults.reach("creating.made")
            row = VolumeRow(created.store.volume, name, READY, created.secret, now_ms())
            self._put(row)
        except (HoloError, OSError, sqlite3.Error):
            for path in made:  # else the next start would take it up
                shutil.rmtree(path, ignore_errors=True)
            raise
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
            store = prepare_joined(self.directory(volume), volume, credentials, self._node_key)
            faults.reach("joining.stored")
            await self._start(store, copied=False)
        row = replace(row, state=READY)
        with self._store.db.transaction():
            self._store.put_volume(row)
            self._store.delete_join(volume)
            forget_left(self._store, volume)
        self._rows[volume] = row
        return row

    async def leave(self, volume: VolumeId, delete: bool) -> str:
        """Closes and forgets the volume; where its directory was moved to, empty if deleted.

        The other members hear of it: those that are connected now, the others when they ask for the volume.
        """
        row, farewell = self._rows[volume], await self._part(volume)
        await self._close_one(volume)
        aside = None
        try:
            # Out of `volumes/` first: what is there and not written down is taken up again at the next start.
            aside = self._move_aside(volume, DELETING if delete else "")
            faults.reach("leaving.aside")
            self.forget(volume, farewell)
        except (NoSpace, OSError):
            if aside is not None:
                aside.rename(self.directory(volume))
            if row.state == READY:
                await self._open_row(row, copied=False)
            raise
        if delete and aside is not None:
            await in_thread(Pool.BACKGROUND, shutil.rmtree, aside, ignore_errors=True)
        return "" if delete or aside is None else str(aside)

    async def _part(self, volume: VolumeId) -> Mark | None:
        """None where nobody can have counted on this device."""
        opened = self._open.get(volume)
        if opened is not None:
            return await opened.sync.leave()
        return sign_mark(self._node_key, volume, now_ms(), LEFT_ENTRIES) if volume in self.damage else None

    def keep_secret(self, volume: VolumeId, secret: bytes | None) -> None:
        """The seed of the volume's own key; None: this device has it no longer."""
        self._put(replace(self._rows[volume], secret=secret))
        opened = self._open.get(volume)
        if opened is not None:
            opened.sync.members.volume_key = SigningKey(secret) if secret else None

    def forget(self, volume: VolumeId, farewell: Mark | None = None) -> None:
        """`farewell`: what members that ask for it later are told."""
        with self._store.db.transaction():
            self._store.delete_volume(volume)
            if farewell is not None:
                keep_left(self._store, volume, farewell)
        self._rows.pop(volume, None)
        self.damage.pop(volume, None)

    def require_free(self, name: str) -> None:
        if name in self.names():
            raise VolumeExists(f"This device already has a volume {name!r}; choose another name.")

    # ---- one volume
    async def _start(self, store: VolumeStore, copied: bool) -> None:
        async with AsyncExitStack() as stack:
            stack.callback(store.close)
            store.db.on_damage = lambda complaint: self.damaged(store.volume, complaint)
            needs_author = make_sure_of_author(store)
            local = LocalVolume(store, self._hub.names.own, now_ms, CLOCK.now)
            sync = VolumeSync(local, self._node_key, self._describe, now_ms, self._settings.sync)
            stack.push_async_callback(sync.close)
            row = self._rows.get(store.volume)
            sync.members.volume_key = SigningKey(row.secret) if row is not None and row.secret else None
            if copied or needs_author:
                sync.rotate_author()
                with store.db.transaction():
                    store.delete_meta(NEW_AUTHOR)
            filesystem = VolumeFilesystem(local, sync, self.name_of(store.volume), settings=self._settings.fs)
            stack.push_async_callback(filesystem.close)
            budget = self.history_budget
            filesystem.history.retention.belongs_to(lambda: budget.share(store.volume), budget.relieve)
            sync.on_no_space(filesystem.history.retention.budget.wake)
            sync.on_role_change(filesystem.role_changed)
            tasks = Tasks("filesystem")
            stack.push_async_callback(tasks.close)
            tasks.spawn(filesystem.run(), self.name_of(store.volume))
            self._hub.add(sync)
            stack.push_async_callback(self._hub.remove, store.volume)
            to_send = ToSendFigures(store, sync.members, sync.marks, sync.dealings)
            opened = OpenVolume(store.volume, store, local, sync, filesystem, to_send, stack.pop_all())
        self._open[store.volume] = opened
        self.damage.pop(store.volume, None)

    async def _stop(self, volume: OpenVolume) -> None:
        self._open.pop(volume.id, None)
        await volume.resources.aclose()

    def _put(self, row: VolumeRow) -> None:
        with self._store.db.transaction():
            self._store.put_volume(row)
            self._store.db.after_commit(lambda: self._rows.update({row.id: row}))

    def directory(self, volume: VolumeId) -> Path:
        return self._state / "volumes" / volume.hex()

    def _move_aside(self, volume: VolumeId, ending: str) -> Path | None:
        source = self.directory(volume)
        if not source.exists():
            return None
        aside = self._state / LEFT / f"{volume.hex()}-{now_ms()}{ending}"
        aside.parent.mkdir(mode=0o700, exist_ok=True)
        source.rename(aside)
        return aside


def complaint_before_opening(directory: Path) -> str:
    """Blocking. Finishes a repair that a crash stopped, and says what is wrong with the index; empty if nothing is. An
    index that is mostly free pages is made smaller."""
    finish(directory)
    forget_readable(directory)
    complaint = index_complaint(directory)
    if not complaint and compact_if_worth(directory / INDEX):
        _log.info("an index was mostly free pages, and is smaller now", folder=directory.name[:8])
    return complaint


def make_sure_of_author(store: VolumeStore) -> bool:
    """Whether a new author has to take over, for this index was repaired or restored."""
    needed = store.meta(NEW_AUTHOR) is not None
    if needed and store.active_author() is None:
        key = generate()
        with store.db.transaction():
            store.add_author(AuthorId(key.public), key.seed)
    return needed
