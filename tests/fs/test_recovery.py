# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 at every point: what was closed is there, what was open is there or goes on."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from holofsd.fs.settings import FsSettings
from holofsd.fs.types import OpenHandle
from holofsd.store import faults
from tests.fs.harness import Device, Program

BIG = b"0123456789" * 10_000


class Killed(Exception):
    pass


def _dead_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def _living_process() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"])


def _no_files_left(device: Device) -> bool:
    return not list((device.directory / "staging").iterdir())


async def test_what_was_closed_is_there_after_a_kill(device: Device, program: Program) -> None:
    await program.write("small", b"x")
    await program.write("middle", b"x" * 5000)
    await program.write("large", BIG)
    device.restart()
    program = device.attach()
    expected = {"small": b"x", "middle": b"x" * 5000, "large": BIG}
    assert await program.tree() == expected
    await device.fs.hasher.drain()
    assert await program.tree() == expected
    assert _no_files_left(device)


@pytest.mark.parametrize("point", ["hashing.placed", "hashing.known", "hashing.synced"])
async def test_a_kill_while_content_is_hashed_loses_nothing(device: Device, program: Program, point: str) -> None:
    await program.write("f", BIG)
    await program.write("g", BIG)
    device.restart()  # what was found at a start is hashed with fsync at each step

    def kill(where: object) -> None:
        raise Killed

    with faults.armed(point, kill), pytest.raises(Killed):
        await device.fs.hasher.drain()
    device.restart()
    program = device.attach()
    assert await program.tree() == {"f": BIG, "g": BIG}
    await device.fs.hasher.drain()
    assert await program.tree() == {"f": BIG, "g": BIG}
    assert _no_files_left(device)
    assert len(device.publish()) == 2


async def test_what_a_dead_mount_had_open_is_finalized_at_once(device: Device) -> None:
    program = device.attach(pid=_dead_process())
    handle = await program.create("f")
    staged = await program.fs.stage(program.att, handle, empty=True, base=b"")
    Path(staged.path).write_bytes(BIG)
    device.restart()
    assert device.fs.census().unfinalized == 1
    await device.fs.tend_once()
    assert device.fs.census().unfinalized == 0
    await device.settle()
    assert await device.attach("other").tree() == {"f": BIG}
    assert _no_files_left(device)


async def test_a_mount_that_comes_back_goes_on_with_its_open_files(device: Device, program: Program) -> None:
    await program.write("gone", b"unlinked")
    handle, reader = await program.create("f"), await program.open("gone")
    inos = await program.walk("f"), await program.walk("gone")
    await program.unlink("gone")
    staged = await program.fs.stage(program.att, handle, empty=True, base=b"")
    with open(staged.path, "wb", buffering=0) as file:
        file.write(BIG)
        device.restart()
        file.write(b"written while the daemon was away")
        await device.fs.tend_once()
        program = device.attach(
            handles=(
                OpenHandle(handle, inos[0], True, True, b""),
                OpenHandle(reader, inos[1], False, False, b""),
                OpenHandle(99, 12345, False, False, b""),
            )
        )
        assert program.att.lost_handles == (99,)
        await device.fs.tend_once()
        file.write(b", and after")
    assert await program.read_handle(reader) == b"unlinked"
    await program.release(handle)
    await program.release(reader)
    await device.settle()
    assert await program.tree() == {"f": BIG + b"written while the daemon was away, and after"}
    assert not device.store.nodes.detached()


async def test_a_living_mount_that_does_not_come_back_may_write_on_without_harm(
    make_device: Callable[..., Device],
) -> None:
    device = make_device(settings=FsSettings(snapshot_every=0, reattach=0))
    mount = _living_process()
    try:
        program = device.attach(pid=mount.pid)
        handle = await program.create("f")
        staged = await program.fs.stage(program.att, handle, empty=True, base=b"")
        with open(staged.path, "wb", buffering=0) as file:
            file.write(BIG)
            device.restart()
            device.clock.advance(6)
            await device.fs.tend_once()
            await device.settle()
            other = device.attach("other")
            assert device.fs.census().unfinalized == 1
            file.write(b"later")
            assert await other.read("f") == BIG + b"later"
        device.store.db.one("SELECT 1")
    finally:
        mount.kill()
        mount.wait()
    await device.fs.tend_once()
    assert device.fs.census().unfinalized == 0
    await device.settle()
    assert await other.read("f") == BIG + b"later"
    assert device.fs.census().conflicts == 0


async def test_a_mount_whose_connection_is_lost_keeps_its_files_for_a_while(device: Device, program: Program) -> None:
    handle = await program.create("f")
    staged = await program.fs.stage(program.att, handle, empty=True, base=b"")
    Path(staged.path).write_bytes(b"kept")
    device.fs.detach(program.att)
    await device.fs.tend_once()
    assert device.fs.census().unfinalized == 1
    ino = (await device.attach("other").stat("f")).ino
    program = device.attach(handles=(OpenHandle(handle, ino, True, True, b""),))
    assert program.att.lost_handles == ()
    await program.release(handle)
    assert await program.read("f") == b"kept"


async def test_handles_that_a_mount_closed_while_it_was_away_are_closed(device: Device, program: Program) -> None:
    handle = await program.create("f")
    staged = await program.fs.stage(program.att, handle, empty=True, base=b"")
    Path(staged.path).write_bytes(b"kept")
    device.fs.detach(program.att)
    program = device.attach(handles=())
    assert device.fs.census().unfinalized == 0
    assert await program.read("f") == b"kept"


async def test_a_staging_file_that_was_finalized_cannot_be_written_by_a_late_mount(device: Device) -> None:
    program = device.attach(pid=_dead_process())
    handle = await program.create("f")
    ino = await program.walk("f")
    await program.fs.stage(program.att, handle, empty=True, base=b"")
    device.restart()
    await device.fs.tend_once()
    program = device.attach(handles=(OpenHandle(handle, ino, True, True, b""),))
    assert program.att.lost_handles == (handle,)


async def test_open_files_of_an_unlinked_name_are_forgotten_when_nobody_comes_back(
    make_device: Callable[..., Device],
) -> None:
    device = make_device(settings=FsSettings(reattach=0))
    program = device.attach(pid=_dead_process())
    await program.write("f", b"x")
    handle = await program.open("f", write=True)
    await program.unlink("f")
    await program.fs.write(program.att, handle, 0, b"y" * 9000)
    device.restart()
    await device.fs.tend_once()
    await device.fs.tend_once()
    assert not device.store.nodes.detached()
    assert device.fs.census().unfinalized == 0
    assert _no_files_left(device)
    assert await device.attach("other").tree() == {}


async def test_files_without_a_row_are_swept_at_the_start(device: Device, program: Program) -> None:
    (device.directory / "staging" / "left").write_bytes(b"half a copy")
    device.restart()
    assert _no_files_left(device)


async def test_the_background_work_hashes_what_is_closed_and_ends_when_it_is_told(
    device: Device, program: Program
) -> None:
    task = asyncio.create_task(device.fs.run())
    await program.write("f", BIG)
    deadline = asyncio.get_running_loop().time() + 60
    while not _no_files_left(device):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    await device.fs.close()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert device.publish() == [device.node_at("f")]
