# SPDX-License-Identifier: GPL-3.0-or-later
"""One mounted volume: puts the parts together, follows the Watch stream, and looks after files that stay open."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from holofs_api import API_VERSION
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount import VERSION
from holofs_mount.client import DaemonClient
from holofs_mount.core.attributes import Attributes
from holofs_mount.core.caches import UNSURE
from holofs_mount.core.context import Context, Kernel
from holofs_mount.core.files import Files
from holofs_mount.core.light import LightOpens
from holofs_mount.core.names import Names
from holofs_mount.core.saving import Saving
from holofs_mount.core.sharing import Sharing

log = structlog.get_logger(__name__)

_SAVE_PERIOD: Final = 1.0


@dataclass(frozen=True, slots=True)
class MountRequest:
    """What was asked for on the command line."""

    volume: str
    mountpoint: Path
    socket: Path
    mount_id: str
    read_only: bool
    patience: float


class Volume:
    """The core of a mount. `names`, `files`, `saving` and `attributes` are the operations: all that a binding calls."""

    def __init__(self, request: MountRequest) -> None:
        self.request = request
        self.context = Context()
        self.context.read_only = request.read_only
        self.context.client = DaemonClient(request.socket, self, request.patience)
        self.names = Names(self.context)
        self._light = LightOpens(self.context)
        self._sharing = Sharing(self.context)
        self.files = Files(self.context, self.names, self._light, self._sharing)
        self.saving = Saving(self.context, self.names, self._light)
        self.attributes = Attributes(self.context, self.names, self.files)
        self._saver: asyncio.Task[None] | None = None
        self._attempt = 0

    async def start(self) -> pb.AttachReply:
        """Attaches; DaemonUnavailable with a sentence where that fails."""
        reply = await self.context.client.start()
        self._saver = asyncio.create_task(self._save(), name="holofs-save")
        return reply

    def use_kernel(self, kernel: Kernel) -> None:
        self.context.kernel = kernel

    async def close(self) -> None:
        """Hands over what is still open, then detaches."""
        if self._saver is not None:
            self._saver.cancel()
            await asyncio.gather(self._saver, return_exceptions=True)
        await self.saving.finish()
        self.context.later.send()
        await self.context.client.close()
        self.context.journal.close()

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
            handles=self.context.table.to_reattach(),
            journal=self.context.journal.name,
            acknowledges=True,
            answered=self.context.later.decided,
            attempt=self._attempt,
        )

    def attached(self, reply: pb.AttachReply) -> None:
        x = self.context
        x.root = reply.root
        x.read_only = reply.read_only or self.request.read_only
        x.inline_limit = reply.inline_limit
        x.newborn.numbers.lease(reply.inos)
        x.newborn.alone = not reply.shared
        x.journal.open(reply.journal)
        x.later.interrupted()
        for number in reply.lost_handles:
            handle = x.table.handles.get(number)
            if handle is not None:
                handle.lost = True
                # One that is closed already was let go by the daemon, which died before it could say so.
                if not handle.closing:
                    log.error("an open file was lost with the daemon", ino=handle.file.ino)
        for number in reply.displaced_handles:
            self._sharing.displaced(x.table.handles.get(number))
        self.forget_everything()
        self._ask_again()

    def lost(self) -> None:
        self.context.later.interrupted()
        self.forget_everything()

    def changed(self, change: pb.Change) -> None:
        """One message of the Watch stream."""
        self._follow(change)
        if change.number:
            self._acknowledge(change.number)

    def _acknowledge(self, number: int) -> None:
        """Tells the daemon when the kernel has dropped what it was told of until now.

        The kernel drops a name when it gets the lock of its folder. A call of this mount that is in flight and changes
        names holds such a lock, and its answer may wait for another mount's acknowledgement: each would wait for the
        other. So this mount does not wait for the kernel then; `Undropped` guards what is opened by an old name.
        """
        x = self.context
        if x.changing_names:
            x.client.acknowledge(number)
        else:
            x.kernel.when_dropped(lambda: x.client.acknowledge(number))

    def _follow(self, change: pb.Change) -> None:
        if change.access != pb.ACCESS_UNCHANGED:
            self.context.read_only = change.access == pb.ACCESS_READ_ONLY or self.request.read_only
        if change.company != pb.COMPANY_UNCHANGED:
            self.context.newborn.alone = change.company == pb.COMPANY_ALONE
            if not self.context.newborn.alone:
                self._sharing.begin()
        if change.reset:
            self.forget_everything()
            self._ask_again()
            return
        for inode in change.inodes:
            self._inode_changed(inode)
        for entry in change.entries:
            self._entry_changed(entry)
        for file in change.files:
            # What we did ourselves and the daemon has not carried out is not in it.
            if file.attr.ino not in self.context.later:
                self._light.told(file, self.context.clock.now)

    def forget_everything(self) -> None:
        x = self.context
        x.clock.touch_all()
        x.news.touch_all()
        x.attrs.clear()
        x.listings.clear()
        x.maps.clear()
        x.seen.clear()
        x.pages.clear()
        x.kernel.everything_changed()

    def _ask_again(self) -> None:
        """The content of open files may have changed unseen."""
        for file in list(self.context.table.files.values()):
            if file.light:
                self.context.table.freeze(file)
            else:
                file.stale = True

    def _inode_changed(self, change: pb.InodeChange) -> None:
        x = self.context
        x.clock.touch(change.ino)
        x.news.touch(change.ino)
        x.attrs.drop(change.ino)
        if change.content:
            x.pages.pop(change.ino, None)
            x.bases.changed(change.ino, change.previous, change.version, change.elsewhere)
            x.maps.drop(change.ino)
            file = x.table.files.get(change.ino)
            if file is not None and change.elsewhere and file.light:
                x.table.freeze(file)
            elif file is not None:
                file.stale = True
                file.behind = False
        x.kernel.inode_changed(change.ino, change.content)

    def _lost_name(self, change: pb.EntryChange, ino: int) -> None:
        """What the name led to until now has one name less, or is gone. Told before the name is: who sees that the
        name is gone sees the rest."""
        x = self.context
        listing = x.listings.get(change.parent)
        known = listing.names.get(change.name) if listing is not None else x.seen.get((change.parent, change.name))
        if known is not None and known not in (ino, UNSURE):
            x.clock.touch(known)
            x.news.touch(known)
            x.attrs.drop(known)
            x.kernel.inode_changed(known, False)

    def _entry_changed(self, change: pb.EntryChange) -> None:
        x = self.context
        key = (change.parent, change.name)
        for clock in (x.clock, x.news):
            clock.touch(key)
            clock.touch(change.parent)
        ino = 0 if change.gone else change.ino
        self._lost_name(change, ino)
        x.attrs.drop(change.parent)
        if (ino or change.gone) and not x.order_unknown(*key):
            x.listings.set(change.parent, change.name, ino)
            x.saw(change.parent, change.name, ino)
        else:
            # Something nobody has asked for yet has no number; or we changed the name ourselves just now, and who was
            # last is not known here. The name has to be asked for again.
            x.listings.set(change.parent, change.name, UNSURE)
            x.saw(change.parent, change.name, 0)
        x.kernel.entry_changed(change.parent, change.name)
        x.kernel.inode_changed(change.parent, False)
