# SPDX-License-Identifier: GPL-3.0-or-later
"""Large contents: rows, lists and segments that do not fit each other are found and repaired, both ways."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from holofsd.check.fsck import FileCheck, examine
from holofsd.check.mending import INDEX, back_up, restored
from holofsd.store.body_remaking import remake
from holofsd.store.volume import VolumeStore
from tests.sync.devices import QUICK, Device, devices, settled, share, until

MIB = 1 << 20
FILM = blake3(b"a film to check").digest(12 * MIB)


async def watched(folder: Path) -> tuple[Device, Device]:
    """Two devices with a film, which one cut and the other fetched; both are down."""
    async with devices(folder, "ann", "bob", config=replace(QUICK, lists=True)) as (ann, bob):
        await share(ann, bob)
        ann.cuts = True
        ann.write("film", FILM)
        await settled(ann, bob)
        await until(lambda: bob.files() == {"film": FILM})
    return ann, bob


@pytest.fixture
async def pair(tmp_path: Path) -> tuple[Device, Device]:
    return await watched(tmp_path)


def directory_of(device: Device) -> Path:
    assert device.volume_id is not None
    return device.directory(device.volume_id)


def found(device: Device, repair: bool = False, files: FileCheck = FileCheck.HASHES) -> set[str]:
    assert device.volume_id is not None
    report = examine(device.volume_id, directory_of(device), device.id, repair=repair, files=files)
    return {finding.code for finding in report.findings.values()}


def in_rows(sql: str) -> Callable[[Device], None]:
    def spoil(device: Device) -> None:
        assert device.volume_id is not None
        with closing(VolumeStore(device.volume_id, directory_of(device))) as store:
            store.db.run(sql)

    return spoil


def of(kind: str, spoil: Callable[[Path], object]) -> Callable[[Device], None]:
    def run(device: Device) -> None:
        (path,) = (directory_of(device) / kind).glob("*/*")
        path.chmod(0o600)
        spoil(path)

    return run


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[5 * MIB if len(data) > 5 * MIB else 30] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "a list that is gone": (of("lists", Path.unlink), {"list-lost"}),
    "a list with a flipped bit": (of("lists", flip), {"list-lost"}),
    "a segment that is gone": (of("segments", Path.unlink), {"chunks-lost"}),
    "a segment that is shorter": (of("segments", lambda path: path.write_bytes(FILM[: 9 * MIB])), {"chunks-lost"}),
    "a segment with a flipped bit": (of("segments", flip), {"chunks-lost"}),
    "no row in content": (in_rows("DELETE FROM content"), {"body-rows"}),
    "another size": (in_rows("UPDATE content SET size=7"), {"body-rows"}),
    "a wrong count": (in_rows("UPDATE bodies SET here=1"), {"body-rows"}),
    "no users": (in_rows("DELETE FROM body_segments"), {"body-rows"}),
    "no rows of bodies": (in_rows("DELETE FROM bodies"), {"body-rows"}),
    "no rows of segments": (in_rows("DELETE FROM segments"), {"body-rows"}),
    "a layout that is none": (in_rows("UPDATE bodies SET layout=x'ff'"), {"body-rows"}),
}


async def test_large_contents_that_are_well_have_no_findings(pair: tuple[Device, Device]) -> None:
    for device in pair:
        assert found(device) == set()


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("who", [0, 1])
async def test_damage_is_found_and_repaired_and_the_film_is_what_it_was(
    pair: tuple[Device, Device], what: str, who: int
) -> None:
    spoil, expected = DAMAGE[what]
    spoil(pair[who])
    assert found(pair[who]) >= expected
    found(pair[who], repair=True)
    assert not found(pair[who]) - {"segment-stray"}
    for device in pair:
        await device.up()
    try:
        await until(lambda: all(device.files() == {"film": FILM} for device in pair))
    finally:
        for device in pair:
            await device.down()
    for device in pair:
        found(device, repair=True)
        assert found(device) == set()


@pytest.mark.parametrize("what", [what for what, (_, codes) in DAMAGE.items() if codes & {"list-lost", "body-rows"}])
async def test_no_chunk_goes_with_what_is_said_of_it(pair: tuple[Device, Device], what: str) -> None:
    """The only device that has the film: it is whole again from the file itself, or kept for when its list comes."""
    (ann, _bob), (spoil, _) = pair, DAMAGE[what]
    spoil(ann)
    found(ann, repair=True)
    (segment,) = (directory_of(ann) / "segments").glob("*/*")
    assert segment.read_bytes() == FILM
    assert found(ann) == set()
    await ann.up()
    try:
        assert ann.files() == {"film": FILM}
    finally:
        await ann.down()


async def test_rows_are_made_from_files_alone(pair: tuple[Device, Device]) -> None:
    for device in pair:
        assert device.volume_id is not None
        with closing(VolumeStore(device.volume_id, directory_of(device))) as store:
            before = {table: store.db.all(f"SELECT * FROM {table}") for table in ("body_segments", "segments")}
            for table in ("bodies", "segments", "body_segments", "content"):
                store.db.run(f"DELETE FROM {table}")
            store.db.run("DELETE FROM sqlite_sequence WHERE name='segments'")
            with store.db.transaction():
                remake(store.bodies)
            assert {table: store.db.all(f"SELECT * FROM {table}") for table in before} == before
            assert store.db.number("SELECT size FROM content") == len(FILM)


async def test_what_came_after_the_backup_of_a_lost_index_is_kept(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann") as (ann,):
        ann.create()
        ann.write("small", b"x")
        back_up(directory_of(ann))
        ann.cuts = True
        ann.write("film", FILM)
    (directory_of(ann) / INDEX).write_bytes(b"spoiled")
    for rest in directory_of(ann).glob(f"{INDEX}-*"):
        rest.unlink()
    assert ann.volume_id is not None
    restored(ann.volume_id, directory_of(ann))
    with closing(VolumeStore(ann.volume_id, directory_of(ann))) as store:
        assert store.db.all("SELECT size FROM content") == [(len(FILM),)]
