# SPDX-License-Identifier: GPL-3.0-or-later
"""Echoes of changes from elsewhere: which are made, and what the mount answers to the process that makes them.

One echo is under way at a time. All that it may ask is known before it begins, so its answers wait for nothing: the
echo process holds the lock of a folder meanwhile. What changed since is refused; the news of that makes another echo.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from holofs_api import PAST_INO
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.mount_state import MountState
from holofs_mount.core.names import Names
from holofs_mount.watching.echo_client import EchoClient
from holofs_mount.watching.echo_process import TOKEN_NAME
from holofs_mount.watching.watches import watched_inodes

log = structlog.get_logger(__name__)

ECHO_HANDLE: Final = (1 << 61) - 1
"""Handle of files that the echo process opens. Nothing can be read or written through it."""
_GHOST: Final = 1 << 61
"""Inode numbers from here on: what an echo removes, which is not there any more."""
_MOST: Final = 2_000
"""Changes that wait for their echo. More at once are an unpacked archive: a watcher that looks again sees them."""
_LOOK_SECONDS: Final = 0.5
"""Least time between two looks at all watches."""
_MAKING: Final = {pb.KIND_FILE: b"create", pb.KIND_DIRECTORY: b"mkdir", pb.KIND_SYMLINK: b"symlink"}

Name = tuple[int, bytes]
Changed = dict[Name | int, int | None]
"""Names that changed, with the kind that was there before; and inodes whose content changed, with None."""


class NamesOfKernel(Protocol):
    """Names under which the kernel holds inodes (`kernel_caches.KnownNames`)."""

    def names_of(self, ino: int) -> Iterable[Name]: ...
    def at(self, parent: int, name: bytes) -> int | None: ...


@dataclass(slots=True)
class Echo:
    """Repetition of one change, for watchers to hear.

    `attr`: of what is at the name now, None where nothing is; `since`: the remote epoch of that. `answered`: whether
    its lookup was answered as this echo needs it.
    """

    parent: int
    name: bytes
    operation: bytes
    attr: pb.Attr | None
    since: int
    token: bytes
    answered: bool = False

    @property
    def makes(self) -> bool:
        return self.operation in (b"create", b"mknod", b"mkdir", b"symlink")


class Echoes:
    """Makes the echoes of one mount. `device`: the device number of its filesystem."""

    def __init__(
        self,
        state: MountState,
        names: Names,
        kernel: NamesOfKernel,
        mountpoint: str,
        look: Callable[[], frozenset[int]],
    ) -> None:
        """`look`: returns the inode numbers that programs watch; it is called in a thread."""
        self.client = EchoClient()
        self._state = state
        self._names = names
        self._kernel = kernel
        self._mountpoint = os.fsencode(mountpoint)
        self._look = look
        self._waiting: Changed = {}
        self._wake = asyncio.Event()
        self._unmatched: list[tuple[Changed, frozenset[int]]] = []
        """Changes since the last look for watches, each with the watched inodes that it was compared with."""
        self._must_look = asyncio.Event()
        self._turn = asyncio.Lock()
        self._watched: frozenset[int] = frozenset()
        self._looked_at = float("-inf")
        self._now: Echo | None = None
        self._ghosts = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._run(), name="holofs-echoes"),
            asyncio.create_task(self._run_looks(), name="holofs-watches"),
        ]

    async def close(self) -> None:
        """Ends the echo process. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()

    # ---- news
    def name_changed(self, parent: int, name: bytes, before: int | None) -> None:
        """A name leads elsewhere. `before`: the inode to which it led, if known."""
        known = self._state.attrs.get(before) if before is not None and before > 0 else None
        unknown = pb.KIND_FILE if before is not None and before > 0 else pb.KIND_UNSPECIFIED
        self._add((parent, name), known.kind if known is not None else unknown)

    def content_changed(self, ino: int) -> None:
        self._add(ino, None)

    def _add(self, subject: Name | int, kind: int | None) -> None:
        if len(self._waiting) < _MOST:
            self._waiting.setdefault(subject, kind)
            self._wake.set()

    # ---- making echoes
    async def _run(self) -> None:
        """Tells of changes where a watch is known."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, {}
            known = self._watched
            if sum(len(changed) for changed, _ in self._unmatched) < _MOST:
                self._unmatched.append((waiting, known))
                self._must_look.set()
            await self._echo_all(waiting, known)

    async def _run_looks(self) -> None:
        """Looks for new watches after changes, and tells of those changes: what is watched before a change is heard."""
        while True:
            await self._must_look.wait()
            await asyncio.sleep(max(0.0, self._looked_at + _LOOK_SECONDS - time.monotonic()))
            self._must_look.clear()
            unmatched, self._unmatched = self._unmatched, []
            self._looked_at = time.monotonic()
            found = await asyncio.to_thread(self._look)
            new, self._watched = found - self._watched, found
            for ino in new:
                with suppress(OSError):  # a file
                    await self._names.listing(ino)  # so that names are known when their inodes change
            for changed, known in unmatched:
                await self._echo_all(changed, found - known)

    async def _echo_all(self, changed: Changed, watched: frozenset[int]) -> None:
        for (parent, name), kind in self._subjects(changed, watched).items():
            async with self._turn:
                await self._echo(parent, name, kind)

    def _subjects(self, changed: Changed, watched: frozenset[int]) -> dict[Name, int | None]:
        """Names of which a program wants to hear: in a watched folder, or of a watched file."""
        names = ((subject, kind) for subject, kind in changed.items() if not isinstance(subject, int))
        found = {name: kind for name, kind in names if name[0] in watched}
        inodes = {subject for subject in changed if isinstance(subject, int)}
        for ino in inodes if watched else ():
            for name in self._kernel.names_of(ino):
                if ino in watched or name[0] in watched:
                    found.setdefault(name, None)
        for parent in watched if inodes else ():
            listing = self._state.listings.get(parent)
            for key, ino in listing.names.items() if listing is not None else ():
                if ino in inodes:
                    found.setdefault((parent, key), None)
        return found

    async def _echo(self, parent: int, name: bytes, kind: int | None) -> None:
        folder = self._path_of(parent)
        if folder is None:
            return
        await self._dropped()
        since = self._state.remote_epochs.now
        attr: pb.Attr | None = None
        try:
            attr = await self._names.lookup(parent, name)
        except FileNotFoundError:
            pass
        except OSError:
            return
        for operation in _operations(attr, kind):
            echo = Echo(parent, name, operation, attr, since, secrets.token_hex(16).encode())
            failed = await self._make(echo, folder)
            if failed == errno.EEXIST and attr is not None:  # a program was faster to look the name up
                for other in _operations(attr, None):
                    await self._make(Echo(parent, name, other, attr, since, echo.token), folder)

    async def _make(self, echo: Echo, folder: bytes) -> int | None:
        """Returns as `EchoClient.ask`."""
        self._now = echo
        try:
            failed = await self.client.ask(echo.operation, folder, echo.name, echo.token)
        finally:
            self._now = None
        if failed:
            log.debug("an echo was refused", operation=echo.operation, errno=failed)
        return failed

    async def _dropped(self) -> None:
        """Waits until the kernel has dropped what it held of before: a program that hears of a change sees it."""
        dropped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._state.kernel.when_dropped(lambda: None if dropped.done() else dropped.set_result(None))
        await dropped

    def _path_of(self, ino: int) -> bytes | None:
        """Path of a directory, by names that the kernel holds; None: it holds none that leads there."""
        parts: list[bytes] = []
        while ino != self._state.root:
            name = next(iter(self._kernel.names_of(ino)), None)
            if name is None or len(parts) > 255:
                return None
            ino = name[0]
            parts.append(name[1])
        return b"/".join([self._mountpoint, *reversed(parts)])

    # ---- answers to the echo process
    def _current(self, parent: int, name: bytes) -> Echo:
        """The echo that is under way at this name. Raises OSError EPERM: no other operation of the process counts."""
        echo = self._now
        if echo is None or (echo.parent, echo.name) != (parent, name):
            raise OSError(errno.EPERM, "not the echo that is under way")
        return echo

    def _is_current(self, echo: Echo) -> bool:
        known = self._names.known_ino(echo.parent, echo.name)
        return known == echo.attr.ino if echo.attr is not None else known is None

    def lookup(self, parent: int, name: bytes) -> pb.Attr | None:
        """Answers to lookup: a ghost where something was removed. None: as for any program.

        Raises OSError ENOENT for a name that is new, unless the kernel follows it already.
        """
        echo = self._now
        if echo is None or (echo.parent, echo.name) != (parent, name) or not self._is_current(echo):
            return None
        if echo.attr is None:
            echo.answered = True
            self._ghosts += 1
            kind = pb.KIND_DIRECTORY if echo.operation == b"rmdir" else pb.KIND_FILE
            return pb.Attr(ino=_GHOST + self._ghosts, kind=kind, mode=0o700, nlink=1)
        if echo.makes and self._kernel.at(parent, name) != echo.attr.ino:
            echo.answered = True
            raise OSError(errno.ENOENT, "a new name")
        return echo.attr

    def made(self, parent: int, name: bytes) -> tuple[pb.Attr, int]:
        """Answers to create, mknod, mkdir and symlink: what is there already, with its remote epoch. Raises OSError."""
        echo = self._current(parent, name)
        if not echo.makes or not echo.answered or echo.attr is None or not self._is_current(echo):
            raise OSError(errno.EPERM, "the name has changed since")
        return echo.attr, echo.since

    def removed(self, parent: int, name: bytes) -> None:
        """Answers to unlink and rmdir: of a ghost alone. Raises OSError for anything that is there."""
        echo = self._current(parent, name)
        if echo.attr is not None or not echo.answered:
            raise OSError(errno.EPERM, "the name has changed since")

    def modified(self, ino: int) -> tuple[pb.Attr, int]:
        """Answers to open and setattr: the attributes as they are. Raises OSError."""
        echo = self._now
        if echo is None or echo.attr is None or echo.attr.ino != ino or not self._is_current(echo):
            raise OSError(errno.EPERM, "not the echo that is under way")
        known = self._state.attrs.get(ino)
        if known is None:
            raise OSError(errno.EAGAIN, "it has changed since")
        return self._state.shown(known), echo.since

    def token(self, ino: int, name: bytes) -> bytes:
        """Answers to getxattr. Proves to the process that the folder is the one meant. Raises OSError ENODATA."""
        if self._now is None or self._now.parent != ino or name != TOKEN_NAME.encode():
            raise OSError(errno.ENODATA, "no such attribute")
        return self._now.token


def is_ghost(ino: int) -> bool:
    """Return whether an inode number means what an echo removes."""
    return _GHOST <= ino < PAST_INO


def look_at(device: int) -> Callable[[], frozenset[int]]:
    """Returns what looks for watches on the filesystem with this device number."""
    return lambda: watched_inodes(device)


def _operations(attr: pb.Attr | None, kind: int | None) -> tuple[bytes, ...]:
    """The operations that tell of a change. `kind`: as `Echoes.name_changed` noted it; None: the content changed.

    What can be run is not opened to write, for nobody can run it meanwhile.
    """
    if attr is None:
        return (b"rmdir" if kind == pb.KIND_DIRECTORY else b"unlink",)
    runs = attr.kind == pb.KIND_FILE and bool(attr.mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH))
    if kind is None or kind == attr.kind:
        return (b"touch" if runs else b"modify",) if attr.kind == pb.KIND_FILE else ()
    return (b"mknod", b"touch") if runs else (_MAKING.get(attr.kind, b"create"),)
