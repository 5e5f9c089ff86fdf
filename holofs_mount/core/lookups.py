# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookups: names, attributes and listings, from the caches where they are complete, else from the daemon."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from holofs_api import PAST_INO
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.caches import NEEDS_LOOKUP, CachedListing
from holofs_mount.core.daemon_calls import DaemonCalls
from holofs_mount.core.directory_read_ahead import DirectoryReadAhead
from holofs_mount.core.mount_state import MountState, check_name
from holofs_mount.write_behind.queue import WriteBehindQueue

HIDDEN: Final = b".holofs"
"""Name in the root that leads to past states of the volume. No listing has it."""
_PAGE: Final = 2_000
_LOAD_AFTER: Final = 3
"""Lookups in one directory before its whole listing is fetched in the background."""
_ASK_SINGLY: Final = 16
_TRIES: Final = 3
"""Attempts to load the listing of a directory that changes all the time, before its names are looked up singly."""
_MAX_ASKED: Final = 10_000


@contextmanager
def suppress_gone() -> Iterator[None]:
    """Suppresses the error of the daemon about an inode or name that it does not know any more."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESTALE):
            raise


class Lookups:
    """Lookup, getattr, readlink and listing."""

    def __init__(self, state: MountState, daemon: DaemonCalls, queue: WriteBehindQueue) -> None:
        self._state = state
        self._daemon = daemon
        self._queue = queue
        self._asked: dict[int, int] = {}
        self._loads: dict[int, asyncio.Future[CachedListing]] = {}
        self._read_ahead = DirectoryReadAhead(
            self._has_listing, lambda ino: daemon.in_background(self._load_quietly(ino))
        )

    async def lookup(self, parent: int, name: bytes) -> pb.Attr:
        check_name(name)
        self._state.gone.check(parent)
        if name == HIDDEN and parent == self._state.root:
            return await self._ask_hidden(parent, name)
        listing = self._state.listings.get(parent)
        if listing is None:
            return await self._ask_lookup(parent, name)
        ino = listing.names.get(name)
        if ino is None:
            raise OSError(errno.ENOENT, "no such name")
        cached = self._state.attrs.get(ino)
        if cached is not None:
            return self._state.shown(cached)
        return await self._ask_lookup(parent, name)

    async def _ask_hidden(self, parent: int, name: bytes) -> pb.Attr:
        """Looks the hidden name up, about which the listing of the root says nothing."""
        since = self._state.epochs.now
        attr: pb.Attr = await self._daemon.call("lookup", pb.LookupRequest(parent=parent, name=name))
        return self._state.cache_attr(attr, since)

    async def _ask_lookup(self, parent: int, name: bytes) -> pb.Attr:
        self._maybe_load(parent)
        since = self._state.epochs.now
        try:
            attr: pb.Attr = await self._daemon.call("lookup", pb.LookupRequest(parent=parent, name=name))
        except OSError as error:
            if error.errno == errno.ENOENT:
                self._found(parent, name, 0, since)
            elif error.errno == errno.ESTALE and self._state.gone.removed(parent) is not None:
                self._state.gone.check(parent)
            raise
        self._found(parent, name, attr.ino, since)
        return self._state.cache_attr(attr, since)

    def _found(self, parent: int, name: bytes, ino: int, since: int) -> None:
        if self._state.epochs.unchanged((parent, name), since):
            self._state.note_dentry(parent, name, ino)
            self._state.listings.set(parent, name, ino)

    def _maybe_load(self, parent: int) -> None:
        asked = self._asked.get(parent, 0) + 1
        if len(self._asked) > _MAX_ASKED:
            self._asked.clear()
        self._asked[parent] = asked
        if asked >= _LOAD_AFTER and self._state.listings.get(parent) is None and parent not in self._loads:
            self._asked.pop(parent, None)
            self._daemon.in_background(self._load_quietly(parent))

    async def _load_quietly(self, parent: int) -> None:
        try:
            await self._listing(parent)
        except OSError:
            return  # no operation waits for it; one that lists the directory gets the error itself

    async def getattr(self, ino: int) -> pb.Attr:
        return await self._state.gone.ask(ino, lambda: self._getattr(ino), lambda gone: gone.attr)

    async def _getattr(self, ino: int) -> pb.Attr:
        if ino in self._queue:
            await self._queue.set_attr_answered(ino, self._daemon.patience_left)
        known = self._cached_attr(ino)
        if known is not None:
            return known
        file = self._state.table.files.get(ino)
        if file is not None and (file.unlinked or not self._daemon.connected):
            # An open file goes on without the daemon, and without a name.
            return self._state.shown(file.attr)
        since = self._state.epochs.now
        try:
            attr: pb.Attr = await self._daemon.call("get_attr", pb.GetAttrRequest(ino=ino))
        except OSError as error:
            if file is None or error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
            file.unlinked = True  # removed on another mount or device while it is open here
            return self._state.shown(file.attr)
        if file is not None:
            file.attr = attr
        return self._state.cache_attr(attr, since)

    async def attributes(self, parent: int, entries: Sequence[tuple[bytes, int]]) -> list[pb.Attr | None]:
        """Attributes of several names of one directory, each with the inode to which it led. None: gone since."""
        if sum(self._state.attrs.get(ino) is None for _, ino in entries) > _ASK_SINGLY:
            self._state.listings.drop(parent)
            await self._listing(parent)  # a page of names brings their attributes
        return [self._cached_attr(ino) or await self._attributes_if_there(parent, name, ino) for name, ino in entries]

    def _cached_attr(self, ino: int) -> pb.Attr | None:
        """Attributes that need no wait. A listing has most of them; a coroutine for each costs more than the rest."""
        cached = None if ino in self._queue else self._state.attrs.get(ino)
        return None if cached is None else self._state.shown(cached)

    async def _attributes_if_there(self, parent: int, name: bytes, ino: int) -> pb.Attr | None:
        """Attributes of the inode, or, if it was replaced since, of the one at its name. None: neither is there."""
        with suppress_gone():
            return await self.getattr(ino)
        if name not in (b".", b".."):
            with suppress_gone():
                return await self.lookup(parent, name)
        return None

    async def readlink(self, ino: int) -> bytes:
        reply: pb.ReadLinkReply = await self._daemon.call("read_link", pb.ReadLinkRequest(ino=ino))
        return reply.target

    async def listing(self, parent: int) -> CachedListing:
        """All names of a directory; none needs a lookup. Operations that need the same listing share one load."""
        self._read_ahead.requested(parent)
        return await self._state.gone.ask(parent, lambda: self._listing(parent), lambda gone: CachedListing({}))

    def _has_listing(self, parent: int) -> bool:
        """Whether the listing is cached or being loaded."""
        return parent in self._loads or self._state.listings.get(parent) is not None

    async def _listing(self, parent: int) -> CachedListing:
        for _ in range(_TRIES):
            cached = self._state.listings.get(parent)
            if cached is not None and cached.needs_lookup:
                cached = await self._with_lookups(parent, cached)
            if cached is not None:
                return cached
            loaded = await self._shared_load(parent)
            if not loaded.needs_lookup:
                return loaded
        return CachedListing(await self._look_up_singly(parent, loaded))

    async def _look_up_singly(self, parent: int, listing: CachedListing) -> dict[bytes, int]:
        """Names of a directory that changes all the time: each that needs a lookup is looked up."""
        names: dict[bytes, int] = {}
        for name, ino in list(listing.names.items()):
            with suppress(FileNotFoundError):
                names[name] = ino if ino != NEEDS_LOOKUP else (await self._ask_lookup(parent, name)).ino
        return names

    async def _shared_load(self, parent: int) -> CachedListing:
        running = self._loads.get(parent)
        if running is None:
            running = asyncio.ensure_future(self._load(parent))
            self._loads[parent] = running
            running.add_done_callback(lambda done: self._loaded(parent, done))
        return await asyncio.shield(running)

    async def _with_lookups(self, parent: int, listing: CachedListing) -> CachedListing | None:
        """The cached listing, after its names that need a lookup were looked up. None: it has to be loaded anew."""
        if len(listing.needs_lookup) <= _ASK_SINGLY:
            for name in list(listing.needs_lookup):
                with suppress(FileNotFoundError):
                    await self._ask_lookup(parent, name)
            if not listing.needs_lookup and self._state.listings.get(parent) is listing:
                return listing
        self._state.listings.drop(parent)
        return None

    def _loaded(self, parent: int, done: asyncio.Future[CachedListing]) -> None:
        self._loads.pop(parent, None)
        if not done.cancelled():
            done.exception()  # retrieved: every operation that shared it may have ended

    async def _load(self, parent: int) -> CachedListing:
        loading = self._state.listings.begin(parent)
        try:
            names = await self._pages(parent)
        finally:
            self._state.listings.end(parent, loading)
        for name, ino in loading.overrides.items():
            if ino:
                names[name] = ino
            else:
                names.pop(name, None)
        # What was overtaken by a change that says too little, or a loss of the stream, is good for this once only.
        return CachedListing(names) if loading.broken else self._state.listings.put(parent, names)

    async def _pages(self, parent: int) -> dict[bytes, int]:
        names: dict[bytes, int] = {}
        directories: list[int] = []
        after = b""
        while True:
            since = self._state.epochs.now
            request = pb.ReadDirRequest(ino=parent, after=after, limit=_PAGE)
            page: pb.ReadDirReply = await self._daemon.call("read_dir", request)
            for entry in page.entries:
                names[entry.name] = entry.attr.ino
                if entry.attr.kind == pb.KIND_DIRECTORY:
                    directories.append(entry.attr.ino)
                is_current = self._state.epochs.unchanged(entry.attr.ino, since)
                if is_current and not self._state.may_grow_unnoticed(entry.attr):
                    self._state.attrs.put(entry.attr)
            if page.complete or not page.entries:
                self._read_ahead.listed(parent, directories)
                return names
            after = page.entries[-1].name

    # ---- what is known here ----
    def known_ino(self, parent: int, name: bytes) -> int | None:
        """Inode at a name, as far as known here. The kernel has looked the name up, so it nearly always is known."""
        listing = self._state.listings.get(parent)
        known = listing.names.get(name) if listing is not None else self._state.dentries.get((parent, name))
        return None if known == NEEDS_LOOKUP else known

    def is_free(self, parent: int, name: bytes) -> bool:
        """Whether a name is certainly free: the whole listing of the directory is cached, and does not have it."""
        listing = self._state.listings.get(parent)
        return listing is not None and name not in listing.names and name != HIDDEN and parent < PAST_INO
