# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume's directory: its root, authors, credentials, marks, outbox, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holofsd.core.ids import ROOT_ID, ROOT_INO, AuthorId, NodeId, VolumeId
from holofsd.store.volume import VolumeStore

ADA, BEN = AuthorId(b"a" * 32), AuthorId(b"b" * 32)
ONE, TWO = NodeId(b"1" * 16), NodeId(b"2" * 16)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VolumeStore]:
    opened = VolumeStore(VolumeId(b"v" * 32), tmp_path / "volume")
    yield opened
    opened.close()


def test_the_root_is_the_first_inode_and_stays_it(store: VolumeStore) -> None:
    assert store.nodes.find_ino(ROOT_ID) == ROOT_INO
    assert store.nodes.ino_of(NodeId(b"n" * 16)) > ROOT_INO
    store.close()
    again = VolumeStore(store.volume, store.directory)
    assert again.nodes.ino_of(ROOT_ID) == ROOT_INO
    again.close()


def test_only_the_owner_can_look_into_the_directory(store: VolumeStore) -> None:
    for path in (store.directory, store.directory / "content", store.directory / "staging"):
        assert path.stat().st_mode & 0o777 == 0o700


def test_the_newest_author_is_the_active_one_and_the_others_stay_ours(store: VolumeStore) -> None:
    assert store.active_author() is None
    store.add_author(ADA, b"s" * 32)
    store.set_counter(ADA, 7)
    assert store.active_author() == (ADA, b"s" * 32, 7)
    store.add_author(BEN, b"t" * 32)
    assert store.active_author() == (BEN, b"t" * 32, 0)
    assert set(store.own_authors()) == {ADA, BEN}


def test_a_mark_is_replaced_only_by_a_newer_one(store: VolumeStore) -> None:
    assert store.put_mark(b"d" * 32, 5, b"five")
    assert not store.put_mark(b"d" * 32, 4, b"four")
    assert not store.put_mark(b"d" * 32, 5, b"five again")
    assert store.put_mark(b"d" * 32, 6, b"six")
    assert store.marks() == [(b"d" * 32, 6, b"six")]


def test_a_credential_is_kept_once(store: VolumeStore) -> None:
    store.add_credential("grant", b"digest", b"message")
    store.add_credential("grant", b"digest", b"message")
    assert store.credentials() == [("grant", b"message")]


def test_the_outbox_keeps_the_first_time_and_the_latest_hold(store: VolumeStore) -> None:
    outbox = store.outbox
    outbox.add(ONE, 10, publication_hold_ms=50)
    outbox.add(ONE, 20)
    outbox.add(TWO, 15)
    assert outbox.due(49, 10) == [TWO]
    assert outbox.next_hold_ms() == 50
    assert outbox.due(50, 10) == [ONE, TWO]
    outbox.release(ONE)
    assert outbox.due(0, 10) == [ONE, TWO]
    assert outbox.due(0, 1) == [ONE]
    outbox.remove(ONE)
    assert not outbox.has(ONE)
    assert outbox.count() == 1


def test_values_by_name_can_be_replaced(store: VolumeStore) -> None:
    assert store.meta("hlc") is None
    store.set_meta("hlc", b"1")
    store.set_meta("hlc", b"2")
    assert store.meta("hlc") == b"2"
