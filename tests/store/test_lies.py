# SPDX-License-Identifier: GPL-3.0-or-later
"""Lies are counted by who said them, kept over a restart, and a flood of them costs next to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holofsd.core.ids import VolumeId
from holofsd.store.lies import MAX_EXAMPLE, MAX_ROWS, MORE_LIES, NOBODY, Lie
from holofsd.store.volume import VolumeStore

VOLUME = VolumeId(b"v" * 32)
EVE, MALLORY = b"e" * 32, b"m" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VolumeStore]:
    opened = VolumeStore(VOLUME, tmp_path / "volume")
    opened.lies.now_ms = lambda: 1000
    yield opened
    opened.close()


def stored(store: VolumeStore) -> list[tuple[bytes, int]]:
    return store.db.all("SELECT who, number FROM lies ORDER BY who")  # type: ignore[return-value]


def test_a_lie_is_counted_by_who_said_it_and_the_last_one_is_the_example(store: VolumeStore) -> None:
    store.lies.note(EVE, "forged", "one")
    store.lies.now_ms = lambda: 2000
    store.lies.note(EVE, "forged", "two" * MAX_EXAMPLE)
    store.lies.note(MALLORY, "forged", "three", 5)
    assert store.lies.all() == [
        Lie(EVE, "forged", 2, 1000, 2000, ("two" * MAX_EXAMPLE)[:MAX_EXAMPLE]),
        Lie(MALLORY, "forged", 5, 2000, 2000, "three"),
    ]


def test_a_flood_is_written_rarely_and_kept_when_the_volume_is_closed(tmp_path: Path) -> None:
    first = VolumeStore(VOLUME, tmp_path / "volume")
    first.lies.now_ms = lambda: 1000
    first.lies.note(EVE, "forged", "")
    changes = first.db.changes
    for _ in range(500):
        first.lies.note(EVE, "forged", "")
    assert first.db.changes == changes
    first.lies.now_ms = lambda: 20_000
    first.lies.note(EVE, "forged", "")
    assert stored(first) == [(EVE, 502)]
    first.lies.note(EVE, "forged", "")
    first.close()
    again = VolumeStore(VOLUME, tmp_path / "volume")
    assert [lie.count for lie in again.lies.all()] == [503]
    again.close()


def test_a_transaction_that_fails_takes_no_count_back(store: VolumeStore) -> None:
    with pytest.raises(RuntimeError), store.db.transaction():
        store.lies.note(EVE, "forged", "")
        raise RuntimeError
    assert stored(store) == []
    with store.db.transaction():
        store.lies.note(MALLORY, "forged", "")
    assert stored(store) == [(EVE, 1), (MALLORY, 1)]


def test_liars_beyond_the_limit_are_counted_together(store: VolumeStore) -> None:
    for number in range(MAX_ROWS + 10):
        store.lies.note(number.to_bytes(32), "forged", "")
    found = {lie.who: lie.count for lie in store.lies.all()}
    assert len(found) == MAX_ROWS + 1
    assert found[NOBODY] == 10
    assert [lie.what for lie in store.lies.all() if lie.who == NOBODY] == [MORE_LIES]
