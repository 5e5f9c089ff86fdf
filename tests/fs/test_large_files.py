# SPDX-License-Identifier: GPL-3.0-or-later
"""Large files that get a list of chunks when they are sealed: programs see no difference, and a crash loses nothing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from blake3 import blake3

from holofsd.core.state import Blob, Manifest
from holofsd.store import faults
from holofsd.tree.garbage import Collected, GarbageCollector
from tests.fs.harness import Device, Program

MIB = 1 << 20
BYTES = blake3(b"a large file").digest(24 * MIB)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path)
    device.volume.may_list = lambda: True
    return device


async def save(program: Program, path: str, data: bytes) -> None:
    handle = await program.create(path)
    for start in range(0, len(data), MIB):
        await program.fs.write(program.att, handle, start, data[start : start + MIB])
    await program.release(handle)


async def content_of(program: Program, path: str) -> bytes:
    handle = await program.open(path)
    found, offset = bytearray(), 0
    while data := await program.fs.read(program.att, handle, offset, MIB):
        found += data
        offset += len(data)
    await program.release(handle)
    return bytes(found)


def body_of(device: Device, path: str) -> Blob | Manifest:
    entry = device.volume.tree.lookup(bytes(16), path.encode())
    assert entry is not None
    version = device.volume.tree.version_of(entry.node, entry.dot)
    assert version is not None
    assert isinstance(version.body, Blob | Manifest)
    return version.body


def files_of(device: Device) -> set[str]:
    return {path.name for folder in ("segments", "lists") for path in (device.directory / folder).glob("*/*")}


async def collect(device: Device) -> None:
    for _ in GarbageCollector(device.volume, orphan_s=-1).steps(Collected(), grace_ms=0):
        pass


async def test_a_large_file_gets_a_list_and_reads_as_it_was_written(device: Device) -> None:
    program = device.attach()
    for name, size in (("small", 3 * MIB), ("large", 5 * MIB + 17)):
        await save(program, name, BYTES[:size])
        await device.settle()
        assert await content_of(program, name) == BYTES[:size]
    assert isinstance(body_of(device, "small"), Blob)
    assert isinstance(body_of(device, "large"), Manifest)


async def test_a_large_file_can_be_changed_and_copied(device: Device) -> None:
    program = device.attach()
    await save(program, "file", BYTES)
    await device.settle()
    handle = await program.open("file", write=True)
    await program.fs.write(program.att, handle, 10 * MIB, b"changed")
    await program.release(handle)
    await device.settle()
    changed = BYTES[: 10 * MIB] + b"changed" + BYTES[10 * MIB + 7 :]
    assert await content_of(program, "file") == changed
    assert isinstance(body_of(device, "file"), Manifest)


async def test_two_files_of_one_content_are_one_body_that_goes_with_the_last(device: Device) -> None:
    program = device.attach()
    for name in ("one", "two"):
        await save(program, name, BYTES[: 6 * MIB])
        await device.settle()
    assert body_of(device, "one") == body_of(device, "two")
    assert len(files_of(device)) == 2
    await program.unlink("one")
    await device.settle()
    await device.fs.history.trash.empty(b"")
    await collect(device)
    assert await content_of(program, "two") == BYTES[: 6 * MIB]
    await program.unlink("two")
    await device.settle()
    await device.fs.history.trash.empty(b"")
    await collect(device)
    assert files_of(device) == set()
    assert device.store.db.all("SELECT cid FROM bodies") == []


POINTS = ["cutting.cut", "cutting.placed", "hashing.placed", "hashing.known", "hashing.synced"]


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_while_it_is_sealed_loses_nothing(device: Device, point: str) -> None:
    class Died(BaseException):
        pass

    def die(_where: object) -> None:
        raise Died

    program = device.attach()
    handle = await program.create("file")
    for start in range(0, 6 * MIB, MIB):
        await program.fs.write(program.att, handle, start, BYTES[start : start + MIB])
    await program.fs.fsync(program.att, handle, 0, None)
    await program.release(handle)
    with faults.armed(point, die), suppress(Died, BaseExceptionGroup):
        await device.fs.hasher.drain()
    device.restart()
    device.volume.may_list = lambda: True
    program = device.attach()
    await device.settle()
    assert await content_of(program, "file") == BYTES[: 6 * MIB]
    assert isinstance(body_of(device, "file"), Manifest)
    await collect(device)
    assert len(files_of(device)) == 2
