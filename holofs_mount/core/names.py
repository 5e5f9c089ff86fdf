# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations on names and attributes: lookup, listing, making, removing, renaming."""

from __future__ import annotations

import asyncio
import errno
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from holofs_api import PAST_INO
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core import recovery
from holofs_mount.core.caches import UNSURE, Listing
from holofs_mount.core.context import Caller, Context, check_name, now_ns, process_of
from holofs_mount.core.registration import register_all

HIDDEN: Final = b".holofs"
"""In the root: leads to what was."""
_PAGE: Final = 2_000
_LOAD_AFTER: Final = 3
"""Lookups in one directory before its whole listing is fetched in the background."""
_ASK_SINGLY: Final = 16
_TRIES: Final = 3
"""Listings asked for in a row, of a directory that changes all the time."""
_MAX_ASKED: Final = 10_000
RENAME_NOREPLACE: Final = 1
RENAME_EXCHANGE: Final = 2


class Names:
    """Answers from the caches where they are complete, else asks the daemon."""

    def __init__(self, context: Context) -> None:
        self._x = context
        self._asked: dict[int, int] = {}
        self._loads: dict[int, asyncio.Future[Listing]] = {}

    # ---- asking ----
    async def lookup(self, parent: int, name: bytes) -> pb.Attr:
        check_name(name)
        if name == HIDDEN and parent == self._x.root:
            return await self._ask_hidden(parent, name)
        listing = self._x.listings.get(parent)
        if listing is None:
            return await self._ask_lookup(parent, name)
        ino = listing.names.get(name)
        if ino is None:
            raise OSError(errno.ENOENT, "no such name")
        cached = self._x.attrs.get(ino)
        if cached is not None:
            return self._x.shown(cached)
        return await self._ask_lookup(parent, name)

    async def _ask_hidden(self, parent: int, name: bytes) -> pb.Attr:
        """It is in no listing, so what is known of the directory says nothing about it."""
        since = self._x.clock.now
        attr: pb.Attr = await self._x.call("lookup", pb.LookupRequest(parent=parent, name=name))
        return self._x.remember(attr, since)

    async def _ask_lookup(self, parent: int, name: bytes) -> pb.Attr:
        self._maybe_load(parent)
        since = self._x.clock.now
        try:
            attr: pb.Attr = await self._x.call("lookup", pb.LookupRequest(parent=parent, name=name))
        except OSError as error:
            if error.errno == errno.ENOENT:
                self._found(parent, name, 0, since)
            raise
        self._found(parent, name, attr.ino, since)
        return self._x.remember(attr, since)

    def _found(self, parent: int, name: bytes, ino: int, since: int) -> None:
        if self._x.clock.unchanged((parent, name), since):
            self._x.saw(parent, name, ino)
            self._x.listings.set(parent, name, ino)

    def _maybe_load(self, parent: int) -> None:
        asked = self._asked.get(parent, 0) + 1
        if len(self._asked) > _MAX_ASKED:
            self._asked.clear()
        self._asked[parent] = asked
        if asked >= _LOAD_AFTER and self._x.listings.get(parent) is None and parent not in self._loads:
            self._asked.pop(parent, None)
            self._x.client.in_background(self._load_quietly(parent))

    async def _load_quietly(self, parent: int) -> None:
        try:
            await self.listing(parent)
        except OSError:
            return  # nobody waits for it; whoever lists the directory gets the error

    async def getattr(self, ino: int) -> pb.Attr:
        if ino in self._x.later:
            await self._x.later.answered(ino, self._x.client.patience_left)
        cached = self._x.attrs.get(ino)
        if cached is not None:
            return self._x.shown(cached)
        file = self._x.table.files.get(ino)
        if file is not None and (file.unlinked or not self._x.client.connected):
            # An open file goes on without the daemon, and without a name.
            return self._x.shown(file.attr)
        since = self._x.clock.now
        try:
            attr: pb.Attr = await self._x.call("get_attr", pb.GetAttrRequest(ino=ino))
        except OSError as error:
            if file is None or error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
            file.unlinked = True  # removed on another mount or device while it is open here
            return self._x.shown(file.attr)
        if file is not None:
            file.attr = attr
        return self._x.remember(attr, since)

    async def attributes(self, parent: int, inos: Sequence[int]) -> list[pb.Attr | None]:
        """Of several names of one directory; None: gone since it was listed."""
        if sum(self._x.attrs.get(ino) is None for ino in inos) > _ASK_SINGLY:
            self._x.listings.drop(parent)
            await self.listing(parent)  # a page of names brings their attributes
        return [await self._attributes_if_there(ino) for ino in inos]

    async def _attributes_if_there(self, ino: int) -> pb.Attr | None:
        try:
            return await self.getattr(ino)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
            return None

    async def readlink(self, ino: int) -> bytes:
        reply: pb.ReadLinkReply = await self._x.call("read_link", pb.ReadLinkRequest(ino=ino))
        return reply.target

    async def listing(self, parent: int) -> Listing:
        """All names, from the cache or asked for once for all who want it. Nothing in it is unsure."""
        for _ in range(_TRIES):
            cached = self._x.listings.get(parent)
            if cached is not None and cached.unsure:
                cached = await self._made_sure(parent, cached)
            if cached is not None:
                return cached
            loaded = await self._listing_asked_for(parent)
            if not loaded.unsure:
                return loaded
        return Listing({name: ino for name, ino in loaded.names.items() if ino != UNSURE})

    async def _listing_asked_for(self, parent: int) -> Listing:
        running = self._loads.get(parent)
        if running is None:
            running = asyncio.ensure_future(self._load(parent))
            self._loads[parent] = running
            running.add_done_callback(lambda done: self._loaded(parent, done))
        return await asyncio.shield(running)

    async def _made_sure(self, parent: int, listing: Listing) -> Listing | None:
        """The listing of that moment, or None: all of it has to be asked for."""
        if len(listing.unsure) <= _ASK_SINGLY:
            for name in list(listing.unsure):
                with suppress(FileNotFoundError):
                    await self._ask_lookup(parent, name)
            if not listing.unsure and self._x.listings.get(parent) is listing:
                return listing
        self._x.listings.drop(parent)
        return None

    def _loaded(self, parent: int, done: asyncio.Future[Listing]) -> None:
        self._loads.pop(parent, None)
        if not done.cancelled():
            done.exception()  # seen: everyone who wanted it may have gone

    async def _load(self, parent: int) -> Listing:
        loading = self._x.listings.begin(parent)
        try:
            names = await self._pages(parent)
        finally:
            self._x.listings.end(parent, loading)
        for name, ino in loading.overrides.items():
            if ino:
                names[name] = ino
            else:
                names.pop(name, None)
        # What was overtaken by a change that says too little, or a loss of the stream, is good for this once only.
        return Listing(names) if loading.broken else self._x.listings.put(parent, names)

    async def _pages(self, parent: int) -> dict[bytes, int]:
        names: dict[bytes, int] = {}
        after = b""
        while True:
            since = self._x.clock.now
            request = pb.ReadDirRequest(ino=parent, after=after, limit=_PAGE)
            page: pb.ReadDirReply = await self._x.call("read_dir", request)
            for entry in page.entries:
                names[entry.name] = entry.attr.ino
                if self._x.clock.unchanged(entry.attr.ino, since):
                    self._x.attrs.put(entry.attr)
            if page.complete or not page.entries:
                return names
            after = page.entries[-1].name

    # ---- making ----
    async def mkdir(self, parent: int, name: bytes, mode: int) -> pb.Attr:
        self._check_new(name)
        since = self._x.clock.now
        request = pb.MakeDirRequest(parent=parent, name=name, mode=stat.S_IMODE(mode))
        promised = self._promised_dir(request)
        if promised is not None:
            return promised
        fits = recovery.made_since(pb.KIND_DIRECTORY)
        attr: pb.Attr = await self._x.call("make_dir", request, recovery.made(self._x.call, parent, name, fits))
        self.came(parent, name, attr, since)
        self._x.attrs.drop(parent)  # its link count changed
        if self._x.clock.unchanged(attr.ino, since) and self._x.listings.get(attr.ino) is None:
            self._x.listings.put(attr.ino, {})  # just made: nothing in it
        return self._x.settle(attr, since)

    def _promised_dir(self, request: pb.MakeDirRequest) -> pb.Attr | None:
        """Nobody has to wait for the daemon to make it (ADR 11). None: somebody has to."""
        x, now = self._x, now_ns()
        if not self.is_free(request.parent, request.name) or not x.may_promise:
            return None
        if x.newborn.numbers.few:
            return None  # only with a file the daemon is asked for more
        request.ino = x.newborn.numbers.take()
        attr = pb.Attr(ino=request.ino, kind=pb.KIND_DIRECTORY, mode=request.mode, nlink=2, mtime_ns=now, ctime_ns=now)
        if not x.later.promise("make_dir", request, lambda reply: self._dir_made(request, reply)):
            request.ino = 0
            return None
        since = x.clock.now
        self.came(request.parent, request.name, attr, since, subdirectories=1)
        x.listings.put(attr.ino, {})
        shown = x.settle(attr, since)
        x.attrs.touch_directory(attr.ino, now)
        return shown

    def _dir_made(self, request: pb.MakeDirRequest, reply: pb.Attr) -> None:
        """Its times are still those of what was made in it since: they are asked for when that is done."""
        if reply.ino != request.ino:  # gone since, or under another number
            self._x.unsure_of(request.parent, request.name)

    def is_free(self, parent: int, name: bytes) -> bool:
        """For sure: all names of the directory are known here."""
        listing = self._x.listings.get(parent)
        return listing is not None and name not in listing.names and name != HIDDEN and parent < PAST_INO

    async def mknod(self, parent: int, name: bytes, mode: int) -> pb.Attr:
        self._check_new(name)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EPERM, "HoloFS keeps files, directories and symbolic links")
        since = self._x.clock.now
        request = pb.CreateRequest(parent=parent, name=name, mode=stat.S_IMODE(mode), exclusive=True)
        reply: pb.CreateReply = await self._x.call("create", request, recovery.created(self._x.call, request))
        self.came(parent, name, reply.attr, since)
        return self._x.settle(reply.attr, since)

    async def symlink(self, parent: int, name: bytes, target: bytes) -> pb.Attr:
        self._check_new(name)
        since = self._x.clock.now
        attr: pb.Attr = await self._x.call(
            "symlink",
            pb.SymlinkRequest(parent=parent, name=name, target=target),
            recovery.made(self._x.call, parent, name, recovery.made_link(self._x.call, target)),
        )
        self.came(parent, name, attr, since)
        return self._x.settle(attr, since)

    async def link(self, ino: int, parent: int, name: bytes) -> pb.Attr:
        self._check_new(name)
        since = self._x.clock.now

        async def fits(attr: pb.Attr) -> bool:
            return attr.ino == ino

        attr: pb.Attr = await self._x.call(
            "link",
            pb.LinkRequest(ino=ino, parent=parent, name=name),
            recovery.made(self._x.call, parent, name, fits),
        )
        self.came(parent, name, attr, since)
        file = self._x.table.files.get(ino)
        if file is not None:
            file.unlinked = False
        return self._x.settle(attr, since)

    # ---- removing ----
    async def unlink(self, parent: int, name: bytes) -> None:
        self._check_new(name)
        since = self._x.clock.now
        known = self.known(parent, name)
        request = pb.UnlinkRequest(parent=parent, name=name)
        if known is not None and self._goes_for_sure(parent, known):
            request.ino = known
            self._x.later.remove(request)
        else:
            if known is not None:
                await register_all(self._x, self._x.table.files.get(known))
            await self._x.call("unlink", request, recovery.gone(errno.ENOENT))
        self._went(parent, name, since)
        self._lost_name(known)

    def _goes_for_sure(self, parent: int, ino: int) -> bool:
        """Nobody has to wait for the daemon to remove this name (ADR 10)."""
        x, attr = self._x, self._x.attrs.get(ino)
        if attr is None or attr.kind == pb.KIND_DIRECTORY or ino in x.table.files or parent >= PAST_INO:
            return False
        return x.client.connected and not x.later.full and not x.newborn.any

    async def rmdir(self, parent: int, name: bytes) -> None:
        self._check_new(name)
        since = self._x.clock.now
        known = self.known(parent, name)
        request = pb.UnlinkRequest(parent=parent, name=name)
        await self._x.call("remove_dir", request, recovery.gone(errno.ENOENT))
        self._went(parent, name, since)
        self._x.attrs.drop(parent)
        if known is not None:
            self._x.touched(known)
            self._x.attrs.drop(known)
            self._x.listings.drop(known)

    async def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int, caller: Caller
    ) -> None:
        self._check_new(new_name)
        check_name(name)
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) or flags == RENAME_NOREPLACE | RENAME_EXCHANGE:
            raise OSError(errno.EINVAL, "unknown flags")
        since = self._x.clock.now
        source, target = self.known(parent, name), self.known(new_parent, new_name)
        request = pb.RenameRequest(
            parent=parent,
            name=name,
            new_parent=new_parent,
            new_name=new_name,
            no_replace=bool(flags & RENAME_NOREPLACE),
            exchange=bool(flags & RENAME_EXCHANGE),
        )
        pid = 0
        if target is not None:
            await register_all(self._x, self._x.table.files.get(target))
        if target is not None and self._x.bases.any_stale(target):
            pid = process_of(caller.pid)
            request.base = self._x.bases.base(target, pid)
        await self._x.call("rename", request, recovery.renamed(self._x.call, request, source))
        if target is not None and pid:
            self._x.bases.has_written(target, pid)
        self._moved(request, source, target, since)

    # ---- what our own changes mean for the caches ----
    def came(self, parent: int, name: bytes, attr: pb.Attr, since: int, subdirectories: int = 0) -> None:
        """This mount made a name. Where others changed it meanwhile we cannot tell who was last: ask again."""
        if self._x.clock.unchanged((parent, name), since):
            self._x.listings.set(parent, name, attr.ino)
            self._x.saw(parent, name, attr.ino)
        else:
            self._x.listings.set(parent, name, UNSURE)
            self._x.saw(parent, name, 0)
        self._x.touched((parent, name), parent)
        self._x.attrs.touch_directory(parent, attr.ctime_ns, subdirectories)

    def _went(self, parent: int, name: bytes, since: int) -> None:
        if self._x.clock.unchanged((parent, name), since):
            self._x.listings.set(parent, name, 0)
        else:
            self._x.listings.set(parent, name, UNSURE)
        self._x.saw(parent, name, 0)
        self._x.touched((parent, name), parent)
        self._x.attrs.touch_directory(parent, now_ns())

    def _lost_name(self, ino: int | None) -> None:
        """An inode lost one of its names to this mount's unlink or rename."""
        if ino is None:
            return
        file = self._x.table.files.get(ino)
        last = self._x.attrs.get(ino) or (file.attr if file is not None else None)
        if file is not None and last is not None and last.nlink <= 1:
            file.unlinked = True
        self._x.touched(ino)
        self._x.attrs.drop(ino)

    def _moved(self, request: pb.RenameRequest, source: int | None, target: int | None, since: int) -> None:
        old, new = (request.parent, request.name), (request.new_parent, request.new_name)
        certain = source is not None and self._x.clock.unchanged(old, since) and self._x.clock.unchanged(new, since)
        if certain and source != target and source is not None:
            for keep in (self._x.listings.set, self._x.saw):
                keep(*old, (target or 0) if request.exchange else 0)
                keep(*new, source)
        elif not certain:
            for place in (old, new):
                self._x.listings.set(*place, UNSURE)
                self._x.saw(*place, 0)
        if not request.exchange and source != target:
            self._lost_name(target)
        self._x.touched(old, new)
        for ino in (source, target):
            if ino is not None:
                self._x.touched(ino)
                self._x.attrs.drop(ino)
        for parent in {request.parent, request.new_parent}:
            if request.parent == request.new_parent and not request.exchange:
                self._x.attrs.touch_directory(parent, now_ns())
            else:
                self._x.attrs.drop(parent)  # a moved directory changes link counts

    def known(self, parent: int, name: bytes) -> int | None:
        """The inode at a name as far as known here; the kernel has looked it up, so it nearly always is."""
        listing = self._x.listings.get(parent)
        known = listing.names.get(name) if listing is not None else self._x.seen.get((parent, name))
        return None if known == UNSURE else known

    def _check_new(self, name: bytes) -> None:
        check_name(name)
        self._x.check_writable()
