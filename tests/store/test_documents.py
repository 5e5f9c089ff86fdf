# SPDX-License-Identifier: GPL-3.0-or-later
"""The document replica: newest records, heads, pages, runs that are received, and what is still to be merged."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from holofsd.core import sethash
from holofsd.core.document import Envelope, Head
from holofsd.core.ids import AuthorId, NodeId, VolumeId
from holofsd.store.database import Database, scripts
from holofsd.store.documents import Documents
from holofsd.store.volume import VolumeStore

ADA, BEN = AuthorId(b"a" * 32), AuthorId(b"b" * 32)


def envelope(seq: int, key: bytes, author: AuthorId = ADA, payload: bytes = b"payload") -> Envelope:
    return Envelope(author, seq, key, payload, b"s" * 64)


def head(seq: int, author: AuthorId = ADA, dots: int = 0) -> Head:
    return Head(author, seq, dots, b"h" * 32, b"s" * 64)


@pytest.fixture
def documents(tmp_path: Path) -> Iterator[Documents]:
    store = VolumeStore(VolumeId(b"v" * 32), tmp_path / "volume")
    yield store.documents
    store.close()


def test_the_newest_record_of_an_author_under_a_key_replaces_the_older(documents: Documents) -> None:
    documents.put(envelope(1, b"k"))
    documents.put(envelope(2, b"k"))
    documents.put(envelope(1, b"k", BEN))
    assert documents.envelope(ADA, b"k") == envelope(2, b"k")
    assert {e.author for e in documents.about(b"k")} == {ADA, BEN}
    assert documents.is_known(b"k")
    assert not documents.is_known(b"other")


def test_heads_say_up_to_where_counters_are_vouched_for(documents: Documents) -> None:
    documents.set_head(head(3, dots=7))
    documents.set_head(head(4, dots=9))
    documents.set_head(head(1, BEN, dots=2))
    assert documents.head(ADA) == head(4, dots=9)
    assert set(documents.heads()) == {ADA, BEN}
    assert documents.dot_limits() == {ADA: 9, BEN: 2}
    assert documents.head(AuthorId(b"c" * 32)) is None


def test_a_page_is_in_order_bounded_and_never_empty_if_there_is_more(documents: Documents) -> None:
    for seq in (3, 1, 2, 5):
        documents.put(envelope(seq, b"k%d" % seq, payload=b"x" * 1000))
    assert [e.seq for e in documents.page(ADA, 1, 5, 10**6)] == [2, 3, 5]
    assert [e.seq for e in documents.page(ADA, 0, 3, 2000)] == [1, 2]
    assert [e.seq for e in documents.page(ADA, 0, 5, 1)] == [1]
    assert documents.page(ADA, 5, 9, 10**6) == []
    assert documents.count_after(ADA, 2) == 2


def test_received_records_count_only_when_their_head_fits(documents: Documents) -> None:
    documents.put(envelope(1, b"old"))
    documents.put_incoming([envelope(2, b"a"), envelope(3, b"b")])
    assert [received.seq for received in documents.incoming(ADA)] == [2, 3]
    assert documents.envelope(ADA, b"a") is None
    assert documents.promote(head(3), whole=False) == 2
    assert list(documents.incoming(ADA)) == []
    assert documents.head(ADA) == head(3)
    assert [e.key for e in documents.to_merge(10, 1 << 20)[0]] == [b"a", b"b"]
    assert documents.envelope(ADA, b"old") is not None


def test_a_whole_run_drops_what_it_does_not_name(documents: Documents) -> None:
    documents.put(envelope(1, b"old"))
    documents.put(envelope(1, b"old", BEN))
    documents.put_incoming([envelope(2, b"a")])
    documents.promote(head(2), whole=True)
    assert documents.envelope(ADA, b"old") is None
    assert documents.envelope(BEN, b"old") is not None


def test_what_another_history_lacks_is_not_left_to_be_done(documents: Documents) -> None:
    documents.put(envelope(1, b"gone"))
    documents.put(envelope(2, b"kept"))
    for key in (b"gone", b"kept"):
        documents.quarantine(ADA, key, 1, "malformed", 0)
        documents.wait_for(BEN, ADA, key)
    documents.put_incoming([envelope(3, b"kept")])
    documents.promote(head(3), whole=True)
    for table in ("quarantine", "waiting"):
        assert documents.db.all(f"SELECT key FROM {table}") == [(b"kept",)]


def test_merging_takes_records_off_the_queue(documents: Documents) -> None:
    documents.put_incoming([envelope(seq, b"k%d" % seq) for seq in range(1, 6)])
    documents.promote(head(5), whole=False)
    first, _ = documents.to_merge(2, 1 << 20)
    documents.merged(first)
    assert documents.merge_backlog() == 3
    assert [e.seq for e in documents.to_merge(10, 1 << 20)[0]] == [3, 4, 5]


def test_large_records_are_not_merged_all_at_once(documents: Documents) -> None:
    documents.put_incoming([envelope(seq, b"k%d" % seq, payload=b"p" * 600) for seq in range(1, 6)])
    documents.promote(head(5), whole=False)
    assert [e.seq for e in documents.to_merge(10, 1000)[0]] == [1, 2]
    assert [e.seq for e in documents.to_merge(10, 1)[0]] == [1]


def test_records_that_wait_for_an_author_are_merged_again_when_its_head_advances(documents: Documents) -> None:
    documents.put(envelope(1, b"k"))
    documents.wait_for(BEN, ADA, b"k")
    assert documents.requeue_waiting(ADA) == 0
    assert documents.requeue_waiting(BEN) == 1
    assert documents.requeue_waiting(BEN) == 0
    assert [e.key for e in documents.to_merge(10, 1 << 20)[0]] == [b"k"]


def test_the_set_sum_is_that_of_the_records_held(documents: Documents) -> None:
    documents.put(envelope(1, b"a", payload=b"one"))
    documents.put(envelope(2, b"b", payload=b"two"))
    expected = sethash.add(sethash.element(b"a", 1, b"one"), sethash.element(b"b", 2, b"two"))
    assert documents.set_sum(ADA, lambda payload: payload) == expected
    assert documents.set_sum(BEN, lambda payload: payload) == 0


def test_quarantine_counts_reasons_until_a_later_record_is_understood(documents: Documents) -> None:
    documents.quarantine(ADA, b"a", 1, "format 9", 0)
    documents.quarantine(ADA, b"b", 2, "format 9", 0)
    assert documents.quarantined() == {"format 9": 2}
    documents.release(ADA, b"a")
    assert documents.quarantined() == {"format 9": 1}


def test_records_about_removed_nodes_are_merged_once_more_by_the_program_that_knows_when(tmp_path: Path) -> None:
    directory = tmp_path / "volume"
    directory.mkdir()
    before = list(takewhile(lambda text: "when each device removed" not in text, scripts("volume_formats")))
    old = Database(directory / "index.db", before)
    ours, theirs = AuthorId(b"a" * 32), AuthorId(b"b" * 32)
    gone, here = NodeId(b"g" * 16), NodeId(b"h" * 16)
    with old.transaction():
        old.run("INSERT INTO authors VALUES (?,?,1,1)", (ours, b"s" * 32))
        for node, visible in ((gone, 0), (here, 1)):
            old.run("INSERT INTO nodes VALUES (?,1,x'',x'',NULL,0,0,0,0,0,0,0,0,?)", (node, visible))
            for seq, author in enumerate((ours, theirs), start=7):
                old.run("INSERT INTO envelopes VALUES (?,?,?,x'',x'')", (author, node, seq))
    old.close()
    opened = VolumeStore(VolumeId(b"v" * 32), directory)
    assert opened.db.all("SELECT author, key, seq FROM merge_queue") == [(theirs, gone, 8)]
    opened.close()
