# SPDX-License-Identifier: GPL-3.0-or-later
"""The backup of an index: made when the index changed and the last one is old, whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from holofsd.check.mending import backup_path, backup_time, is_behind
from holofsd.core.ids import VolumeId
from holofsd.daemon.backups import Backups
from holofsd.store import faults
from holofsd.store.copies import complaint_about
from holofsd.store.device import DeviceStore
from holofsd.store.volume import VolumeStore

VOLUME = VolumeId(b"v" * 32)
DAY_S = 86_400.0


class Stopped(Exception):
    pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VolumeStore]:
    with closing(VolumeStore(VOLUME, tmp_path / "volume")) as store:
        yield store


def _backups(store: VolumeStore, damaged: list[str]) -> Backups:
    state = store.directory.parent
    return Backups(state, lambda: [(VOLUME, store.directory)], lambda volume, complaint: damaged.append(complaint))


def _age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


async def test_an_index_without_a_backup_gets_one_that_is_whole(store: VolumeStore) -> None:
    await _backups(store, []).look(DAY_S)
    assert complaint_about(backup_path(store.directory)) == ""
    assert time.time() - backup_time(store.directory) < 60
    assert backup_path(store.directory).stat().st_mode & 0o077 == 0


async def test_a_backup_is_made_again_when_it_is_old_and_the_index_changed(store: VolumeStore) -> None:
    backups = _backups(store, [])
    await backups.look(DAY_S)
    made = backup_time(store.directory)
    _age(backup_path(store.directory), DAY_S / 2)
    await backups.look(DAY_S)
    assert backup_time(store.directory) < made, "it is young enough"
    _age(backup_path(store.directory), DAY_S * 2)
    store.set_meta("changed", b"x")
    assert is_behind(store.directory)
    await backups.look(DAY_S)
    assert backup_time(store.directory) >= made - 1


async def test_the_database_of_the_device_is_backed_up_too(store: VolumeStore) -> None:
    state = store.directory.parent
    with closing(DeviceStore(state)):
        await _backups(store, []).look(DAY_S)
    assert complaint_about(backup_path(state, "device.db")) == ""
    assert time.time() - backup_time(state, "device.db") < 60


async def test_an_index_that_nobody_changed_is_not_copied_again(store: VolumeStore) -> None:
    backups = _backups(store, [])
    await backups.look(0)
    for path in store.directory.glob("index.db*"):
        _age(path, DAY_S * 3)
    _age(backup_path(store.directory), DAY_S * 2)
    made = backup_time(store.directory)
    await backups.look(DAY_S)
    assert backup_time(store.directory) == made


async def test_a_crash_before_the_copy_is_in_place_leaves_the_backup_of_before(store: VolumeStore) -> None:
    def stop(where: object) -> None:
        raise Stopped

    backups = _backups(store, [])
    await backups.look(0)
    before = backup_path(store.directory).read_bytes()
    store.set_meta("changed", b"x")
    _age(backup_path(store.directory), 1)
    with faults.armed("backup.copied", stop), pytest.raises(Stopped):
        await backups.look(0)
    assert backup_path(store.directory).read_bytes() == before
    await backups.look(0)
    assert backup_path(store.directory).read_bytes() != before


async def test_an_index_that_turns_out_damaged_is_told_of_and_its_backup_stays(store: VolumeStore) -> None:
    damaged: list[str] = []
    backups = _backups(store, damaged)
    await backups.look(0)
    before = backup_path(store.directory).read_bytes()
    _age(backup_path(store.directory), DAY_S)
    store.db.run("PRAGMA wal_checkpoint(TRUNCATE)")
    page = store.db.number("SELECT rootpage FROM sqlite_schema WHERE name='entries'")
    with (store.directory / "index.db").open("r+b") as file:
        file.seek((page - 1) * store.db.number("PRAGMA page_size"))
        file.write(b"\xff" * 4096)
    await backups.look(0)
    assert len(damaged) == 1
    assert backup_path(store.directory).read_bytes() == before
