# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume that is well has no findings; each kind of damage is found, repaired, and the tree is what it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from holofsd.check.derived import TABLES
from holofsd.check.fsck import FileCheck, examine, examine_copy
from holofsd.check.report import Outcome, Report
from holofsd.check.salvaging import COPIED
from holofsd.core.ids import ROOT_ID, VolumeId
from holofsd.net.fake import FakeNetwork
from holofsd.store.volume import VolumeStore
from tests.sync.devices import Device, devices, settled, share, until
from tests.tree.harness import DERIVED

BIG = os.urandom(30_000)


async def _busy_pair(folder: Path) -> tuple[Device, Device]:
    """Two devices that wrote, replaced, removed and disagreed; both are down."""
    network = FakeNetwork(discovery=True)
    async with devices(folder, "a", "b", network=network) as (a, b):
        await share(a, b)
        a.mkdir("music")
        a.write("music/song", BIG)
        a.write("letter", b"Dear all")
        a.write("gone", b"soon")
        await settled(a, b)
        b.remove("gone")
        b.write("music/other", BIG[:9000])
        await settled(a, b)
        network.partition(a.id, b.id)
        a.write("letter", b"Dear A")
        b.write("letter", b"Dear B")
        network.heal(a.id, b.id)
        await settled(a, b)
        await until(lambda: len([name for name in a.files() if "conflict" in name]) == 1)
    return a, b


@pytest.fixture
async def pair(tmp_path: Path) -> tuple[Device, Device]:
    return await _busy_pair(tmp_path)


def _check(device: Device, repair: bool = False, read_all: bool = False) -> Report:
    assert device.volume_id is not None
    directory = device.directory(device.volume_id)
    report = examine(
        device.volume_id, directory, device.id, repair=repair, files=FileCheck.HASHES if read_all else FileCheck.SIZES
    )
    assert not list(directory.glob("fsck-*")), "something is left behind"
    return report


def _found(report: Report) -> dict[str, int]:
    return {finding.code: finding.count for finding in report.findings.values()}


@contextmanager
def _opened(device: Device) -> Iterator[VolumeStore]:
    assert device.volume_id is not None
    with closing(VolumeStore(device.volume_id, device.directory(device.volume_id))) as store:
        yield store


def _rows(device: Device) -> dict[str, list[tuple[object, ...]]]:
    with _opened(device) as store:
        rows = {table: sorted(store.db.all(f"SELECT {columns} FROM {table}")) for table, columns in DERIVED.items()}
        rows["nodes"] = [row for row in rows["nodes"] if row[0] != ROOT_ID]
        return rows


async def test_volumes_that_are_well_have_no_findings(pair: tuple[Device, Device]) -> None:
    for device in pair:
        report = _check(device, read_all=True)
        assert _found(report) == {}
        assert report.checked["nodes"] >= 5
        assert report.checked["content files"] == 2
        assert report.checked["records"] >= 7


DAMAGE = {
    "a name is gone": ("DELETE FROM entries WHERE name=x'6c6574746572'", {"entries-wrong"}),
    "a name leads elsewhere": (
        "UPDATE entries SET node=(SELECT node FROM entries WHERE name=x'6d75736963') WHERE name=x'6c6574746572'",
        {"entries-wrong"},
    ),
    "all names are gone": ("DELETE FROM entries", {"entries-wrong"}),
    "a placement is gone": ("DELETE FROM placements WHERE name=x'736f6e67'", {"placements-wrong"}),
    "a node is gone": (
        "DELETE FROM nodes WHERE node=(SELECT node FROM entries WHERE name=x'736f6e67')",
        {"state-missing"},
    ),
    "a node's attributes are wrong": ("UPDATE nodes SET mode=0, nlink=7 WHERE kind=1", {"nodes-wrong"}),
    "a node shows nothing": ("UPDATE nodes SET shown=x'', size=1 WHERE kind=1 AND visible=1", {"nodes-wrong"}),
    "a state is rubbish": (
        "UPDATE nodes SET state=x'ffffff' WHERE node=(SELECT node FROM entries WHERE name=x'736f6e67')",
        {"state-damaged"},
    ),
    "a fall-back that nothing asks for": (
        "INSERT INTO overrides SELECT node, parent, name FROM entries WHERE name=x'6d75736963'",
        {"overrides-wrong"},
    ),
    "content is wanted that is here": (
        "INSERT INTO wanted SELECT hash, x'00112233445566778899aabbccddeeff', x'aa', size, 0, 0 FROM content",
        {"wanted-wrong"},
    ),
    "an inode number leads nowhere": (
        "INSERT INTO inodes (node, dot, detached) VALUES (x'00112233445566778899aabbccddeeff', x'', NULL)",
        {"inode-dangling"},
    ),
    "work for a record that is not here": (
        "INSERT INTO merge_queue (author, key, seq) VALUES (x'aa', x'00112233445566778899aabbccddeeff', 1)",
        {"work-without-record"},
    ),
    "our counter went back": ("UPDATE authors SET counter=0", {"counter-behind"}),
    "a credential is rubbish": (
        "INSERT INTO credentials VALUES ('grant', x'00', x'0a0101')",
        {"false-credential"},
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
async def test_damage_is_found_and_repaired_and_the_tree_is_what_it_was(pair: tuple[Device, Device], what: str) -> None:
    sql, codes = DAMAGE[what]
    _, device = pair
    before = _rows(device)
    with _opened(device) as store:
        assert store.db.run(sql).rowcount > 0, "a test that harms nothing proves nothing"
    found = _check(device)
    assert codes <= _found(found).keys()
    assert found.left
    assert codes <= _found(_check(device)).keys(), "looking changes nothing"
    repaired = _check(device, repair=True)
    assert repaired.left == 0
    assert {f.outcome for f in repaired.findings.values()} == {Outcome.FIXED}
    assert _found(_check(device)) == {}
    assert _rows(device) == before


async def _come_together(a: Device, b: Device) -> None:
    for device in (a, b):
        await device.up()
    try:
        await settled(a, b)
        assert b.files()["music/song"] == BIG
    finally:
        for device in (a, b):
            await device.down()


async def test_a_record_that_its_author_never_signed_goes_and_comes_again(pair: tuple[Device, Device]) -> None:
    a, b = pair
    with _opened(b) as store:
        changed = store.db.run(
            "UPDATE envelopes SET payload=x'00' WHERE key=(SELECT node FROM entries WHERE name=x'736f6e67')"
        )
        assert changed.rowcount > 0
    report = _check(b, repair=True)
    assert {"false-record", "records-disagree"} <= _found(report).keys()
    await _come_together(a, b)
    assert _found(_check(b)) == {}


async def test_content_whose_size_was_written_down_wrong_is_kept(pair: tuple[Device, Device]) -> None:
    """An earlier program believed the size in a record."""
    _a, b = pair
    with _opened(b) as store:
        blob, size = store.db.all("SELECT hash, size FROM content ORDER BY size")[0]
        store.db.run("UPDATE content SET size=size+1 WHERE hash=?", (blob,))
    assert _found(_check(b)) == {"content-size": 1}
    _check(b, repair=True)
    assert _found(_check(b)) == {}
    with _opened(b) as store:
        assert store.content.size(blob) == size == store.content.path(blob).stat().st_size


async def test_content_that_is_gone_is_fetched_again(pair: tuple[Device, Device]) -> None:
    a, b = pair
    with _opened(b) as store:
        blobs = [row[0] for row in store.db.all("SELECT hash FROM content ORDER BY size")]
        store.content.path(blobs[0]).unlink()
        os.chmod(store.content.path(blobs[1]), 0o600)
        with store.content.path(blobs[1]).open("r+b") as file:
            file.write(b"bit rot")
    assert _found(_check(b))["content-lost"] == 1
    assert _found(_check(b, read_all=True))["content-lost"] == 2
    assert _check(b, repair=True, read_all=True).left == 0
    await _come_together(a, b)


async def test_what_was_never_published_and_forgot_its_turn_is_published(tmp_path: Path) -> None:
    async with devices(tmp_path, "a") as (a,):
        a.create()
        a.write("letter", b"Dear all")
        with a.store.db.transaction():
            assert a.store.db.run("DELETE FROM outbox").rowcount == 1
    assert _found(_check(a, repair=True)) == {"never-said": 1}
    with _opened(a) as store:
        assert store.outbox.count() == 1


async def test_a_damaged_state_with_unpublished_changes_is_listed_and_left_alone(tmp_path: Path) -> None:
    async with devices(tmp_path, "a") as (a,):
        a.create()
        a.write("letter", b"Dear all")
        with a.store.db.transaction():
            a.store.db.run("UPDATE nodes SET state=x'ffff' WHERE node!=zeroblob(16)")
    report = _check(a, repair=True)
    assert report.findings["state-lost"].outcome is Outcome.LEFT
    assert report.left
    with _opened(a) as store:
        assert store.db.one("SELECT state FROM nodes WHERE node!=zeroblob(16)") == (b"\xff\xff",)


async def test_files_that_nothing_names_go_and_rows_without_a_file_too(pair: tuple[Device, Device]) -> None:
    _, b = pair
    with _opened(b) as store:
        (store.directory / "staging" / "left over").write_bytes(b"x")
        stray = store.directory / "content" / "ab" / ("ab" * 32)
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(b"x")
        store.db.run("INSERT INTO staging VALUES ('never', 99, zeroblob(16), x'', 'm', x'', 0)")
    expected = {"staging-stray": 1, "content-stray": 1, "staging-empty": 1}
    assert _found(_check(b)) == expected
    assert stray.exists()
    assert _found(_check(b, repair=True)) == expected
    assert not stray.exists()
    assert _found(_check(b)) == {}


async def test_a_volume_in_use_is_checked_on_a_copy(tmp_path: Path) -> None:
    async with devices(tmp_path, "a") as (a,):
        a.create()
        a.write("song", BIG)
        await until(lambda: a.store.outbox.count() == 1)
        volume: VolumeId = a.sync.id
        report = examine_copy(volume, a.directory(volume), a.id, files=FileCheck.HASHES)
        assert _found(report) == {}
        assert report.checked["nodes"] == 1
        assert not list(a.directory(volume).glob("fsck-*"))
        a.write("song", BIG[::-1])
        assert a.files()["song"] == BIG[::-1]


def test_tables_that_are_taken_from_a_damaged_index_are_named_with_all_their_columns(tmp_path: Path) -> None:
    with closing(VolumeStore(VolumeId(b"v" * 32), tmp_path / "volume")) as store:
        for table, columns in COPIED.items():
            there = [row[1] for row in store.db.all(f"PRAGMA table_info({table})")]
            assert len(columns) == len(there), table
            named = [(told, name) for told, name in zip(columns, there, strict=True) if told not in ("NULL", "0")]
            assert all(told == name for told, name in named), table


def test_tables_that_are_compared_are_named_with_columns_that_exist(tmp_path: Path) -> None:
    with closing(VolumeStore(VolumeId(b"v" * 32), tmp_path / "volume")) as store:
        for table, (columns, _) in TABLES.items():
            assert set(columns) <= {row[1] for row in store.db.all(f"PRAGMA table_info({table})")}, table
