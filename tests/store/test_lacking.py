# SPDX-License-Identifier: GPL-3.0-or-later
"""The count of what another device lacks: which rows it looks at, and what it makes of each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from holofsd.core.document import Envelope
from holofsd.core.ids import AuthorId, Dot, NodeId, VolumeId
from holofsd.core.project import token
from holofsd.core.state import Kind
from holofsd.store.lacking import COUNT, HeldUpTo, Lacking, lacking_counter
from holofsd.store.volume import VolumeStore

ADA, BEN, OLD = AuthorId(b"a" * 32), AuthorId(b"b" * 32), AuthorId(b"o" * 32)
FILE = NodeId(b"f" * 16)
PUBLISHED = 10
"""Highest dot counter of each author that its head vouches for."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VolumeStore]:
    store = VolumeStore(VolumeId(b"v" * 32), tmp_path / "volume")
    yield store
    store.close()


def put(
    store: VolumeStore, node: NodeId, shown: Dot, kind: Kind = Kind.FILE, visible: int = 1, size: int = 100
) -> None:
    store.db.run(
        "INSERT INTO nodes (node, kind, state, shown, size, mtime_ns, ctime_ns, mode, nlink, xattrs, remote, versions,"
        " visible) VALUES (?,?,x'',?,?,0,0,420,1,0,0,1,?)",
        (node, int(kind), token(shown), size, visible),
    )


def say(store: VolumeStore, author: AuthorId, seq: int, node: NodeId = FILE) -> None:
    store.documents.put(Envelope(author, seq, node, b"payload", b"s" * 64))


def lacking(store: VolumeStore, most: int = 1000, **held: int) -> Lacking:
    """Counts for a device that holds `ada` and `ben` up to these numbers."""
    known = [HeldUpTo(a, held.get(n, 0), token(Dot(a, PUBLISHED))) for a, n in ((ADA, "ada"), (BEN, "ben"))]
    with lacking_counter(store.db.path, most) as counter:
        return counter.count(known)


def test_a_record_beyond_what_is_held_is_a_file_with_its_bytes(store: VolumeStore) -> None:
    put(store, FILE, Dot(ADA, 1))
    say(store, ADA, 5)
    assert lacking(store, ada=4) == Lacking(1, 100)
    assert lacking(store, ada=5) == Lacking()


def test_a_mode_set_by_another_author_makes_no_bytes(store: VolumeStore) -> None:
    put(store, FILE, Dot(ADA, 1))
    say(store, ADA, 5)
    say(store, BEN, 3)
    assert lacking(store, ada=5, ben=2) == Lacking(1, 0)
    assert lacking(store, ada=4, ben=2) == Lacking(1, 100)


def test_where_the_author_of_the_content_has_no_record_any_more_another_stands_for_it(store: VolumeStore) -> None:
    put(store, FILE, Dot(OLD, 1))
    say(store, BEN, 3)
    assert lacking(store, ben=2) == Lacking(1, 100)
    assert lacking(store, ben=3) == Lacking()


def test_what_is_not_published_yet_is_lacking_and_its_bytes_if_the_version_is_new(store: VolumeStore) -> None:
    put(store, FILE, Dot(ADA, PUBLISHED + 1))
    say(store, ADA, 5)
    other = NodeId(b"g" * 16)
    put(store, other, Dot(ADA, PUBLISHED), size=7)
    store.outbox.add(FILE, 1)
    assert lacking(store, ada=5) == Lacking(1, 100)
    store.outbox.add(other, 1)
    assert lacking(store, ada=5) == Lacking(2, 100)


def test_folders_links_and_removals_are_other_changes_and_other_records_are_none(store: VolumeStore) -> None:
    kinds = [(Kind.DIRECTORY, 1), (Kind.SYMLINK, 1), (Kind.FILE, 0)]
    for number, (kind, visible) in enumerate(kinds):
        node = NodeId(bytes([number]) * 16)
        put(store, node, Dot(ADA, 1), kind, visible)
        say(store, ADA, number + 1, node)
    say(store, ADA, 8, NodeId(b"device"))
    assert lacking(store) == Lacking(0, 0, 3)


def test_at_most_so_many_records_are_looked_at_and_that_is_said(store: VolumeStore) -> None:
    for number in range(5):
        node = NodeId(bytes([number]) * 16)
        put(store, node, Dot(ADA, 1))
        say(store, ADA, number + 1, node)
    assert lacking(store, most=3) == Lacking(3, 300, 0, True)
    assert lacking(store, most=6) == Lacking(5, 500)


def test_the_count_goes_by_indices_and_never_over_the_volume(store: VolumeStore) -> None:
    connection = sqlite3.connect(store.db.path)
    connection.execute("CREATE TEMP TABLE held (author BLOB PRIMARY KEY, seq INTEGER, published BLOB) WITHOUT ROWID")
    values = {"node_key": 16, "file": 1, "most": 10}
    steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {COUNT}", values)]
    connection.close()
    assert any(step.startswith("SEARCH e USING INDEX envelopes_by_seq") for step in steps)
    scanned = {step.split()[1].removeprefix("main.") for step in steps if step.startswith("SCAN ")}
    assert scanned <= {"d", "temp.held", "told", "untold", "outbox", "l", "lacking"}
