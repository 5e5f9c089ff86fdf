# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of the core share: the connection, the caches, the open files, and what they tell the kernel."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Final, NamedTuple, Protocol

from google.protobuf.message import Message

from holofs_api.stamps import CLOCK
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.client import DaemonClient, Recover
from holofs_mount.core.bases import ReadTracker
from holofs_mount.core.caches import PATCH_SECONDS, UNSURE, AttrCache, ListingCache, MapCache
from holofs_mount.core.clock import ChangeClock
from holofs_mount.core.journal import Journal
from holofs_mount.core.later import Later
from holofs_mount.core.newborn import Newborn
from holofs_mount.core.openfile import HandleTable

KERNEL_SECONDS: Final = 3600.0
"""How long the kernel may keep what we told it; it is told when something changes."""
NAME_MAX: Final = 255
MAX_SEEN: Final = 100_000
NEWS_SECONDS: Final = 15.0
"""How late news of a change can be, at most, on a busy machine."""


_OF_KNOWN_FILES: Final = frozenset({"commit", "stage", "fetch", "release", "stat_fs"})
"""Calls that have nothing to do with files that the daemon does not know yet."""
_OF_NAMES: Final = frozenset({"create", "make_dir", "symlink", "link", "unlink", "remove_dir", "rename"})
"""Calls that change names: the kernel holds the lock of the folder until they are answered."""
_OF_AN_INODE: Final = frozenset(
    {"get_attr", "set_attr", "read_link", "open", "get_xattr", "set_xattr", "list_xattr", "remove_xattr"}
)
"""Calls about the inode to which a name led; a file that was replaced is another inode."""
_LASTING: Final = frozenset({"stage", "fetch"})
"""Calls that take as long as content takes to come from elsewhere, not as long as what is before them."""


class Caller(NamedTuple):
    """Who asks. `pid` is a thread's id as the kernel tells it, 0 where unknown."""

    pid: int


NOBODY: Final = Caller(0)


class Kernel(Protocol):
    """The kernel's caches, as far as a binding reaches them. Never blocks, may be called from any handler."""

    def inode_changed(self, ino: int, content: bool) -> None: ...
    def entry_changed(self, parent: int, name: bytes) -> None: ...
    def everything_changed(self) -> None: ...
    def when_dropped(self, then: Callable[[], None]) -> None:
        """Calls `then`, on the loop, when the kernel has dropped all that it was told of before."""
        ...


class NoKernel:
    """For bindings that let the kernel cache nothing."""

    def inode_changed(self, ino: int, content: bool) -> None:
        pass

    def entry_changed(self, parent: int, name: bytes) -> None:
        pass

    def everything_changed(self) -> None:
        pass

    def when_dropped(self, then: Callable[[], None]) -> None:
        then()


class Context:
    """`news` is touched by what others did, `clock` by that and by what this mount did itself."""

    def __init__(self) -> None:
        self.client: DaemonClient
        self.kernel: Kernel = NoKernel()
        self.attrs = AttrCache()
        self.gone = self.attrs.gone
        self.listings = ListingCache()
        self.maps = MapCache()
        self.clock = ChangeClock()
        self.news = ChangeClock()
        self.bases = ReadTracker()
        self.table = HandleTable(lambda waited: self.client.patiently(waited))
        self.uid = os.getuid()
        self.gid = os.getgid()
        self.root = 1
        self.read_only = False
        self.inline_limit = 65_536
        # Where names led when the kernel was told of them, for those in no cached listing.
        self.seen: dict[tuple[int, bytes], int] = {}
        self._own_names: dict[tuple[int, bytes], float] = {}
        # What the kernel's pages of an inode hold: a version, or OWN where this mount wrote them.
        self.pages: dict[int, bytes] = {}
        self.changing_names = 0
        """Calls that change names and are not answered yet."""
        self.journal = Journal()
        self.later = Later(lambda: self.client, lambda: self.clock.now, self, self.journal)
        self.attrs.still_on_their_way = lambda: self.later.any
        self.newborn = Newborn(self.guessed)

    async def call(self, name: str, request: Message, recover: Recover | None = None) -> Any:
        try:
            return await self._call(name, request, recover)
        except OSError as error:
            if name not in _OF_AN_INODE or error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
            # Its name leads elsewhere, and the news is still on its way. ESTALE makes the kernel look the name up once
            # more, and without attributes the lookup asks the daemon.
            self.attrs.drop(request.ino)  # type: ignore[attr-defined]
            raise OSError(errno.ESTALE, "this inode is gone") from None

    async def _call(self, name: str, request: Message, recover: Recover | None) -> Any:
        with nullcontext() if name in _LASTING else self.later.somebody_waits():
            await self.later.in_order(self.client.patience_left)
            if self.newborn.any and name not in _OF_KNOWN_FILES:
                await self.newborn.all_known(self.client)
            if name not in _OF_NAMES:
                return await self.client.call(name, request, recover)
            self.changing_names += 1
            try:
                return await self.client.call(name, request, recover)
            finally:
                self.changing_names -= 1

    def changed_later(self, ino: int, attr: pb.Attr | None, since: int) -> None:
        if attr is not None:
            self.settle(attr, since)
        else:
            self.touched(ino)
            self.guessed(ino)

    def unsure_of(self, parent: int, name: bytes) -> None:
        """The name is not what we took it to be: ask again."""
        self.listings.set(parent, name, UNSURE)
        self.attrs.drop(parent)
        self.saw(parent, name, 0)
        self.touched((parent, name))
        self.kernel.entry_changed(parent, name)

    def guessed(self, ino: int) -> None:
        """The daemon knows the inode now: what we took its attributes to be is over."""
        self.attrs.drop(ino)
        self.kernel.inode_changed(ino, content=False)

    @property
    def may_promise(self) -> bool:
        """Programs may be told of what is new before the daemon has it: nobody else on this device looks for it."""
        return self.newborn.alone and self.client.connected and not (self.later.full or self.read_only)

    def check_writable(self) -> None:
        if self.read_only:
            raise OSError(errno.EROFS, "read-only")

    def saw(self, parent: int, name: bytes, ino: int) -> None:
        """The name leads there; 0: nowhere."""
        if not ino:
            self.seen.pop((parent, name), None)
            return
        if len(self.seen) >= MAX_SEEN:
            for old in list(self.seen)[: MAX_SEEN // 10]:
                del self.seen[old]
        self.seen[(parent, name)] = ino

    def touched(self, *keys: Any) -> None:
        """This mount changed these."""
        for key in keys:
            self.clock.touch(key)
            if isinstance(key, tuple):
                self._own_names.pop(key, None)
                self._own_names[key] = time.monotonic()
                if len(self._own_names) > MAX_SEEN:
                    del self._own_names[next(iter(self._own_names))]

    def order_unknown(self, parent: int, name: bytes) -> bool:
        """News of this name may be older than what this mount did to it: replies overtake the stream of changes."""
        when = self._own_names.get((parent, name))
        return when is not None and time.monotonic() - when < NEWS_SECONDS

    def remember(self, attr: pb.Attr, since: int) -> pb.Attr:
        """Keeps attributes that were asked for at `since`, unless a change overtook the answer."""
        if self.clock.unchanged(attr.ino, since) and not self.grows_unheard(attr):
            self.attrs.put(attr)
        return self.shown(attr)

    def grows_unheard(self, attr: pb.Attr) -> bool:
        """Whether another mount may write the file at any moment: into its staging file, so that nobody tells of it."""
        return attr.writing and not self.newborn.alone

    def settle(self, attr: pb.Attr, since: int) -> pb.Attr:
        """As `remember`, for the answer to a change of this inode by this mount."""
        kept = self.clock.unchanged(attr.ino, since) and not self.grows_unheard(attr)
        self.clock.touch(attr.ino)
        if kept:
            self.attrs.put(attr)
        else:
            self.attrs.drop(attr.ino)
        file = self.table.files.get(attr.ino)
        if file is not None:
            file.attr = attr
        return self.shown(attr)

    def shown(self, attr: pb.Attr) -> pb.Attr:
        """With the size and time of what is written here and not told to the daemon yet."""
        file = self.table.files.get(attr.ino)
        if file is None or not (file.local or file.unlinked):
            return attr
        overlaid = pb.Attr()
        overlaid.CopyFrom(attr)
        if file.local:
            overlaid.size = file.body.size()
            overlaid.remote = False
        if file.mtime_ns is not None:
            overlaid.mtime_ns = file.mtime_ns
            overlaid.ctime_ns = max(attr.ctime_ns, file.ctime_ns)
        if file.unlinked:
            overlaid.nlink = 0
        return overlaid

    def kernel_seconds(self, attr: pb.Attr, since: int) -> float:
        """How long the kernel may keep attributes of which we began to ask at `since` on the clock of news."""
        ino = attr.ino
        if self.grows_unheard(attr):
            return 0.0
        if not self.client.connected or not self.news.unchanged(ino, since):
            return 0.0
        file = self.table.files.get(ino)
        if ino in self.later or (file is not None and file.written):
            return 0.0  # the daemon says what its times are
        return PATCH_SECONDS if self.attrs.guessed(ino) else KERNEL_SECONDS

    def kernel_seconds_of_name(self, parent: int, name: bytes, since: int) -> float:
        if not self.client.connected or not self.news.unchanged((parent, name), since):
            return 0.0
        return KERNEL_SECONDS


OWN: Final = b"\0own"
_TYPE_OF_KIND: Final = {pb.KIND_FILE: stat.S_IFREG, pb.KIND_DIRECTORY: stat.S_IFDIR, pb.KIND_SYMLINK: stat.S_IFLNK}


def st_mode(attr: pb.Attr) -> int:
    return _TYPE_OF_KIND.get(attr.kind, stat.S_IFREG) | attr.mode & 0o7777


def check_name(name: bytes) -> None:
    if len(name) > NAME_MAX:
        raise OSError(errno.ENAMETOOLONG, "a name has at most 255 bytes")
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise OSError(errno.EINVAL, "a name is not empty, '.' or '..', and holds no '/' or NUL")


_PROCESS_SECONDS: Final = 1.0
"""How long a thread's id is taken to be that of the same thread: the kernel gives ids again after many thousands."""
_processes: dict[int, tuple[int, float]] = {}


def process_of(pid: int) -> int:
    """The process of a thread: FUSE tells the thread's id, and an editor may read and write from different ones."""
    if not pid:
        return 0
    now = time.monotonic()
    known = _processes.get(pid)
    if known is None or known[1] < now:
        if len(_processes) >= 1_000:
            _processes.clear()
        known = _processes[pid] = (_look_up_process(pid), now + _PROCESS_SECONDS)
    return known[0]


def _look_up_process(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            text = status.read(512)
    except OSError:
        return pid
    at = text.find(b"\nTgid:")
    return int(text[at + 6 :].split(None, 1)[0]) if at >= 0 else pid


def now_ns() -> int:
    """The time with which this mount stamps files."""
    return CLOCK.now()
