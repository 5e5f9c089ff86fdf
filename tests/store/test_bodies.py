# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies: what is said to be here can be read, whoever shares it, and nothing that is needed is unlinked."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from holofsd.core.chunk_list import ChunkList
from holofsd.core.errors import Refused
from holofsd.core.ids import BlobHash, VolumeId
from holofsd.core.runs import NOTHING, ZEROS, ChunkRun, shared
from holofsd.store.bodies import Bodies, BodyChange
from holofsd.store.cutting import Cutter
from holofsd.store.segments import name_of_span
from holofsd.store.volume import VolumeStore

MIB = 1 << 20
SPAN = 5
"""Chunks of a segment that is filled bit by bit."""
VOLUME = VolumeId(bytes(range(32)))
CUTTER = Cutter(VOLUME)
BASE = blake3(b"what lies in segments in tests").digest(5 * MIB)
CONTENTS = (
    BASE,
    BASE[: 2 * MIB] + b"more" + BASE[2 * MIB :],
    BASE[MIB:] + BASE[: 3 * MIB],
    BASE[:MIB] + bytes(6 * MIB) + BASE[MIB:],
)


def cut(data: bytes) -> ChunkList:
    return CUTTER.cut(io.BytesIO(data), len(data))


LISTS = tuple(cut(data) for data in CONTENTS)
CIDS = tuple(chunks.cid() for chunks in LISTS)


class Shelf:
    """The store of a volume, and what a device does with bodies in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = VolumeStore(VOLUME, directory)
        self.bodies = self.store.bodies

    def seal(self, index: int) -> BodyChange:
        """A file that was written here."""
        source = self.directory / "sealed"
        source.unlink(missing_ok=True)
        source.write_bytes(CONTENTS[index])
        self.bodies.place_whole(source, LISTS[index], move=False, is_durable=False)
        return self.change(lambda: self.bodies.add_whole(LISTS[index], 1))

    def begin(self, index: int) -> BodyChange:
        """A list that came."""
        self.bodies.place_list(LISTS[index])
        return self.change(lambda: self.bodies.begin(LISTS[index], 1))

    def fetch(self, index: int, first: int, end: int) -> BodyChange:
        """Chunks of it that came, each into the segment of its span."""
        found = [self._fetch_one(index, chunk) for chunk in range(first, end)]
        return BodyChange(tuple(cid for change in found for cid in change.whole))

    def _fetch_one(self, index: int, chunk: int) -> BodyChange:
        chunks, cid, segments = LISTS[index], CIDS[index], self.bodies.segments
        first = chunk // SPAN * SPAN
        name, count = name_of_span(cid, first), min(SPAN, chunks.count - first)
        listed, place = chunks.chunk(chunk), chunk - first
        offset = listed.offset - chunks.start(first)
        if segments.named(name) is None:
            segments.files.write(name, b"", is_durable=False)
        path = segments.files.path(name)
        path.chmod(0o600)
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(CONTENTS[index][listed.offset : listed.offset + listed.size])

        def known() -> BodyChange:
            found = segments.named(name)
            id = segments.add(name, count, NOTHING) if found is None else found.id
            laid = self.bodies.lay(cid, [ChunkRun(chunk, 1, id, place, offset)], 1)
            came = self.bodies.arrived({id: [range(place, place + 1)]}, 1)
            return BodyChange((*laid.whole, *came.whole), laid.broken, laid.segments, laid.lists)

        return self.change(known)

    def share(self, index: int, other: int) -> BodyChange:
        """Chunks that another content has."""
        body = self.bodies.get(CIDS[other])
        assert body is not None
        runs = shared(LISTS[index], LISTS[other], body.layout)
        return self.change(lambda: self.bodies.lay(CIDS[index], [run for run in runs if run.segment != ZEROS], 1))

    def damage(self, cid: BlobHash, place: random.Random) -> BodyChange:
        found = self.bodies.segments.of(cid)
        if not found:
            return BodyChange()
        segment = found[place.choice(sorted(found))]
        bad = place.randrange(segment.chunks)
        return self.change(lambda: self.bodies.lost({segment.id: [range(bad, bad + 1)]}, 1))

    def forget(self, index: int) -> BodyChange:
        return self.change(lambda: self.bodies.forget(CIDS[index]))

    def change(self, work: Callable[[], BodyChange]) -> BodyChange:
        with self.store.db.transaction():
            change = work()
        self.bodies.unlink(change)
        return change

    # ---- what is there
    def read(self, index: int) -> bytes | None:
        """All of a content, from where its extents say; None if some of it is not here."""
        data = bytearray()
        for extent in self.bodies.extents(CIDS[index], 0, len(CONTENTS[index])):
            assert extent.offset == len(data)
            if extent.segment is None:
                return None
            if extent.segment == ZEROS:
                data += bytes(extent.length)
                continue
            path = self.bodies.segments.path(extent.segment)
            assert path is not None
            with path.open("rb") as file:
                file.seek(extent.source)
                data += file.read(extent.length)
        return bytes(data)

    def check(self) -> None:
        """Rows agree with each other and with files; what is whole can be read."""
        db = self.store.db
        for index, cid in enumerate(CIDS):
            body = self.bodies.get(cid)
            if body is None:
                assert not self.store.content.has(cid)
                continue
            assert self.bodies.chunk_list(cid) == LISTS[index]
            lacking = self.bodies.missing(cid, 0, body.size)
            assert body.here == body.count - sum(len(part) for part in lacking)
            assert body.is_whole == self.store.content.has(cid) == (not lacking)
            assert self.read(index) == (None if lacking else CONTENTS[index])
        used = {row[0] for row in db.all("SELECT segment FROM body_segments")}
        rows = {row[0]: row[1] for row in db.all("SELECT id, name FROM segments")}
        assert used == rows.keys()
        assert {*rows.values()} == {*self.bodies.segments.files.names()}
        needed = {row[0].hex() for row in db.all("SELECT cid FROM bodies")} | {name[:64] for name in rows.values()}
        assert needed == {path.name for path in self.directory.glob("lists/*/*")}


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path / "volume")
    yield made
    made.store.close()


def test_content_that_was_written_here_is_here_and_whole(shelf: Shelf) -> None:
    assert shelf.seal(0).whole == (CIDS[0],)
    assert shelf.read(0) == CONTENTS[0]
    shelf.check()


def test_content_is_whole_with_its_last_chunk(shelf: Shelf) -> None:
    shelf.begin(0)
    count, half = LISTS[0].count, LISTS[0].count // 2
    assert shelf.fetch(0, half, count).whole == ()
    assert shelf.bodies.missing(CIDS[0], 0, LISTS[0].size) == [range(half)]
    assert shelf.read(0) is None
    assert shelf.fetch(0, 0, half).whole == (CIDS[0],)
    shelf.check()


def test_what_two_contents_share_is_stored_once_and_stays_for_the_other(shelf: Shelf) -> None:
    shelf.seal(0)
    shelf.begin(1)
    shelf.share(1, 0)
    (lacking,) = shelf.bodies.missing(CIDS[1], 0, LISTS[1].size)
    assert len(lacking) <= 2
    assert shelf.fetch(1, lacking.start, lacking.stop).whole == (CIDS[1],)
    shelf.forget(0)
    shelf.check()
    assert shelf.read(1) == CONTENTS[1]
    shelf.forget(1)
    shelf.check()
    assert not list(shelf.bodies.segments.files.names())


def test_one_damaged_chunk_is_the_damage_of_all_that_share_it_and_mended_for_all(shelf: Shelf) -> None:
    shelf.seal(0)
    shelf.begin(1)
    shelf.share(1, 0)
    (lacking,) = shelf.bodies.missing(CIDS[1], 0, LISTS[1].size)
    shelf.fetch(1, lacking.start, lacking.stop)
    ((id, _),) = shelf.bodies.segments.of(CIDS[0]).items()
    assert {*shelf.change(lambda: shelf.bodies.lost({id: [range(1)]}, 1)).broken} == {CIDS[0], CIDS[1]}
    shelf.check()
    assert {*shelf.seal(0).whole} == {CIDS[0], CIDS[1]}
    shelf.check()


def test_zeros_are_in_no_file(shelf: Shelf) -> None:
    shelf.begin(3)
    lacking = shelf.bodies.missing(CIDS[3], 0, LISTS[3].size)
    assert sum(len(part) for part in lacking) < LISTS[3].count
    for part in lacking:
        shelf.fetch(3, part.start, part.stop)
    assert shelf.read(3) == CONTENTS[3]
    allocated = sum(path.stat().st_blocks * 512 for path in shelf.directory.glob("segments/*/*"))
    assert allocated < len(CONTENTS[3]) - 4 * MIB


@pytest.mark.parametrize("damage", [b"", b"HFL1", None])
def test_a_damaged_list_is_none(shelf: Shelf, damage: bytes | None) -> None:
    shelf.seal(0)
    path = next(shelf.directory.glob("lists/*/*"))
    path.chmod(0o600)
    path.write_bytes(LISTS[1].data if damage is None else damage)
    again = Bodies(shelf.store.db, shelf.store.content, shelf.directory)
    assert again.chunk_list(CIDS[0]) is None
    with pytest.raises(Refused):
        again.extents(CIDS[0], 0, 1)


def test_a_layout_names_no_segment_without_a_row(shelf: Shelf) -> None:
    shelf.begin(0)
    with pytest.raises(ValueError, match="segment"), shelf.store.db.transaction():
        shelf.bodies.lay(CIDS[0], [ChunkRun(0, 1, 77, 0, 0)], 1)
    shelf.check()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_comes_is_shared_is_damaged_and_goes_rows_files_and_bytes_agree(shelf: Shelf, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(25):
        index, other = chance.sample(range(len(CONTENTS)), 2)
        known = shelf.bodies.get(CIDS[index]) is not None
        match chance.choice(["seal", "begin", "fetch", "fetch", "share", "share", "damage", "forget"]):
            case "seal":
                shelf.seal(index)
            case "begin":
                shelf.begin(index)
            case "fetch" if known:
                first = chance.randrange(LISTS[index].count)
                shelf.fetch(index, first, chance.randint(first + 1, LISTS[index].count))
            case "share" if known and shelf.bodies.get(CIDS[other]) is not None:
                shelf.share(index, other)
            case "damage":
                shelf.damage(CIDS[index], chance)
            case "forget":
                shelf.forget(index)
        shelf.check()
