# SPDX-License-Identifier: GPL-3.0-or-later
"""State of one mount, shared by the parts of the core: settings, caches, epochs, open files, the way to the kernel."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from holofs_api.mount_access import Allow
from holofs_api.stamps import CLOCK
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.bases import ReadTracker
from holofs_mount.core.caches import NEEDS_LOOKUP, AttrCache, ListingCache, MapCache
from holofs_mount.core.epochs import Epochs
from holofs_mount.core.openfile import HandleTable
from holofs_mount.patience import Patiently

NAME_MAX: Final = 255
SET_IDS: Final = stat.S_ISUID | stat.S_ISGID
"""Bits with which a program runs with the rights of its owner or group."""
MAX_DENTRIES: Final = 100_000
NEWS_SECONDS: Final = 15.0
"""Seconds by which news can be late, at most, on a busy machine."""


class CallingProcess(NamedTuple):
    """Process that asks. `pid`: its thread's id as the kernel tells it, 0 where unknown."""

    pid: int


UNKNOWN_CALLER: Final = CallingProcess(0)


class Kernel(Protocol):
    """The kernel's caches, as far as a binding reaches them. Never blocks, may be called from any handler."""

    def inode_changed(self, ino: int, content: bool) -> None: ...
    def entry_changed(self, parent: int, name: bytes) -> None: ...
    def everything_changed(self) -> None: ...
    def when_dropped(self, then: Callable[[], None]) -> None:
        """Calls `then`, on the loop, when the kernel has dropped all that it was told of before."""
        ...


class WatchingPrograms(Protocol):
    """Programs that watch files and folders, to be told of changes from elsewhere. Never blocks."""

    def name_changed(self, parent: int, name: bytes, before: int | None) -> None:
        """`before`: the inode to which the name led, if known."""
        ...

    def content_changed(self, ino: int) -> None: ...


class NoWatchingPrograms:
    """Watchers of a binding that cannot tell them anything."""

    def name_changed(self, parent: int, name: bytes, before: int | None) -> None:
        pass

    def content_changed(self, ino: int) -> None:
        pass


class NoKernel:
    """Kernel caches of a binding that lets the kernel cache nothing."""

    def inode_changed(self, ino: int, content: bool) -> None:
        pass

    def entry_changed(self, parent: int, name: bytes) -> None:
        pass

    def everything_changed(self) -> None:
        pass

    def when_dropped(self, then: Callable[[], None]) -> None:
        then()


class MountState:
    """Settings, caches, epochs and open files of one mount. Does no I/O and waits for nothing.

    `epochs` are bumped by every change, `remote_epochs` only by those that this mount did not make itself.
    """

    def __init__(self, patiently: Patiently | None = None) -> None:
        """`patiently`: how operations wait for their turn with an open file."""
        self.kernel: Kernel = NoKernel()
        self.watchers: WatchingPrograms = NoWatchingPrograms()
        self.attrs = AttrCache()
        self.gone = self.attrs.gone
        self.listings = ListingCache()
        self.maps = MapCache()
        self.epochs = Epochs()
        self.remote_epochs = Epochs()
        self.bases = ReadTracker()
        self.table = HandleTable(patiently)
        self.uid = os.getuid()
        self.gid = os.getgid()
        self.root = 1
        self.read_only = False
        self.allow = Allow.OWNER
        self.only_mount = False
        """No other mount of this volume is attached on this device."""
        self.inline_limit = 65_536
        self.dentries: dict[tuple[int, bytes], int] = {}
        """The inode to which a name led when the kernel was told of it, for names in no cached listing."""
        self._own_names: dict[tuple[int, bytes], float] = {}
        self.pages: dict[int, bytes] = {}
        """Content of the kernel's pages by inode: a version, or OWN where this mount wrote them."""

    def check_writable(self) -> None:
        if self.read_only:
            raise OSError(errno.EROFS, "read-only")

    # ---- results of write-behind (`write_behind.assembly.WriteBehindObserver`)
    def set_attr_done(self, ino: int, attr: pb.Attr | None, since: int) -> None:
        if attr is not None:
            self.cache_own_change(attr, since)
        else:
            self.bump(ino)
            self.attr_was_guess(ino)

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        """Forgets where a name leads, here and in the kernel."""
        self.listings.set(parent, name, NEEDS_LOOKUP)
        self.attrs.drop(parent)
        self.note_dentry(parent, name, 0)
        self.bump((parent, name))
        self.kernel.entry_changed(parent, name)

    def attr_was_guess(self, ino: int) -> None:
        """Forgets attributes that this mount made up, here and in the kernel: the daemon knows the inode now."""
        self.attrs.drop(ino)
        self.kernel.inode_changed(ino, content=False)

    # ---- modes
    def shown_mode(self, attr: pb.Attr) -> int:
        """Type and mode as the kernel is told them.

        libfuse keeps `allow_root` by refusing the requests of other users. What the kernel has cached it gives away
        without a request, so the root of the mount is closed to them by its mode. Root itself is not held by modes.
        """
        hidden = 0o077 if self.allow is Allow.ROOT and attr.ino == self.root else 0
        return st_mode(attr) & ~hidden

    def mode_of_new(self, mode: int, uid: int) -> int:
        """Mode of what a user makes here. It belongs to the mount's user, whoever makes it: so another user makes
        nothing there that runs with the rights of its owner or group."""
        return mode if uid == self.uid else mode & ~SET_IDS

    # ---- names
    def note_dentry(self, parent: int, name: bytes, ino: int) -> None:
        """Notes the inode to which a name leads; 0: none."""
        if not ino:
            self.dentries.pop((parent, name), None)
            return
        if len(self.dentries) >= MAX_DENTRIES:
            for old in list(self.dentries)[: MAX_DENTRIES // 10]:
                del self.dentries[old]
        self.dentries[(parent, name)] = ino

    def bump(self, *keys: Any) -> None:
        """Begins a new epoch for each of these keys, which this mount changed."""
        for key in keys:
            self.epochs.bump(key)
            if isinstance(key, tuple):
                self._own_names.pop(key, None)
                self._own_names[key] = time.monotonic()
                if len(self._own_names) > MAX_DENTRIES:
                    del self._own_names[next(iter(self._own_names))]

    def order_unknown(self, parent: int, name: bytes) -> bool:
        """Returns whether news of this name may be older than what this mount did to it: replies overtake the Watch
        stream."""
        when = self._own_names.get((parent, name))
        return when is not None and time.monotonic() - when < NEWS_SECONDS

    # ---- attributes
    def cache_attr(self, attr: pb.Attr, since: int) -> pb.Attr:
        """Caches attributes that were asked for in the epoch `since`, unless a change overtook the reply. Returns them
        as `shown`."""
        if self.epochs.unchanged(attr.ino, since) and not self.may_grow_unnoticed(attr):
            self.attrs.put(attr)
        return self.shown(attr)

    def may_grow_unnoticed(self, attr: pb.Attr) -> bool:
        """Returns whether another mount may write to the file's staging file, of which no message tells."""
        return attr.writing and not self.only_mount

    def cache_own_change(self, attr: pb.Attr, since: int) -> pb.Attr:
        """Caches attributes as `cache_attr` does, from the reply to a change of this inode by this mount."""
        kept = self.epochs.unchanged(attr.ino, since) and not self.may_grow_unnoticed(attr)
        self.epochs.bump(attr.ino)
        if kept:
            self.attrs.put(attr)
        else:
            self.attrs.drop(attr.ino)
        file = self.table.files.get(attr.ino)
        if file is not None:
            file.attr = attr
        return self.shown(attr)

    def shown(self, attr: pb.Attr) -> pb.Attr:
        """Attributes with the size and time of what was written here and not committed yet."""
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
"""Seconds for which a thread's id means the same thread: the kernel reuses ids after many thousands."""
_processes: dict[int, tuple[int, float]] = {}


def process_of(pid: int) -> int:
    """Process of a thread: FUSE tells the thread's id, and an editor may read and write from different ones."""
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
    """Time with which this mount stamps files."""
    return CLOCK.now()
