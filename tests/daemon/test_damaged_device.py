# SPDX-License-Identifier: GPL-3.0-or-later
"""A damaged `device.db` is never replaced unasked; fsck makes a new one, and no volume is missing afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from holofs_api.v1 import control_pb2 as pb
from holofsd.check.mending import back_up
from holofsd.core.document import Role
from holofsd.core.errors import DamagedIndex
from holofsd.core.ids import ROOT_INO
from holofsd.daemon.fsck_main import check
from holofsd.fs.types import AttachRequest
from holofsd.rpc.device_api import FsckOrders
from holofsd.store import faults
from tests.daemon.test_device import World, names, world

__all__ = ["world"]  # a fixture

ATTACH = AttachRequest("test", "mount", "/mnt", 1, False)
TABLES = ("volumes", "invites", "mounts")


class Stopped(Exception):
    pass


def stop(_where: object) -> None:
    raise Stopped


def spoil(database: Path, *tables: str) -> None:
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages = [
            db.execute("SELECT rootpage FROM sqlite_schema WHERE name=?", (table,)).fetchone()[0] for table in tables
        ]
    with database.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * 4096)
            file.write(b"\xff" * 4096)


def rubbish(database: Path) -> None:
    database.write_bytes(b"rubbish" * 1000)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a page": lambda path: spoil(path, "invites"),
    "all tables": lambda path: spoil(path, *TABLES),
    "rubbish": rubbish,
    "gone": lambda path: path.unlink(),
}


async def made(world: World, backup: bool) -> tuple[Path, str]:
    """A device with two volumes and an invite; its database, and the recovery code of one volume."""
    async with world.device("a") as a:
        for name in ("docs", "photos"):
            await a.create_volume(name)
            filesystem = await a.filesystem(name)
            await filesystem.make_dir(filesystem.attach(ATTACH), ROOT_INO, b"folder", 0o755)
        await a.share("docs", Role.WRITER, 1, 3600)
        code = await a.recovery_code("docs", False)
    database = world.root / "a" / "device.db"
    if backup:
        back_up(database.parent, database.name)
    return database, code


def fsck(database: Path, repair: bool) -> pb.FsckReply:
    return check(database.parent, "", FsckOrders(repair=repair))


def codes(reply: pb.FsckReply) -> set[str]:
    return {finding.code for finding in reply.device.findings}


@pytest.mark.parametrize("how", DAMAGE)
async def test_with_a_backup_a_damaged_one_comes_back_whole_but_for_invites(world: World, how: str) -> None:
    database, code = await made(world, backup=True)
    DAMAGE[how](database)
    before = database.read_bytes() if database.exists() else None
    with pytest.raises(DamagedIndex, match="holofsctl fsck --repair"):
        async with world.device("a"):
            pass
    assert codes(fsck(database, repair=False)) == {"device-damaged"}
    assert (database.read_bytes() if database.exists() else None) == before, "a look changes nothing"
    told = fsck(database, repair=True)
    assert "device-damaged" in codes(told)
    assert [(volume.volume, volume.left) for volume in told.volumes] == [("docs", 0), ("photos", 0)]
    assert codes(fsck(database, repair=False)) == set()
    async with world.device("a") as a:
        assert sorted(await names(a)) == ["docs", "photos"]
        assert await a.recovery_code("docs", False) == code
        assert await a.invites("docs") == ()
    if before is not None:
        assert (database.parent / "damaged-1" / "device.db").exists()


async def test_without_a_backup_volumes_are_taken_up_from_their_directories(world: World) -> None:
    database, _code = await made(world, backup=False)
    spoil(database, *TABLES)
    assert codes(fsck(database, repair=True)) == {"device-damaged", "device-rows-lost", "volume-taken-up"}
    async with world.device("a") as a:
        assert sorted(await names(a)) == ["docs", "photos"]


async def test_a_volume_that_was_left_since_the_backup_does_not_come_back(world: World) -> None:
    database, _code = await made(world, backup=True)
    async with world.device("a") as a:
        await a.leave("photos", True)
    rubbish(database)
    assert [volume.volume for volume in fsck(database, repair=True).volumes] == ["docs"]
    assert codes(fsck(database, repair=False)) == set()


@pytest.mark.parametrize("point", ["repairing.salvaged", "repairing.aside", "repairing.placed"])
async def test_a_crash_in_the_middle_leaves_a_database_old_or_new(world: World, point: str) -> None:
    database, _code = await made(world, backup=True)
    rubbish(database)
    with faults.armed(point, stop), pytest.raises(Stopped):
        fsck(database, repair=True)
    fsck(database, repair=True)
    async with world.device("a") as a:
        assert sorted(await names(a)) == ["docs", "photos"]
        told = await a.fsck_device()
        assert told.findings == ()
    assert not [path.name for path in database.parent.iterdir() if path.name in ("mending", "mended")]


async def test_the_daemon_looks_and_changes_nothing(world: World) -> None:
    database, _code = await made(world, backup=False)
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("INSERT INTO redemptions (secret, device) VALUES (?, ?)", (b"s" * 16, b"d" * 32))
    async with world.device("a") as a:
        told = await a.fsck_device()
        assert [(finding.code, finding.outcome) for finding in told.findings] == [("redemption-alone", "fixable")]
    assert codes(fsck(database, repair=True)) == {"redemption-alone"}
    assert codes(fsck(database, repair=False)) == set()
