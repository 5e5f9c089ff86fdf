# SPDX-License-Identifier: GPL-3.0-or-later
"""Content and staging files: what is here, what is wanted, receiving with resumption, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from holofsd.core.errors import Refused
from holofsd.core.ids import AuthorId, BlobHash, Ino, NodeId, VolumeId
from holofsd.store.content import Wanted, hash_file
from holofsd.store.staging import StagingRow
from holofsd.store.volume import VolumeStore

DATA = b"some content" * 1000
BLOB = BlobHash(blake3(DATA).digest())
NODE = NodeId(b"n" * 16)
AUTHOR, LIAR = AuthorId(b"a" * 32), AuthorId(b"l" * 32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VolumeStore]:
    opened = VolumeStore(VolumeId(b"v" * 32), tmp_path / "volume")
    yield opened
    opened.close()


def test_a_received_blob_is_verified_and_placed(store: VolumeStore) -> None:
    incoming = store.content.receive(BLOB)
    incoming.write(DATA)
    store.content.place(incoming.finish(), BLOB, move=True)
    assert not store.content.has(BLOB)
    store.content.add(BLOB, len(DATA), 0)
    assert store.content.has(BLOB)
    assert store.content.size(BLOB) == len(DATA)
    assert store.content.path(BLOB).read_bytes() == DATA
    assert store.content.path(BLOB).stat().st_mode & 0o777 == 0o400
    assert hash_file(store.content.path(BLOB)) == (BLOB, len(DATA))


def test_receiving_goes_on_where_it_stopped(store: VolumeStore) -> None:
    first = store.content.receive(BLOB)
    first.write(DATA[:5000])
    first.abandon()
    second = store.content.receive(BLOB)
    assert second.offset == 5000
    second.write(DATA[5000:])
    assert second.finish(durable=False).read_bytes() == DATA


def test_content_with_another_hash_is_refused_and_gone(store: VolumeStore) -> None:
    incoming = store.content.receive(BLOB)
    incoming.write(b"something else")
    with pytest.raises(Refused):
        incoming.finish()
    assert store.content.receive(BLOB).offset == 0


def test_placing_a_finalized_staging_file_leaves_it_where_it_is(store: VolumeStore) -> None:
    path = store.staging.make_file("s1")
    path.write_bytes(DATA)
    store.content.place(path, BLOB, move=False)
    store.content.place(path, BLOB, move=False)
    assert path.exists()
    assert store.content.path(BLOB).read_bytes() == DATA


def test_lost_content_is_not_here_any_more(store: VolumeStore) -> None:
    path = store.staging.make_file("s1")
    store.content.place(path, BLOB, move=True)
    store.content.add(BLOB, 0, 0)
    store.content.lost(BLOB)
    assert not store.content.has(BLOB)
    assert not store.content.path(BLOB).exists()


def test_wanted_content_is_listed_oldest_first_and_counted_once(store: VolumeStore) -> None:
    other = BlobHash(b"o" * 32)
    store.content.want(BLOB, NODE, AUTHOR, 10, 5)
    store.content.want(BLOB, NodeId(b"m" * 16), AUTHOR, 10, 9)
    store.content.want(other, NODE, AUTHOR, 7, 1)
    assert store.content.wanted(AUTHOR, 10, 100, 20) == [Wanted(other, 7, 7), Wanted(BLOB, 10, 10)]
    assert store.content.wanted(AUTHOR, 1, 100, 20) == [Wanted(other, 7, 7)]
    assert store.content.missing() == (2, 17)
    assert set(store.content.wanted_by(BLOB)) == {NODE, NodeId(b"m" * 16)}
    store.content.unwant(other, NODE, AUTHOR)
    assert store.content.wanted_for(NODE) == {(BLOB, AUTHOR): 10}


def test_several_sizes_of_one_content_are_kept_by_who_says_them(store: VolumeStore) -> None:
    store.content.want(BLOB, NODE, AUTHOR, 10, 5)
    store.content.want(BLOB, NODE, LIAR, 1 << 40, 6)
    assert store.content.claims(BLOB) == (10, 1 << 40)
    assert store.content.wanted(AUTHOR, 10, 100, 20) == [Wanted(BLOB, 10, 1 << 40)]
    assert store.content.wanted(LIAR, 10, 100, 20) == [], "what does not fit is not looked at again and again"
    assert store.content.missing() == (1, 10)
    assert store.content.beyond(100, 5) == [], "one of them says that it is small"
    store.content.unwant(BLOB, NODE, AUTHOR)
    assert store.content.beyond(100, 5) == [(BLOB, 1 << 40)]


def test_each_author_has_a_queue_of_its_own(store: VolumeStore) -> None:
    for number in range(50):
        store.content.want(BlobHash(number.to_bytes(32)), NODE, LIAR, 10, number)
    store.content.want(BLOB, NODE, AUTHOR, 10, 99)
    assert store.content.wanting_authors() == sorted([AUTHOR, LIAR])
    assert [item.blob for item in store.content.wanted(AUTHOR, 10, 100, 100)] == [BLOB]
    first = [item.blob for item in store.content.wanted(LIAR, 10, 100, 100)]
    store.content.set_back(first, 1000)
    assert not set(first).intersection(item.blob for item in store.content.wanted(LIAR, 50, 100, 100))
    store.content.all_in_turn(100)
    assert set(first) < {item.blob for item in store.content.wanted(LIAR, 50, 100, 100)}


def row(staging_id: str, ino: int, finalized: bytes = b"") -> StagingRow:
    return StagingRow(staging_id, Ino(ino), NODE, b"", "mount", finalized, 0)


def test_an_inode_has_one_writable_staging_file_and_any_number_of_finalized_ones(store: VolumeStore) -> None:
    store.staging.add(row("s1", 5))
    store.staging.finalize("s1", b"token")
    store.staging.add(row("s2", 5))
    writable = store.staging.writable(Ino(5))
    assert writable is not None
    assert writable.id == "s2"
    assert [r.id for r in store.staging.to_hash(10)] == ["s1"]
    assert [r.id for r in store.staging.unfinalized()] == ["s2"]
    assert store.staging.finalized_as(b"token") == ["s1"]


def test_a_removed_staging_file_goes_with_the_commit_and_not_before(store: VolumeStore) -> None:
    path = store.staging.make_file("s1")
    store.staging.add(row("s1", 5))
    with pytest.raises(ZeroDivisionError), store.db.transaction():
        store.staging.remove("s1")
        raise ZeroDivisionError
    assert path.exists()
    assert store.staging.get("s1") is not None
    with store.db.transaction():
        store.staging.remove("s1")
        assert path.exists()
    assert not path.exists()


def test_a_staging_file_that_no_row_names_is_swept_away(store: VolumeStore) -> None:
    kept, garbage = store.staging.make_file("s1"), store.staging.make_file("s2")
    store.staging.add(row("s1", 5))
    store.staging.sweep()
    assert kept.exists()
    assert not garbage.exists()


def test_a_staging_file_is_private(store: VolumeStore) -> None:
    assert store.staging.make_file("s1").stat().st_mode & 0o777 == 0o600


def test_a_staging_file_follows_its_inode_and_versions_that_are_renamed(store: VolumeStore) -> None:
    store.staging.add(row("s1", 5, b"old"))
    store.staging.rebind("s1", Ino(6), NodeId(b"m" * 16))
    store.staging.renamed({b"old": b"new"})
    found = store.staging.get("s1")
    assert found is not None
    assert (found.ino, found.node, found.version, found.base) == (6, b"m" * 16, b"new", b"")


def test_small_content_is_kept_under_its_hash_and_nothing_else_is_left(store: VolumeStore) -> None:
    blob = store.content.keep(b"some bytes")
    assert store.content.path(blob).read_bytes() == b"some bytes"
    assert store.content.path(blob).stat().st_mode & 0o777 == 0o400
    with store.db.transaction():
        store.content.add(blob, 10, 0)
    placed = store.content.path(blob).stat().st_ino
    assert store.content.keep(b"some bytes") == blob
    assert store.content.path(blob).stat().st_ino == placed, "what may have been synced stays"
    store.content.path(blob).chmod(0o600)
    store.content.path(blob).write_bytes(b"SOME bytes")
    assert store.content.keep(b"some bytes") == blob
    assert store.content.path(blob).read_bytes() == b"some bytes", "damaged bytes do not stay"
    store.content.path(blob).unlink()
    assert store.content.keep(b"some bytes") == blob
    assert store.content.path(blob).read_bytes() == b"some bytes"
    assert not list((store.directory / "incoming").iterdir())


def test_bytes_that_are_not_those_of_the_hash_are_refused(store: VolumeStore) -> None:
    with pytest.raises(Refused):
        store.content.write_fresh(BLOB, b"other bytes")


def test_what_a_crash_left_between_writing_and_placing_is_swept(store: VolumeStore) -> None:
    left = Path(store.content.write_fresh(BLOB, DATA))
    VolumeStore(store.volume, store.directory).close()
    assert not left.exists()
