# SPDX-License-Identifier: GPL-3.0-or-later
"""Several mounts of one device come back to a new daemon one after the other, with one file open in all of them."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from holofsd.core.errors import ContentMoved
from holofsd.core.ids import ROOT_ID, BlobHash, Ino
from holofsd.fs.shared.staged import StagedFile
from holofsd.fs.types import CommitRequest, OpenHandle
from holofsd.store.content import hash_file
from holofsd.store.immutable import has_writer
from tests.fs.harness import Device, Program

BIG = b"0123456789" * 10_000
FIRST, SECOND = "first mount", "second mount"


class Shared:
    """A file that two mounts have open, both writing to its staging file."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.process = subprocess.Popen(["sleep", "60"])
        """Of the second mount, as far as the daemon sees."""

    async def open(self) -> None:
        first, second = self.device.attach(FIRST), self.device.attach(SECOND, pid=self.process.pid)
        self.handles = {FIRST: await first.create("f")}
        self.ino = await first.walk("f")
        self.staging = (await first.fs.stage(first.att, self.handles[FIRST], empty=True, base=b"")).path
        self.handles[SECOND] = await second.open("f", write=True)
        await second.fs.stage(second.att, self.handles[SECOND], empty=False, base=b"")
        self.writer = os.open(self.staging, os.O_WRONLY | os.O_APPEND)

    def append(self, data: bytes) -> None:
        """Append through the second mount, whether its daemon is there or not."""
        os.write(self.writer, data)

    def end_process(self) -> None:
        self.process.kill()
        self.process.wait()

    def back(self, mount_id: str) -> Program:
        handle = OpenHandle(self.handles[mount_id], self.ino, True, True, b"", self.staging)
        return self.device.attach(mount_id, handles=(handle,))


@pytest.fixture
async def shared(device: Device) -> AsyncIterator[Shared]:
    shared = Shared(device)
    await shared.open()
    yield shared
    os.close(shared.writer)
    shared.end_process()


def _content_fits_its_name(device: Device) -> bool:
    files = [path for path in (device.directory / "content").glob("*/*") if path.is_file()]
    return bool(files) and all(hash_file(path)[0] == BlobHash(bytes.fromhex(path.name)) for path in files)


async def test_a_file_is_not_finalized_before_every_mount_that_may_write_to_it_is_back(
    device: Device, shared: Shared
) -> None:
    shared.append(BIG)
    device.restart()
    first = shared.back(FIRST)
    await first.release(shared.handles[FIRST])
    shared.append(b"while the second mount is away")
    await device.fs.tend_once()
    await device.fs.hasher.drain()
    assert device.fs.census().unfinalized == 1
    second = shared.back(SECOND)
    assert (second.att.lost_handles, second.att.displaced_handles) == ((), ())
    await device.fs.tend_once()
    shared.append(b", and after")
    await second.release(shared.handles[SECOND])
    await device.settle()
    assert await first.tree() == {"f": BIG + b"while the second mount is away, and after"}
    assert _content_fits_its_name(device)


async def test_an_open_that_was_closed_while_the_daemon_was_away_finalizes_nothing_of_others(
    device: Device, shared: Shared
) -> None:
    """The first mount re-attaches without its handle, and closes another one that it opened since."""
    shared.append(BIG)
    device.restart()
    first = device.attach(FIRST)
    handle = await first.open("f", write=True)
    await first.fs.stage(first.att, handle, empty=False, base=b"")
    await first.release(handle)
    shared.append(b"!")
    await shared.back(SECOND).release(shared.handles[SECOND])
    await device.settle()
    assert await first.tree() == {"f": BIG + b"!"}
    assert _content_fits_its_name(device)


async def test_a_file_that_no_mount_came_back_for_is_finalized_once_all_of_them_are_back(
    device: Device, shared: Shared
) -> None:
    shared.append(BIG)
    device.restart()
    device.attach(FIRST)
    await device.fs.tend_once()
    assert device.fs.census().unfinalized == 1
    device.attach(SECOND)
    await device.fs.tend_once()
    assert device.fs.census().unfinalized == 0


async def test_a_mount_that_dies_while_the_daemon_is_away_holds_nothing_back(device: Device, shared: Shared) -> None:
    device.restart()
    await shared.back(FIRST).release(shared.handles[FIRST])
    assert device.fs.census().unfinalized == 1
    shared.end_process()
    await device.fs.tend_once()
    assert device.fs.census().unfinalized == 0


async def test_a_handle_of_another_staging_file_is_told_to_stage_again(device: Device, shared: Shared) -> None:
    shared.append(BIG)
    handle = OpenHandle(shared.handles[SECOND], shared.ino, True, True, b"", shared.staging + "0")
    device.restart()
    first = shared.back(FIRST)
    second = device.attach(SECOND, handles=(handle,))
    assert (second.att.lost_handles, second.att.displaced_handles) == ((), (handle.handle,))
    await first.release(shared.handles[FIRST])
    assert device.fs.census().unfinalized == 0, "a handle of another staging file does not write to this one"
    staged = await second.fs.stage(second.att, handle.handle, empty=False, base=b"")
    assert staged.path != shared.staging
    assert Path(staged.path).read_bytes() == BIG
    await second.release(handle.handle)


async def test_a_handle_whose_file_was_finalized_is_told_to_stage_again(device: Device, shared: Shared) -> None:
    """The daemon takes the process of the mount for dead, as where it cannot see it."""
    shared.append(BIG)
    device.restart()
    first = shared.back(FIRST)
    shared.end_process()
    await device.fs.tend_once()
    await first.release(shared.handles[FIRST])
    shared.append(b"too late for the version")
    await device.fs.hasher.drain()
    assert _content_fits_its_name(device)
    second = shared.back(SECOND)
    assert (second.att.lost_handles, second.att.displaced_handles) == ((), (shared.handles[SECOND],))
    await second.fs.commit(second.att, CommitRequest(shared.handles[SECOND], mtime_ns=1))
    staged = await second.fs.stage(second.att, shared.handles[SECOND], empty=False, base=b"")
    assert Path(staged.path).read_bytes() == BIG
    await second.release(shared.handles[SECOND])


@pytest.mark.parametrize("late", [b"", b"written after the file was finalized"])
async def test_content_is_a_file_of_its_own_where_a_writer_lives(device: Device, program: Program, late: bytes) -> None:
    handle = await program.create("f")
    staged = await program.fs.stage(program.att, handle, empty=True, base=b"")
    with open(staged.path, "ab", buffering=0) as file:
        file.write(BIG)
        await program.release(handle)
        file.write(late)
        await device.fs.hasher.drain()
        file.write(b"and after it was hashed")
    assert await program.tree() == {"f": BIG}
    assert _content_fits_its_name(device)
    assert not list((device.directory / "staging").iterdir())


async def test_content_without_a_writer_is_not_copied(device: Device, program: Program) -> None:
    handle = await program.create("f")
    staged = await program.fs.stage(program.att, handle, empty=True, base=b"")
    Path(staged.path).write_bytes(BIG)
    number = os.stat(staged.path).st_ino
    await program.release(handle)
    await device.fs.hasher.drain()
    assert [path.stat().st_ino for path in (device.directory / "content").glob("*/*")] == [number]


def test_the_kernel_tells_whether_a_file_has_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    assert not has_writer(path)
    with open(path, "rb"):
        assert not has_writer(path)
    with open(path, "ab"):
        assert has_writer(path)
    assert not has_writer(path)


def test_of_a_handle_the_inode_must_still_be_there(device: Device) -> None:
    program = device.attach(handles=(OpenHandle(7, Ino(12345), True, True, b"", "/somewhere"),))
    assert (program.att.lost_handles, program.att.displaced_handles) == ((7,), ())


class Repeats:
    """A mount with a new file in memory. What it asks of a daemon that dies before it answers, it asks again."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.program = device.attach()

    async def create(self) -> None:
        self.handle = await self.program.create("f")
        self.ino = await self.program.walk("f")
        self.seen = (await self.program.stat("f")).version

    async def fsync(self, data: bytes) -> None:
        await self.program.fs.fsync(self.program.att, self.handle, self.ino, data, self.seen)

    async def commit(self, data: bytes, mtime_ns: int = 1_700_000_000_000_000_000) -> None:
        request = CommitRequest(self.handle, data=data, mtime_ns=mtime_ns, onto=self.seen)
        await self.program.fs.commit(self.program.att, request)

    def daemon_dies(self) -> None:
        self.device.restart()
        self.program = self.device.attach(handles=(OpenHandle(self.handle, self.ino, True, False, self.seen, ""),))

    async def closed(self) -> bytes:
        await self.program.release(self.handle)
        return await self.program.read("f")


@pytest.fixture
def sleeper() -> Iterator[int]:
    """The process of a mount, as far as the daemon sees."""
    process = subprocess.Popen(["sleep", "60"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
async def repeats(device: Device) -> Repeats:
    made = Repeats(device)
    await made.create()
    return made


async def test_what_a_dead_daemon_had_taken_is_taken_again(repeats: Repeats) -> None:
    await repeats.fsync(b"one ")
    repeats.daemon_dies()
    await repeats.fsync(b"one ")
    await repeats.fsync(b"one two ")
    repeats.daemon_dies()
    await repeats.commit(b"one two three ")
    repeats.daemon_dies()
    await repeats.commit(b"one two three ")
    assert await repeats.closed() == b"one two three "


async def test_a_version_that_a_dead_daemon_had_made_is_recognised(repeats: Repeats) -> None:
    await repeats.commit(BIG[:9000])
    repeats.daemon_dies()
    with pytest.raises(ContentMoved):
        await repeats.commit(BIG[:9000] + b"x")
    with pytest.raises(ContentMoved):
        await repeats.commit(BIG[:9000], mtime_ns=1_700_000_000_000_000_001)
    await repeats.commit(BIG[:9000])
    assert await repeats.closed() == BIG[:9000]


async def test_a_beginning_may_be_of_another_mount_that_is_not_back(repeats: Repeats, sleeper: int) -> None:
    repeats.device.attach(SECOND, pid=sleeper)
    await repeats.fsync(b"one ")
    repeats.daemon_dies()
    with pytest.raises(ContentMoved):
        await repeats.fsync(b"one two ")


def test_content_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    """Also that of a daemon killed in the middle: at no moment is there less than before."""
    path = tmp_path / "staging"
    path.write_bytes(b"promised")
    staged = StagedFile("id", Ino(2), ROOT_ID, path, b"", FIRST)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        with pytest.raises(OSError, match="large"):
            staged.replace(b"other")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"promised"
    staged.replace(b"other")
    assert path.read_bytes() == b"other"
