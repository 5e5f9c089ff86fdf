# SPDX-License-Identifier: GPL-3.0-or-later
"""Volume as a mount shows it: puts the parts together, follows the Watch stream, and saves files that stay open."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from holofs_api import API_VERSION, VERSION
from holofs_api.mount_access import Allow
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.client import DaemonClient, Observer
from holofs_mount.core.attributes import AttributeOperations
from holofs_mount.core.caches import NEEDS_LOOKUP
from holofs_mount.core.daemon_calls import DaemonCalls
from holofs_mount.core.files import Files
from holofs_mount.core.kernel_timeouts import KernelTimeouts
from holofs_mount.core.local_opens import LocalOpens
from holofs_mount.core.mount_state import Kernel, MountState
from holofs_mount.core.names import Names
from holofs_mount.core.openfile import Freshness, Registration
from holofs_mount.core.registration import Registrar
from holofs_mount.core.saving import Saving
from holofs_mount.write_behind.assembly import WriteBehind

log = structlog.get_logger(__name__)

_SAVE_PERIOD: Final = 1.0


@dataclass(frozen=True, slots=True)
class MountRequest:
    """Arguments of the command line."""

    volume: str
    mountpoint: Path
    socket: Path
    mount_id: str
    read_only: bool
    patience: float
    allow: Allow = Allow.OWNER
    watching: bool = True
    """Programs that watch a folder hear of changes from elsewhere."""


Connect = Callable[[Path, Observer, float], DaemonClient]


class Volume:
    """Core of a mount. A binding calls the operations in `names`, `files`, `saving` and `attributes`."""

    def __init__(self, request: MountRequest, connect: Connect = DaemonClient) -> None:
        self.request = request
        client = self._client = connect(request.socket, self, request.patience)
        state = self.state = MountState(lambda waited: client.patiently(waited))
        state.read_only = request.read_only
        state.allow = request.allow
        self.is_watching = request.watching
        write_behind = self.write_behind = WriteBehind(client, state, state, lambda: state.epochs.now)
        state.attrs.any_pending = lambda: write_behind.queue.any_pending
        daemon = self.daemon = DaemonCalls(client, state.attrs, write_behind.queue, write_behind.creates)
        registrar = Registrar(daemon, write_behind.creates)
        self._local_opens = LocalOpens(state, daemon, registrar)
        self.timeouts = KernelTimeouts(state, daemon, write_behind.queue)
        self.names = Names(state, daemon, write_behind, registrar)
        self.files = Files(state, daemon, write_behind, self.names, self._local_opens, registrar)
        self.saving = Saving(state, daemon, write_behind, self._local_opens, registrar, self.files.stager)
        self.attributes = AttributeOperations(state, daemon, write_behind, self.names, self.files)
        self._saver: asyncio.Task[None] | None = None
        self._attempt = 0

    async def start(self) -> pb.AttachReply:
        """Attaches to the daemon. Raises DaemonUnavailable."""
        reply = await self._client.start()
        self._saver = asyncio.create_task(self._save(), name="holofs-save")
        return reply

    def use_kernel(self, kernel: Kernel) -> None:
        self.state.kernel = kernel

    async def close(self) -> None:
        """Commits and releases files that are still open, then detaches."""
        if self._saver is not None:
            self._saver.cancel()
            await asyncio.gather(self._saver, return_exceptions=True)
        await self.saving.finish()
        self.write_behind.queue.send()
        await self._client.close()
        self.write_behind.journal.close()

    async def _save(self) -> None:
        while True:
            await asyncio.sleep(_SAVE_PERIOD)
            await self.saving.save_quiet()

    # ---- Observer of the client ----
    def hello(self) -> pb.AttachRequest:
        self._attempt += 1
        return pb.AttachRequest(
            api_version=API_VERSION,
            program=f"holofs-mount {VERSION}",
            volume=self.request.volume,
            mount_id=self.request.mount_id,
            mountpoint=str(self.request.mountpoint),
            pid=os.getpid(),
            read_only=self.request.read_only,
            handles=self.state.table.to_reattach(),
            journal=self.write_behind.journal.name,
            acknowledges=True,
            answered=self.write_behind.queue.decided,
            attempt=self._attempt,
        )

    def attached(self, reply: pb.AttachReply) -> None:
        state = self.state
        state.root = reply.root
        state.read_only = reply.read_only or self.request.read_only
        state.inline_limit = reply.inline_limit
        self.write_behind.lease.renew(reply.inos)
        state.only_mount = not reply.shared
        self.write_behind.journal.open(reply.journal)
        self.write_behind.queue.connection_lost()
        for number in reply.lost_handles:
            handle = state.table.handles.get(number)
            if handle is not None:
                handle.registration = Registration.LOST
                # One that is closing was released by the daemon, which died before it answered.
                if not handle.closing:
                    log.error("an open file was lost with the daemon", ino=handle.file.ino)
        for number in reply.displaced_handles:
            self.files.sharing.displaced(state.table.handles.get(number))
        self.invalidate_everything()
        self._invalidate_open_files()

    def lost(self) -> None:
        self.write_behind.queue.connection_lost()
        self.invalidate_everything()

    def changed(self, change: pb.Change) -> None:
        """Follows one message of the Watch stream."""
        self._follow(change)
        if change.number:
            self._acknowledge(change.number)

    def _acknowledge(self, number: int) -> None:
        """Tells the daemon when the kernel has dropped everything that it was told to drop until now.

        The kernel drops a name when it gets the lock of its folder. A call of this mount that is in flight and changes
        names holds such a lock, and its answer may wait for another mount's acknowledgement: each would wait for the
        other. So this mount does not wait for the kernel then; `Undropped` guards what is opened by an old name.
        """
        state = self.state
        if self.daemon.names_in_flight:
            self._client.acknowledge(number)
        else:
            state.kernel.when_dropped(lambda: self._client.acknowledge(number))

    def _follow(self, change: pb.Change) -> None:
        if change.access != pb.ACCESS_UNCHANGED:
            self.state.read_only = change.access == pb.ACCESS_READ_ONLY or self.request.read_only
        if change.company != pb.COMPANY_UNCHANGED:
            self.state.only_mount = change.company == pb.COMPANY_ALONE
            if not self.state.only_mount:
                self.files.sharing.begin()
        if change.reset:
            self.invalidate_everything()
            self._invalidate_open_files()
            return
        for inode in change.inodes:
            self._inode_changed(inode)
        for entry in change.entries:
            self._entry_changed(entry)
        for file in change.files:
            # Pending operations of this mount are not in it.
            if file.attr.ino not in self.write_behind.queue:
                self._local_opens.cache_file(file, self.state.epochs.now)

    def invalidate_everything(self) -> None:
        """Empties all caches, here and in the kernel: changes may have been missed."""
        state = self.state
        state.epochs.bump_all()
        state.remote_epochs.bump_all()
        state.attrs.clear()
        state.listings.clear()
        state.maps.clear()
        state.dentries.clear()
        state.pages.clear()
        state.kernel.everything_changed()

    def _invalidate_open_files(self) -> None:
        """Freezes open files of which the daemon does not know, and makes the others stale."""
        for file in list(self.state.table.files.values()):
            if file.unregistered:
                self.state.table.freeze(file)
            else:
                file.freshness = Freshness.STALE

    def _inode_changed(self, change: pb.InodeChange) -> None:
        state = self.state
        state.epochs.bump(change.ino)
        state.remote_epochs.bump(change.ino)
        state.attrs.drop(change.ino)
        if change.content:
            state.pages.pop(change.ino, None)
            state.bases.changed(change.ino, change.previous, change.version, change.elsewhere)
            state.maps.drop(change.ino)
            state.watchers.content_changed(change.ino)
            file = state.table.files.get(change.ino)
            if file is not None and change.elsewhere and file.unregistered:
                state.table.freeze(file)
            elif file is not None:
                file.content_changed()
        state.kernel.inode_changed(change.ino, change.content)

    def _previous_inode_changed(self, change: pb.EntryChange, ino: int) -> None:
        """Drops the attributes of the inode to which a name led until now: it has one name less, or is removed.

        The kernel is told before it is told of the name: a program which sees that the name is gone sees the rest.
        """
        state = self.state
        known = self._previous_inode(change)
        if known is not None and known not in (ino, NEEDS_LOOKUP):
            state.epochs.bump(known)
            state.remote_epochs.bump(known)
            state.attrs.drop(known)
            state.kernel.inode_changed(known, False)

    def _previous_inode(self, change: pb.EntryChange) -> int | None:
        """Inode to which the name led until now, as far as known here."""
        listing = self.state.listings.get(change.parent)
        if listing is not None:
            return listing.names.get(change.name)
        return self.state.dentries.get((change.parent, change.name))

    def _entry_changed(self, change: pb.EntryChange) -> None:
        state = self.state
        key = (change.parent, change.name)
        for epochs in (state.epochs, state.remote_epochs):
            epochs.bump(key)
            epochs.bump(change.parent)
        ino = 0 if change.gone else change.ino
        state.watchers.name_changed(change.parent, change.name, self._previous_inode(change))
        self._previous_inode_changed(change, ino)
        state.attrs.drop(change.parent)
        if (ino or change.gone) and not state.order_unknown(*key):
            state.listings.set(change.parent, change.name, ino)
            state.note_dentry(change.parent, change.name, ino)
        else:
            # An inode that was never asked for has no number yet; or this mount changed the name itself just now, and
            # the order is unknown.
            state.listings.set(change.parent, change.name, NEEDS_LOOKUP)
            state.note_dentry(change.parent, change.name, 0)
        state.kernel.entry_changed(change.parent, change.name)
        state.kernel.inode_changed(change.parent, False)
