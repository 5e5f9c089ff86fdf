# SPDX-License-Identifier: GPL-3.0-or-later
"""This device as its owner sees it: `rpc.device_api.DeviceService` on top of volumes, mounts and joins."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from holofs_api.shell import shell_word
from holofs_api.words import count
from holofsd.codec.ticket import Invite, decode_ticket
from holofsd.core.document import Credentials, Role
from holofsd.core.errors import BadArgument, DeviceUnknown, HoloError, NoSpace, VolumeExists, VolumeUnknown
from holofsd.core.ids import DeviceId
from holofsd.daemon import conflicts, vitals
from holofsd.daemon import status as report
from holofsd.daemon.browsing import DeviceBrowsing
from holofsd.daemon.config import Config
from holofsd.daemon.fsck import check_closed, check_in_use
from holofsd.daemon.fsck_device import check_device_in_use
from holofsd.daemon.history import DeviceHistory
from holofsd.daemon.joining import Joiner
from holofsd.daemon.metrics.place import MetricsPlace
from holofsd.daemon.mounts import MountSupervisor
from holofsd.daemon.names import check_device_name, check_volume_name, did_you_mean, free_name
from holofsd.daemon.pinging import RoundTrips
from holofsd.daemon.recovering import Recovery
from holofsd.daemon.safety import DeviceCare
from holofsd.daemon.traffic import DeviceTraffic, TrafficKeeper
from holofsd.daemon.transfers import DeviceTransfers
from holofsd.daemon.volumes import READY, OpenVolume, Volumes
from holofsd.daemon.watching import DeviceWatching, noted_events
from holofsd.daemon.window import WindowSupervisor
from holofsd.fs.api import Filesystem
from holofsd.fs.past_mount import PastMount
from holofsd.net.api import Endpoint
from holofsd.rpc import device_api as api
from holofsd.rpc.settings_api import SettingsReply
from holofsd.store.device import DeviceStore, VolumeRow
from holofsd.sync.config import PROGRAM
from holofsd.sync.hub import SyncHub
from holofsd.sync.invites import redeem
from holofsd.sync.volume import VolumeSync

_LOOK_AGAIN_S: Final = 0.1
_MOST_DIGITS: Final = 18
"""Of a time in ms, after the `@` of a volume's name."""


class Device(DeviceBrowsing, DeviceCare, DeviceHistory, DeviceTraffic, DeviceTransfers, DeviceWatching):
    """Wired by `composition`; `stop` makes the daemon end."""

    def __init__(
        self,
        config: Config,
        store: DeviceStore,
        endpoint: Endpoint,
        hub: SyncHub,
        volumes: Volumes,
        mounts: MountSupervisor,
        stop: Callable[[], None],
    ) -> None:
        assert config.settings is not None
        self._config = config
        self._settings = config.settings
        self._device = endpoint.device
        self._endpoint = endpoint
        self._store = store
        self._hub = hub
        self._round_trips = RoundTrips(hub)
        self._volumes = volumes
        self._mounts = mounts
        self._stop = stop
        self._began = time.monotonic()
        self.metrics = MetricsPlace()
        self.keeper = TrafficKeeper(self._settings, hub)
        self.joiner = Joiner(store, self._redeem, self._enter)
        self._recovery = Recovery(endpoint, hub, volumes, self.joiner)
        self.noted = noted_events(config.state, hub, volumes, lambda: self.keeper.status(volumes))
        self.window = WindowSupervisor(config.state, lambda: self._settings.text("window.port"))

    # ---- this device
    def identity(self) -> api.Identity:
        return api.Identity(self._device.hex(), PROGRAM, os.getpid())

    async def status(self, volume: str) -> api.DeviceStatus:
        rows = [self._volumes.row(volume)] if volume else self._volumes.rows()
        wanted = {row.name for row in rows}
        peers = await self.peers()
        volumes = tuple(self._volume_status(row) for row in rows)
        copies = self._hub.twins.sentences(lambda device: report.name_of(device, self._volumes))
        sentences = [
            *([self.metrics.problem] if self.metrics.problem else []),
            *copies,
            *self._settings.warnings(),
            *report.warnings(self._config.state, self._volumes, rows),
        ]
        return api.DeviceStatus(
            device_id=self._device.hex(),
            device_name=self._hub.names.own,
            program=PROGRAM,
            pid=os.getpid(),
            uptime_seconds=int(time.monotonic() - self._began),
            volumes=volumes,
            mounts=tuple(info for info in self._mounts.infos() if info.volume in wanted),
            warnings=tuple(sentences),
            resident_bytes=vitals.resident_bytes(),
            copies=tuple(copies),
            space=report.space(self._config.state, self._volumes),
            metrics_port=self.metrics.port,
            traffic=self.keeper.status(self._volumes),
            peers=tuple(peer for peer in peers if wanted & {*peer.volumes}),
            network=report.network(self._config.net, self._endpoint, volumes),
        )

    async def device_name(self, new: str | None) -> str:
        """Returns the name of this device, after giving it a new one if there is one."""
        if new is not None and check_device_name(new) != self._hub.names.own:
            self._hub.rename(new)
        return self._hub.names.own

    async def settings(self, reload: bool) -> SettingsReply:
        if reload:
            self._settings.reload()
        return self._settings.reply()

    async def peers(self) -> tuple[api.PeerSummary, ...]:
        """Lists the other devices, after counting what each of them lacks: `volume_status` tells the figures, too."""
        for opened in self._volumes.all():
            await opened.to_send.refresh()
        return report.peers(self._hub, self._volumes, await self._round_trips.now())

    async def shutdown(self, unmount: bool) -> None:
        if unmount:
            await self._mounts.unmount_all()
        # The answer has to leave before the server stops.
        asyncio.get_running_loop().call_later(0.05, self._stop)

    # ---- volumes
    async def create_volume(self, name: str) -> api.VolumeSummary:
        return self._summary(await self._volumes.create(name))

    async def list_volumes(self) -> tuple[api.VolumeSummary, ...]:
        return tuple(self._summary(row) for row in self._volumes.rows())

    async def leave(self, volume: str, delete: bool) -> str:
        row = self._volumes.row(volume)
        self._recovery.require_may_leave(row)
        self.joiner.drop(row.id)
        try:
            await self._mounts.unmount_volume(row.id)
            return await self._volumes.leave(row.id, delete)
        except NoSpace:
            self.joiner.resume(row.id)
            raise

    async def conflicts(self, volume: str, path: bytes) -> tuple[api.Conflict, ...]:
        opened = [self._volumes.find(volume)] if volume else self._volumes.all()
        found = [await conflicts.listed(one, self._volumes.name_of(one.id), path) for one in opened]
        return tuple(conflict for of_one in found for conflict in of_one)

    async def resolve(self, asked: api.Resolution) -> AsyncIterator[api.SettledConflict]:
        opened = [self._volumes.find(asked.volume)] if asked.volume else self._volumes.all()
        for one in opened:
            async with aclosing(conflicts.settled(one, self._volumes.name_of(one.id), asked)) as steps:  # type: ignore[type-var]
                async for step in steps:
                    yield step

    async def read_alternative(self, volume: str, path: bytes, id: str) -> AsyncIterator[bytes]:
        async with aclosing(self._volumes.find(volume).filesystem.alternatives.read(path, id)) as pieces:  # type: ignore[type-var]
            async for data in pieces:
                yield data

    async def wait(self, volume: str, copies: int, timeout_seconds: int) -> AsyncIterator[api.WaitProgress]:
        opened = self._volumes.find(volume)
        sync = opened.sync
        loop = asyncio.get_running_loop()
        limit = loop.time() + timeout_seconds if timeout_seconds else None
        async with aclosing(sync.copy_counts()) as counts:  # type: ignore[type-var]
            while True:
                left = None if limit is None else limit - loop.time()
                try:
                    have = await asyncio.wait_for(anext(counts), left)
                except TimeoutError:
                    yield api.WaitProgress(sync.copies(), False, "")
                    return
                while have >= copies and opened.filesystem.is_behind and (limit is None or loop.time() < limit):
                    await asyncio.sleep(_LOOK_AGAIN_S)  # for a mount, or for room on the disk
                    have = sync.copies()
                done = have >= copies and not opened.filesystem.is_behind
                ignored = sync.store.ignored.count()[0]
                told = _holding(have, copies, ignored) + ("" if done else self._paused(sync))
                yield api.WaitProgress(have, done, told, ignored)
                if done:
                    return

    def _paused(self, sync: VolumeSync) -> str:
        """Sentence that says that the volume is paused, with a space before it; empty where it is not."""
        why = self._hub.pauses.why(sync.id, sync.members.others())
        return f" {why}" if why else ""

    # ---- members
    async def share(
        self, volume: str, role: Role, uses: int, expires_seconds: int, reuse: bool = False
    ) -> api.ShareReply:
        opened = self._volumes.find(volume)
        name = self._volumes.name_of(opened.id)
        addresses, relay = self._endpoint.addresses(), self._endpoint.relay_url()
        issued = self._hub.inviter.make(opened.id, role, name, addresses, relay, uses, expires_seconds, reuse)
        return api.ShareReply(issued.ticket, issued.expires_at_ms, issued.uses, issued.role)

    async def invites(self, volume: str) -> tuple[api.InviteSummary, ...]:
        rows = self._hub.inviter.outstanding(self._volumes.find(volume).id)
        return tuple(report.invite(row) for row in sorted(rows, key=lambda row: row.made_ms))

    async def revoke_invite(self, volume: str, invite: str) -> tuple[api.InviteSummary, ...]:
        rows = self._hub.inviter.revoke(self._volumes.find(volume).id, invite)
        return tuple(report.invite(row) for row in rows)

    async def recovery_code(self, volume: str, forget: bool) -> str:
        return self._recovery.code(volume, forget)

    async def recover(self, code: str, name: str, sources: tuple[str, ...]) -> api.VolumeSummary:
        return self._summary(await self._recovery.recover(code, name, sources))

    async def members(self, volume: str) -> tuple[api.Member, ...]:
        return report.members(self._volumes.find(volume), self._device)

    async def set_member(
        self, volume: str, device: str, role: Role | None, keep_invites: bool = False, undo: bool = False
    ) -> api.Member:
        opened = self._volumes.find(volume)
        target = _find_member(opened, device, shell_word(volume))
        inviter = self._hub.inviter
        known = inviter.redeemed_by(opened.id, target)
        if role is not None:
            opened.sync.set_member(target, role)
        elif keep_invites:
            with inviter.keeping(opened.id, target):
                opened.sync.remove_member(target, undo)
        else:
            opened.sync.remove_member(target, undo)
        good = inviter.outstanding(opened.id)
        revoked = tuple(report.invite(row) for row in known if row not in good)
        found = next(member for member in report.members(opened, self._device) if member.device_id == target.hex())
        return replace(found, revoked=revoked)

    # ---- joining
    async def join(self, ticket: str, name: str, no_wait: bool) -> AsyncIterator[api.JoinProgress]:
        invite = decode_ticket(ticket)
        chosen = self._name_for(invite, name)
        fresh = self._volumes.row_of(invite.volume) is None
        with self._store.db.transaction():
            if fresh:
                self._volumes.reserve(invite.volume, chosen)
            self.joiner.note(invite, ticket, chosen)
        join = self.joiner.begin(invite, chosen)
        try:
            async with aclosing(self.joiner.follow(join, no_wait)) as steps:  # type: ignore[type-var]
                async for step in steps:
                    yield step if step.volume else api.JoinProgress(step.stage, step.message, self._joining(invite))
        except HoloError:
            # Refused while the person watches: as if it had never been asked.
            self.joiner.drop(invite.volume)
            with self._store.db.transaction():
                self._store.delete_join(invite.volume)
            if fresh:
                self._volumes.forget(invite.volume)
            raise

    def _name_for(self, invite: Invite, wanted: str) -> str:
        row = self._volumes.row_of(invite.volume)
        if row is None:
            if wanted:
                self._volumes.require_free(check_volume_name(wanted))
                return wanted
            return free_name(invite.volume_name, self._volumes.names())
        opened = self._volumes.get(invite.volume)
        role = opened.sync.role if opened is not None else None
        if role is not None and role >= invite.role:
            raise VolumeExists(f"This device already holds this volume; it is called {row.name!r} here.")
        if wanted and wanted != row.name:
            raise BadArgument(f"This device already knows this volume as {row.name!r}.")
        return row.name

    def _joining(self, invite: Invite) -> api.VolumeSummary | None:
        row = self._volumes.row_of(invite.volume)
        return self._summary(row) if row is not None else None

    async def _redeem(self, invite: Invite) -> Credentials:
        return (await redeem(self._endpoint, invite, self._hub.names.own)).credentials

    async def _enter(self, invite: Invite, name: str, credentials: Credentials) -> api.VolumeSummary:
        row = await self._volumes.enter(invite.volume, credentials)
        self._hub.learn_issuer(invite)
        return self._summary(row)

    # ---- mounts
    async def mount(self, volume: str, path: str, options: api.MountOptions) -> api.MountInfo:
        self._volumes.filesystem(volume)
        return await self._mounts.mount(self._volumes.row(volume).id, path, options)

    async def unmount(self, path: str, force: bool) -> bool:
        return not await self._mounts.unmount(path, force)

    async def restore_mounts(self) -> tuple[api.MountInfo, ...]:
        return await self._mounts.restore()

    def mount_heard(self, mount_id: str, program: str, api_version: int) -> None:
        self._mounts.heard(mount_id, program, api_version)

    async def caught_up(self) -> None:
        await asyncio.gather(*(volume.filesystem.caught_up() for volume in self._volumes.all()))

    async def filesystem(self, volume: str) -> Filesystem:
        told, at, moment = volume.rpartition("@")
        if (
            at
            and moment.isascii()
            and moment.isdecimal()
            and len(moment) <= _MOST_DIGITS
            and volume not in self._volumes.names()
        ):
            return PastMount(self._volumes.filesystem(told), int(moment))
        return self._volumes.filesystem(volume)

    # ---- fsck
    async def fsck(self, volume: str, orders: api.FsckOrders) -> tuple[api.FsckVolume, ...]:
        rows = [self._volumes.row(volume)] if volume else self._volumes.rows()
        return tuple([await self._fsck(row, orders) for row in rows if row.state == READY])

    async def fsck_device(self) -> api.FsckVolume:
        return await self._volumes.beside(lambda: check_device_in_use(self._config.state))

    async def _fsck(self, row: VolumeRow, orders: api.FsckOrders) -> api.FsckVolume:
        directory = self._volumes.directory(row.id)
        if orders.repair or orders.from_backup:
            return await self._volumes.closed_for(row, lambda: check_closed(row, directory, self._device, orders))
        if self._volumes.get(row.id) is None:
            return await self._volumes.beside(lambda: check_closed(row, directory, self._device, orders))
        try:
            return await self._volumes.beside(lambda: check_in_use(row, directory, self._device, orders))
        except OSError:
            if self._volumes.row_of(row.id) is None:
                raise VolumeUnknown(f"The volume {row.name} was left while it was checked.") from None
            raise

    # ---- views
    def _summary(self, row: VolumeRow) -> api.VolumeSummary:
        opened = self._volumes.get(row.id)
        if opened is not None:
            return api.VolumeSummary(row.id.hex(), row.name, opened.sync.role, "ready")
        damage = self._volumes.damage.get(row.id)
        if damage is not None:
            return api.VolumeSummary(row.id.hex(), row.name, None, "damaged", damage)
        return api.VolumeSummary(row.id.hex(), row.name, None, "joining", self.joiner.explanation(row.id))

    def _volume_status(self, row: VolumeRow) -> api.VolumeStatus:
        opened = self._volumes.get(row.id)
        summary = self._summary(row)
        return report.volume_status(summary, opened) if opened is not None else api.VolumeStatus(summary)


def _holding(have: int, copies: int, ignored: int) -> str:
    told = f"{have} of {count(copies, 'other device')} {'holds' if copies == 1 else 'hold'} everything"
    if not ignored:
        return f"{told}."
    return f"{told}; {count(ignored, 'ignored file')} {'is' if ignored == 1 else 'are'} on this device only."


def _find_member(opened: OpenVolume, told: str, word: str) -> DeviceId:
    """Finds a member by node key, the beginning of one (eight digits at least), or name. Raises DeviceUnknown,
    BadArgument."""
    membership = opened.sync.membership
    known = set(membership.roles) | set(membership.removed)
    name_of = opened.sync.members.name_of
    found = [device for device in known if device.hex() == told.lower()]
    if not found and len(told) >= 8:
        found = [device for device in known if device.hex().startswith(told.lower())]
    if not found:
        found = [device for device in known if name_of(device) == told]
    if len(found) > 1:
        raise BadArgument(
            f"Several members are called {told!r}; tell the device's id, `holofsctl members {word}` shows it."
        )
    if not found:
        near = did_you_mean(told, map(name_of, known))
        shows = f"`holofsctl members {word}` shows those it has"
        raise DeviceUnknown(f"The volume has no member {told!r}; {shows}.{near}")
    return found[0]
