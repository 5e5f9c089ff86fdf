# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers that programs hand to a mount, at the ends of their ranges: each call gives an answer or an errno, and the
files beside it, and the file itself afterwards, are as they were.

The core of a mount runs in the process of a whole device, which it calls over its real sockets.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.effort import effort
from fuzz.test_calls import ANSWER_S, scene
from holofs_api.numbers import MAX_FILE_SIZE, MAX_TIME_NS, MIN_TIME_NS
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.attributes import AttrChanges
from holofs_mount.core.mount_state import UNKNOWN_CALLER
from holofs_mount.core.volume import MountRequest, Volume
from support.wait import until

KEPT: Final = b"content"
NEIGHBOUR: Final = b"f"
"""A file that no call is about."""
NAMES: Final = (b"x", b"x", b"x", b"y", b"d")
"""Open and written, closed, a directory: as they are at the beginning."""

_EDGES = sorted(
    {sign * (1 << bits) + more for bits in (0, 15, 16, 31, 32, 62, 63) for sign in (1, -1) for more in (-1, 0, 1)}
)
TIMES = st.one_of(
    st.sampled_from([*_EDGES, 2**64, -(2**64), 10**9 * 2**63, -(10**9) * 2**63, MIN_TIME_NS - 1, MIN_TIME_NS]),
    st.integers(-(2**94), 2**94),
)
# Between these a file is what it is elsewhere, and its content is hashed to the last byte: no test of numbers.
_SMALL, _HUGE = 1 << 17, MAX_FILE_SIZE
SIZES = st.one_of(
    st.sampled_from([0, 1, 4096, 65_535, 65_536, 65_537, _SMALL]),
    st.sampled_from([edge for edge in _EDGES if not _SMALL < edge <= _HUGE and -(2**63) <= edge < 2**63]),
    st.sampled_from([_HUGE + 1, 2**63 - 4096, 2**63 - 1]),
)
UNSIGNED_32 = st.one_of(st.sampled_from([edge for edge in _EDGES if 0 <= edge < 2**32]), st.integers(0, 2**32 - 1))
SIGNED_32 = st.one_of(st.sampled_from([edge for edge in _EDGES if -(2**31) <= edge < 2**31]), st.integers(0, 8))
INODES = st.one_of(st.sampled_from([0, *(edge for edge in _EDGES if 0 < edge < 2**64)]), st.integers(1, 8))
LENGTHS = st.sampled_from([0, 1, 4096, 65_536, 65_537])
NAME = st.sampled_from(NAMES)
ANY_NAME = st.one_of(
    NAME,
    NAME,
    st.sampled_from([b"new"]),
    st.sampled_from([b"", b".", b"..", b"a/b", b"a\0b", b"n" * 255, b"n" * 256, b"\xff\xfe"]),
)
XATTR_NAMES = st.sampled_from([b"user.a", b"user.", b"user." + b"n" * 250, b"user." + b"n" * 251, b"trusted.a", b""])


@dataclass(frozen=True)
class Call:
    """One operation of the core, with the numbers that it gets."""

    name: str
    arguments: tuple[Any, ...]


def _call(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    return st.tuples(*arguments).map(lambda given: Call(name, given))


FLAGS = st.one_of(SIGNED_32.filter(lambda flags: flags >= 0), st.sampled_from([os.O_RDWR, os.O_RDWR | os.O_APPEND]))
CALLS = st.one_of(
    _call("create", ANY_NAME, UNSIGNED_32, FLAGS),
    _call("create", NAME, st.just(0o644), st.just(os.O_RDWR)),
    _call("open", NAME, FLAGS),
    _call("open", st.just(b"x"), st.just(os.O_RDWR)),
    _call("write", SIZES, LENGTHS),
    _call("write", SIZES, LENGTHS),
    _call("close"),
    _call("read", SIZES, st.one_of(SIZES, st.sampled_from([2**63, 2**64 - 1]))),
    _call("fsync"),
    _call("set_times", NAME, TIMES, st.booleans()),
    _call("set_times", NAME, TIMES, st.just(True)),
    _call("set_size", NAME, SIZES, st.booleans()),
    _call("set_mode", NAME, UNSIGNED_32),
    _call("set_owner", NAME, UNSIGNED_32, UNSIGNED_32),
    _call("set_of_any", INODES, TIMES, SIZES, UNSIGNED_32),
    _call("mkdir", ANY_NAME, UNSIGNED_32),
    _call("mknod", ANY_NAME, UNSIGNED_32),
    _call("mknod", ANY_NAME, UNSIGNED_32.map(lambda mode: mode & ~(0xF << 12) | stat.S_IFREG)),
    _call("symlink", ANY_NAME, st.sampled_from([0, 1, 4095, 4096, 70_000])),
    _call("link", INODES, ANY_NAME),
    _call("unlink", ANY_NAME),
    _call("rmdir", ANY_NAME),
    _call("rename", ANY_NAME, ANY_NAME, UNSIGNED_32),
    _call("rename", NAME, NAME, st.integers(0, 8)),
    _call("set_xattr", NAME, XATTR_NAMES, st.sampled_from([0, 1, 65_536, 65_537]), st.booleans(), st.booleans()),
    _call("get_xattr", NAME, XATTR_NAMES),
    _call("look_at", INODES),
    _call("statfs"),
)


class Core:
    """The operations of one mount, as its bindings call them. Raises OSError as they expect it."""

    def __init__(self, volume: Volume) -> None:
        self.v = volume
        self.root = volume.state.root
        self.open_handle = 0
        self.open_ino = 0

    async def _ino(self, name: bytes) -> int:
        return (await self.v.names.lookup(self.root, name)).ino

    async def furnish(self) -> None:
        for name in (b"y", b"x"):
            await self.create(name, 0o644, os.O_RDWR | os.O_CREAT)
            await self.write(0, 10)

    async def create(self, name: bytes, mode: int, flags: int) -> None:
        await self.close()
        opened, attr = await self.v.files.create(self.root, name, mode, flags, UNKNOWN_CALLER)
        self.open_handle, self.open_ino = opened.handle, attr.ino

    async def open(self, name: bytes, flags: int) -> None:
        await self.close()
        ino = await self._ino(name)
        self.open_handle, self.open_ino = (await self.v.files.open(ino, flags, UNKNOWN_CALLER)).handle, ino

    async def close(self) -> None:
        """Both halves of it: whatever `flush` says, the kernel releases the handle."""
        handle, self.open_handle = self.open_handle, 0
        if handle:
            try:
                await self.v.saving.flush(handle)
            finally:
                await self.v.saving.release(handle)

    async def write(self, offset: int, length: int) -> None:
        written = await self.v.files.write(self.open_handle, offset, bytes(length))
        assert 0 <= written <= length

    async def read(self, offset: int, size: int) -> None:
        assert len(await self.v.files.read(self.open_handle, offset, size)) <= size

    async def fsync(self) -> None:
        await self.v.saving.fsync(self.open_handle)

    async def _set(self, ino: int, wanted: AttrChanges, through: bool = False) -> pb.Attr:
        number = self.open_handle if through and ino == self.open_ino else None
        return await self.v.attributes.setattr(ino, wanted, number or None, UNKNOWN_CALLER)

    async def set_times(self, name: bytes, mtime_ns: int, through: bool) -> None:
        attr = await self._set(await self._ino(name), AttrChanges(mtime_ns=mtime_ns), through)
        assert attr.mtime_ns == min(max(mtime_ns, MIN_TIME_NS), MAX_TIME_NS)

    async def set_size(self, name: bytes, size: int, through: bool) -> None:
        assert (await self._set(await self._ino(name), AttrChanges(size=size), through)).size == size

    async def set_mode(self, name: bytes, mode: int) -> None:
        assert (await self._set(await self._ino(name), AttrChanges(mode=mode))).mode == mode & 0o7777

    async def set_owner(self, name: bytes, uid: int, gid: int) -> None:
        await self._set(await self._ino(name), AttrChanges(uid=uid, gid=gid))

    async def set_of_any(self, ino: int, mtime_ns: int, size: int, mode: int) -> None:
        if ino != await self._ino(NEIGHBOUR):
            await self._set(ino, AttrChanges(mtime_ns=mtime_ns, size=size, mode=mode))

    async def mkdir(self, name: bytes, mode: int) -> None:
        await self.v.names.mkdir(self.root, name, mode)

    async def mknod(self, name: bytes, mode: int) -> None:
        await self.v.names.mknod(self.root, name, mode)

    async def symlink(self, name: bytes, length: int) -> None:
        await self.v.names.symlink(self.root, name, b"t" * length)

    async def link(self, ino: int, name: bytes) -> None:
        if ino != await self._ino(NEIGHBOUR):
            await self.v.names.link(ino, self.root, name)

    async def unlink(self, name: bytes) -> None:
        await self.v.names.unlink(self.root, name)

    async def rmdir(self, name: bytes) -> None:
        await self.v.names.rmdir(self.root, name)

    async def rename(self, name: bytes, new_name: bytes, flags: int) -> None:
        await self.v.names.rename(self.root, name, self.root, new_name, flags, UNKNOWN_CALLER)

    async def set_xattr(self, name: bytes, key: bytes, size: int, create: bool, replace: bool) -> None:
        await self.v.attributes.setxattr(await self._ino(name), key, bytes(size), create, replace)

    async def get_xattr(self, name: bytes, key: bytes) -> None:
        await self.v.attributes.getxattr(await self._ino(name), key)

    async def look_at(self, ino: int) -> None:
        check(await self.v.names.getattr(ino))

    async def statfs(self) -> None:
        await self.v.attributes.statfs()

    async def look_around(self) -> None:
        """`ls -l` of the folder, the file beside, and a new file: all as if nothing had happened."""
        listing = await self.v.names.listing(self.root)
        for attr in await self.v.names.attributes(self.root, list(listing.names.items())):
            if attr is not None:
                check(attr)
        ino = listing.names[NEIGHBOUR]
        opened = await self.v.files.open(ino, os.O_RDONLY, UNKNOWN_CALLER)
        assert await self.v.files.read(opened.handle, 0, 100) == KEPT
        await self.v.saving.release(opened.handle)
        made, _ = await self.v.files.create(self.root, b"after", 0o644, os.O_WRONLY, UNKNOWN_CALLER)
        await self.v.files.write(made.handle, 0, b"after")
        await self.v.saving.flush(made.handle)
        await self.v.saving.release(made.handle)
        await self.v.names.unlink(self.root, b"after")


def check(attr: pb.Attr) -> None:
    """Check that a binding can hand the attributes to the kernel."""
    assert MIN_TIME_NS <= attr.mtime_ns <= MAX_TIME_NS
    assert MIN_TIME_NS <= attr.ctime_ns <= MAX_TIME_NS
    assert attr.size <= MAX_FILE_SIZE
    assert stat.S_IMODE(attr.mode) == attr.mode


@asynccontextmanager
async def core() -> AsyncIterator[Core]:
    async with scene() as place:
        place.honest.close()
        request = MountRequest("docs", Path("/nowhere"), place.state / "holofsd.sock", "numbers", False, ANSWER_S)
        volume = Volume(request)
        await volume.start()
        # Names are known and nobody else is there: so the daemon is told later of what is done, as on a mount at work.
        await volume.names.listing(volume.state.root)
        await asyncio.to_thread(until, lambda: volume.state.only_mount, "the mount to be the only one")
        mount = Core(volume)
        await mount.furnish()
        try:
            yield mount
            await answered(mount.close)
            await mount.look_around()
            assert not volume.write_behind.queue.has_failed
        finally:
            async with asyncio.timeout(ANSWER_S):
                await volume.close()
        assert not volume.state.table.handles
        assert not volume.state.table.files


async def answered(operation: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
    """Run a call, which ends with a result or an errno. Anything else is a defect, and so is no answer."""
    try:
        async with asyncio.timeout(ANSWER_S):
            await operation(*arguments)
    except TimeoutError:
        raise
    except OSError as error:
        if not error.errno or error.errno == errno.EIO:
            raise


@effort(25)
@example([Call("set_times", (b"x", 2**63, True)), Call("close", ())])
@example([Call("set_times", (b"x", -(2**63) - 1, False)), Call("close", ())])
@example([Call("set_times", (b"y", 2**63, False)), Call("set_times", (b"d", -(2**70), False))])
@example([Call("write", (2**63 - 4096, 4096)), Call("set_size", (b"x", 2**63 - 1, True)), Call("close", ())])
@example([Call("set_size", (b"y", 2**63 - 1, False)), Call("read", (2**63 - 1, 2**64 - 1))])
@given(st.lists(CALLS, min_size=15, max_size=60))
async def test_a_number_breaks_no_more_than_its_own_call(calls: list[Call]) -> None:
    async with core() as mount:
        for call in calls:
            await answered(getattr(mount, call.name), *call.arguments)
            await mount.look_around()
