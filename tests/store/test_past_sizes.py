# SPDX-License-Identifier: GPL-3.0-or-later
"""Totals of what history and trash take, from the first opening of an older index on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from holofsd.core.ids import BlobHash, NodeId, VolumeId
from holofsd.store.database import Database, scripts
from holofsd.store.past_sizes import INLINE, START, Totals
from holofsd.store.volume import VolumeStore

VOLUME = VolumeId(b"v" * 32)
ONE, TWO = BlobHash(b"1" * 32), BlobHash(b"2" * 32)
NODE, OTHER = NodeId(b"n" * 16), NodeId(b"o" * 16)
HISTORY = "INSERT INTO history (node, dot, began_ms, ended_ms, size, blob, version) VALUES (?,?,?,?,?,?,x'')"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VolumeStore]:
    opened = VolumeStore(VOLUME, tmp_path / "volume")
    yield opened
    opened.close()


def replaced(store: VolumeStore, number: int, blob: BlobHash | None, size: int, began: int = 0, ended: int = 1) -> None:
    with store.db.transaction():
        store.db.run(HISTORY, (NODE, number.to_bytes(40), began, ended, size, blob))


def here(store: VolumeStore, blob: BlobHash, size: int) -> None:
    with store.db.transaction():
        store.content.add(blob, size, 0)


def test_an_index_from_before_is_counted_when_it_is_opened(tmp_path: Path) -> None:
    directory = tmp_path / "volume"
    directory.mkdir()
    before = list(takewhile(lambda text: "past_sizes" not in text, scripts("volume_formats")))
    old = Database(directory / "index.db", before)
    with old.transaction():
        old.run("INSERT INTO content VALUES (?,?,0)", (ONE, 100))
        for number, (size, blob) in enumerate([(100, ONE), (100, ONE), (50, TWO), (7, None)]):
            old.run(HISTORY, (NODE, number.to_bytes(40), 0, 1, size, blob))
    old.close()
    opened = VolumeStore(VOLUME, directory)
    assert opened.past_sizes.totals() == Totals(4, 107, 0)
    here(opened, TWO, 50)
    assert opened.past_sizes.totals() == Totals(4, 157, 0)
    with opened.db.transaction():
        opened.db.run("DELETE FROM history WHERE id<=3")
    assert opened.past_sizes.totals() == Totals(1, 7, 0)
    opened.close()


def test_each_content_counts_once_and_only_while_it_is_here(store: VolumeStore) -> None:
    replaced(store, 1, ONE, 100)
    assert store.past_sizes.totals() == Totals(1, 0, 0)
    here(store, ONE, 100)
    here(store, ONE, 100)
    replaced(store, 2, ONE, 100)
    with store.db.transaction():
        store.past_sizes.set_trash(OTHER, {ONE: 100, TWO: 50, INLINE: 3}, 5)
    here(store, TWO, 50)
    assert store.past_sizes.totals() == Totals(2, 100, 53)
    with store.db.transaction():
        store.past_sizes.drop_version(1)
    assert store.past_sizes.totals() == Totals(1, 100, 53)
    with store.db.transaction():
        store.past_sizes.drop_version(2)
    assert store.past_sizes.totals() == Totals(0, 0, 153)
    with store.db.transaction():
        store.content.lost(ONE)
    assert store.past_sizes.totals() == Totals(0, 0, 53)
    with store.db.transaction():
        store.past_sizes.set_trash(OTHER, {}, 5)
    assert store.past_sizes.totals() == Totals(0, 0, 0)
    assert store.db.number("SELECT count(*) FROM past_content") == 0


def test_a_change_that_is_rolled_back_counts_nothing(store: VolumeStore) -> None:
    here(store, ONE, 100)
    with pytest.raises(RuntimeError), store.db.transaction():
        store.db.run(HISTORY, (NODE, b"1", 0, 1, 100, ONE))
        raise RuntimeError
    assert store.past_sizes.totals() == Totals(0, 0, 0)


def test_a_version_is_short_lived_where_another_one_ended_in_the_same_span(store: VolumeStore) -> None:
    #                 began, ended
    for number, (began, ended) in enumerate([(0, 10), (10, 20), (20, 59), (59, 61), (61, 300), (300, 301)], start=1):
        replaced(store, number, None, 1, began, ended)
    page, after = store.past_sizes.short_lived(START, stood_ms=60, every_ms=60, limit=100)
    assert [item.id for item in page] == [1, 2]
    assert after is not None
    assert store.past_sizes.short_lived(after, 60, 60, 100) == ([], None)
    first, after = store.past_sizes.short_lived(START, 60, 60, limit=2)
    assert ([item.id for item in first], after and after[0]) == ([1, 2], 20)


def test_what_a_record_says_of_a_size_counts_only_until_the_content_is_here(store: VolumeStore) -> None:
    replaced(store, 1, ONE, 1 << 60)
    with store.db.transaction():
        store.past_sizes.set_trash(OTHER, {TWO: 1, INLINE: 3}, 5)
    assert store.past_sizes.totals() == Totals(1, 0, 3)
    here(store, ONE, 100)
    here(store, TWO, 50)
    assert store.past_sizes.totals() == Totals(1, 100, 53)
    replaced(store, 2, TWO, 7)
    assert store.past_sizes.totals() == Totals(2, 150, 3)
    here(store, TWO, 60)
    assert store.past_sizes.totals() == Totals(2, 160, 3), "the size was wrong before"
    with store.db.transaction():
        store.db.run("DELETE FROM history")
        store.past_sizes.set_trash(OTHER, {}, 5)
    assert store.past_sizes.totals() == Totals(0, 0, 0)


def test_sizes_that_an_earlier_program_believed_are_corrected_when_the_index_is_opened(tmp_path: Path) -> None:
    directory = tmp_path / "volume"
    directory.mkdir()
    before = list(takewhile(lambda text: "true sizes" not in text, scripts("volume_formats")))
    old = Database(directory / "index.db", before)
    with old.transaction():
        old.run("INSERT INTO content VALUES (?,?,0)", (ONE, 100))
        old.run(HISTORY, (NODE, bytes(40), 0, 1, 1 << 60, ONE))
        old.run("INSERT INTO trash_content VALUES (?,?,?,5)", (OTHER, TWO, 1 << 61))
        old.run("INSERT INTO wanted VALUES (?,?,50,7)", (TWO, OTHER))
    old.close()
    opened = VolumeStore(VOLUME, directory)
    assert opened.past_sizes.totals() == Totals(1, 100, 0)
    assert opened.content.wanting_nodes() == [OTHER]
    opened.close()
