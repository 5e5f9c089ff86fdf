# SPDX-License-Identifier: GPL-3.0-or-later
"""A damaged index is never written to: what can be read is served, and fsck makes a new one without losing a file."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from holofsd.check.mending import back_up
from holofsd.core.errors import DamagedIndex, ReadOnly
from holofsd.core.ids import ROOT_INO
from holofsd.daemon.device import Device
from holofsd.fs.filesystem import VolumeFilesystem
from holofsd.fs.types import Attachment, AttachRequest, CommitRequest, CreateRequest
from holofsd.rpc.device_api import FsckOrders, FsckVolume
from holofsd.store import faults
from tests.daemon.test_device import World, eventually, join, ticket_of

FILES = {f"file {number}".encode(): f"content {number} ".encode() * 50 for number in range(60)}
FILES[b"large"] = b"in the content store " * 1000


class Stopped(Exception):
    pass


@pytest.fixture
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="hfs-dmg-") as root:
        yield World(Path(root))


def _attach(filesystem: VolumeFilesystem) -> Attachment:
    return filesystem.attach(AttachRequest("test", "mount", "/mnt", 1, False, ()))


async def _write(device: Device, files: dict[bytes, bytes]) -> None:
    filesystem = await device.filesystem("docs")
    att = _attach(filesystem)
    for handle, (name, data) in enumerate(files.items(), start=1):
        await filesystem.create(att, CreateRequest(ROOT_INO, name, 0o644, truncate=True, handle=handle))
        await filesystem.commit(att, CommitRequest(handle, data=data, seal=True, release=True))
    filesystem.detach(att)


async def _read(device: Device) -> dict[bytes, bytes]:
    filesystem = await device.filesystem("docs")
    att = _attach(filesystem)
    found = {}
    listing = await filesystem.read_dir(att, ROOT_INO, b"", 0)
    for handle, (name, attr) in enumerate(listing.entries, start=1000):
        await filesystem.open(att, attr.ino, handle, write=False, truncate=False, base=b"")
        found[name] = await filesystem.read(att, handle, 0, 1 << 20)
        await filesystem.release(att, handle)
    filesystem.detach(att)
    return found


async def _fsck(device: Device, **orders: bool) -> FsckVolume:
    (told,) = await device.fsck("docs", FsckOrders(**orders))
    return told


def _codes(told: FsckVolume) -> set[str]:
    return {finding.code for finding in told.findings}


def _directory(world: World) -> Path:
    (found,) = (world.root / "a" / "volumes").iterdir()
    return found


def _spoil(index: Path, table: str) -> None:
    """Overwrites one page of a table with rubbish."""
    with closing(sqlite3.connect(index)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name=?", (table,)).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with index.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)


@asynccontextmanager
async def _with_files(world: World) -> AsyncIterator[Device]:
    async with world.device("a") as a:
        await a.create_volume("docs")
        await _write(a, FILES)
        yield a


async def test_a_volume_that_is_well_has_no_findings_while_it_is_in_use(world: World) -> None:
    async with _with_files(world) as a:
        told = await _fsck(a, content=True)
        assert told.findings == ()
        assert {count.what: count.number for count in told.checked}["nodes"] == len(FILES)
        assert (await _fsck(a, repair=True)).findings == ()
        assert await _read(a) == FILES


async def test_a_damaged_index_is_served_read_only_and_says_what_to_do(world: World) -> None:
    async with _with_files(world):
        pass
    _spoil(_directory(world) / "index.db", "entries")
    before = (_directory(world) / "index.db").read_bytes()
    async with world.device("a") as a:
        (volume,) = await a.list_volumes()
        assert volume.state == "damaged"
        assert "holofsctl fsck docs --repair" in volume.explanation
        assert any(warning.startswith("docs: Its index is damaged") for warning in (await a.status("")).warnings)
        assert await _read(a) == FILES
        with pytest.raises(ReadOnly):
            await _write(a, {b"new": b"x"})
        assert _codes(await _fsck(a)) == {"index-damaged"}
        assert await _read(a) == FILES, "a look changes nothing"
    assert (_directory(world) / "index.db").read_bytes() == before, "a damaged index was written to"


async def test_repair_makes_a_new_index_where_nothing_is_lost(world: World) -> None:
    async with _with_files(world):
        pass
    _spoil(_directory(world) / "index.db", "entries")
    async with world.device("a") as a:
        told = await _fsck(a, repair=True)
        assert "index-rebuilt" in _codes(told)
        assert told.left == 0
        await _write(a, {b"new": b"x"})
        assert await _read(a) == {**FILES, b"new": b"x"}
        assert (await _fsck(a)).findings == ()
    assert (_directory(world) / "damaged-1" / "index.db").exists()


async def test_repair_leaves_an_index_alone_that_would_lose_rows(world: World) -> None:
    async with _with_files(world):
        pass
    _spoil(_directory(world) / "index.db", "nodes")
    async with world.device("a") as a:
        told = await _fsck(a, repair=True)
        assert _codes(told) == {"index-damaged"}
        assert told.left == 1
        assert "nodes" in told.findings[0].message
        with pytest.raises(DamagedIndex, match="backup"):
            await _fsck(a, from_backup=True)


async def test_the_backup_and_what_can_be_read_make_a_whole_index_under_a_new_author(world: World) -> None:
    async with _with_files(world) as a:
        author = a._volumes.find("docs").local.author
        back_up(_directory(world))
        later = {b"file 3": b"changed after the backup", b"later": b"made after the backup"}
        await _write(a, later)
    _spoil(_directory(world) / "index.db", "entries")
    (_directory(world) / "staging" / "unknown").write_bytes(b"of nobody knows what")
    async with world.device("a") as a:
        told = await _fsck(a, from_backup=True)
        assert {"index-restored", "staging-unknown"} <= _codes(told)
        assert await _read(a) == {**FILES, **later}
        assert a._volumes.find("docs").local.author != author
        assert (await _fsck(a)).findings == ()
    assert (_directory(world) / "unknown-1" / "unknown").read_bytes() == b"of nobody knows what"


async def test_devices_agree_after_one_was_restored_from_a_backup(world: World) -> None:
    async with _with_files(world) as a, world.device("b") as b:
        await join(b, await ticket_of(a))
        back_up(_directory(world))
        later = {b"file 3": b"changed after the backup", b"later": b"made after the backup"}
        await _write(a, later)
        await _agree(a, b, {**FILES, **later})
    _spoil(_directory(world) / "index.db", "nodes")
    async with world.device("a") as a, world.device("b") as b:
        await _fsck(a, from_backup=True)
        newest = {b"file 4": b"changed by a", b"file 5": b"changed by b"}
        await _write(a, {b"file 4": newest[b"file 4"]})
        await _write(b, {b"file 5": newest[b"file 5"]})
        await _agree(a, b, {**FILES, **later, **newest})
        for device in (a, b):
            assert (await _fsck(device)).findings == ()


async def _agree(one: Device, other: Device, expected: dict[bytes, bytes]) -> None:
    async with asyncio.timeout(30):
        while True:
            waiting = [(await device.status("docs")).volumes[0] for device in (one, other)]
            settled = not any(status.unpublished or status.content_missing for status in waiting)
            if settled and await _read(one) == await _read(other) == expected:
                return
            await asyncio.sleep(0.02)


async def test_an_index_that_is_gone_is_restored_from_its_backup(world: World) -> None:
    async with _with_files(world):
        back_up(_directory(world))
    for path in _directory(world).glob("index.db*"):
        path.unlink()
    async with world.device("a") as a:
        assert await _read(a) == FILES, "the backup is served"
        await _fsck(a, from_backup=True)
        await _write(a, {b"new": b"x"})
        assert await _read(a) == {**FILES, b"new": b"x"}


async def test_an_index_of_a_newer_format_is_shown_and_not_touched(world: World) -> None:
    async with _with_files(world):
        pass
    with closing(sqlite3.connect(_directory(world) / "index.db")) as db:
        db.execute("PRAGMA user_version=999")
    async with world.device("a") as a:
        (volume,) = await a.list_volumes()
        assert "format 999" in volume.explanation
        assert await _read(a) == FILES


async def test_damage_that_is_met_while_the_volume_is_in_use_ends_all_writing(world: World) -> None:
    async with _with_files(world) as a:
        volumes = a._volumes
        opened = volumes.find("docs")
        opened.store.db.on_damage("it was met by a test")
        await eventually(lambda: volumes.get(opened.id) is None and bool(volumes._rescued))
        with pytest.raises(ReadOnly):
            await _write(a, {b"new": b"x"})
        (volume,) = await a.list_volumes()
        assert volume.state == "damaged"
        assert "it was met by a test" in volume.explanation
        assert await _read(a) == FILES


@pytest.mark.parametrize("point", ["repairing.salvaged", "repairing.aside", "repairing.placed"])
async def test_a_crash_while_an_index_is_replaced_loses_neither(world: World, point: str) -> None:
    def stop(where: object) -> None:
        raise Stopped

    async with _with_files(world):
        pass
    _spoil(_directory(world) / "index.db", "entries")
    with faults.armed(point, stop):
        async with world.device("a") as a:
            with pytest.raises(Stopped):
                await _fsck(a, repair=True)
    async with world.device("a") as a:
        await _fsck(a, repair=True)
        assert await _read(a) == FILES
        await _write(a, {b"new": b"x"})
