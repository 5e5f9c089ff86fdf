# SPDX-License-Identifier: GPL-3.0-or-later
"""Recording: what goes is written down with what comes: versions, places, and nothing where nothing went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from holofsd.core import edit
from holofsd.core.document import Head
from holofsd.core.ids import ROOT_ID, BlobHash, NodeId
from holofsd.core.state import Blob, Body, Chunk, Chunks, Inline, Kind, Manifest, Marker, NodeState, Pending, Place
from holofsd.store.past_sizes import Totals
from holofsd.tree.facts import blobs_of
from holofsd.tree.local import LocalVolume
from holofsd.tree.past import Past
from holofsd.tree.recording import Recorder
from holofsd.tree.states import encode_version
from holofsd.tree.tree import HISTORY_ANEW, Tree
from tests.tree.harness import Clock, volume_store

BLOB = BlobHash(b"h" * 32)


class Setting:
    def __init__(self, volume: LocalVolume, clock: Clock) -> None:
        self.volume = volume
        self.store = volume.store
        self.clock = clock
        self.past = Past(volume.tree)

    def create(
        self, name: bytes, body: Body, parent: NodeId = ROOT_ID, kind: Kind = Kind.FILE, size: int = 5
    ) -> NodeState:
        with self.store.db.transaction():
            version = self.volume.new_version(body, size, 7)
            node = edit.split_id(NodeId(b"random-for-tests"), version.dot)
            place = Place(parent, name)
            state = edit.new_node(node, kind, 7, place, edit.link_id(node), version, 0o644, version.stamp)
            self.volume.write([state])
        return state

    def replace(self, state: NodeState, body: Body) -> NodeState:
        with self.store.db.transaction():
            version = self.volume.new_version(body, 5, 7)
            state = edit.with_version(state, version, list(state.versions))
            self.volume.write([state])
        return state

    def move(self, state: NodeState, place: Place) -> NodeState:
        (link,) = state.links
        with self.store.db.transaction():
            state = edit.moved(state, link, place, self.volume.stamp())
            self.volume.write([state])
        return state

    def remove(self, state: NodeState) -> NodeState:
        with self.store.db.transaction():
            state = edit.removed(state)
            self.volume.write([state])
        return state

    def publish(self) -> None:
        active = self.store.active_author()
        assert active is not None
        with self.store.db.transaction():
            self.store.documents.set_head(Head(active[0], 1, active[2], bytes(32), b""))

    def rows(self) -> tuple[int, int]:
        number = self.store.db.number
        return number("SELECT count(*) FROM history"), number("SELECT count(*) FROM past_places")

    def names(self, at_ms: int, parent: NodeId = ROOT_ID) -> list[bytes]:
        return [name for name, _node in self.past.names(parent, at_ms)]


@pytest.fixture
def setting() -> Iterator[Setting]:
    with volume_store() as store:
        clock = Clock()
        yield Setting(LocalVolume(store, "here", clock), clock)


def test_creating_and_writing_for_the_first_time_write_nothing_down(setting: Setting) -> None:
    state = setting.create(b"a", Inline(b""))
    setting.replace(state, Inline(b"12345"))
    assert setting.rows() == (0, 0)


def test_creating_asks_the_index_nothing_about_the_past(setting: Setting) -> None:
    setting.replace(setting.create(b"first", Inline(b"")), Inline(b"12345"))
    asked: list[str] = []
    setting.store.db._connection.set_trace_callback(asked.append)
    setting.replace(setting.create(b"a", Inline(b"")), Inline(b"12345"))
    setting.store.db._connection.set_trace_callback(None)
    tables = ("history", "past_places", "heads", "authors ", "trash", "garbage")
    assert [sql for sql in asked if any(table in sql for table in tables) and "UPDATE authors" not in sql] == []


def test_a_published_version_that_is_replaced_is_written_down_once(setting: Setting) -> None:
    state = setting.create(b"a", Blob(BLOB))
    setting.publish()
    state = setting.replace(state, Inline(b"12345"))
    setting.publish()
    assert setting.rows() == (1, 0)
    (row,) = setting.store.history.of_node(state.id)
    assert (row.blob, row.size, row.ended_ms > row.began_ms) == (BLOB, 5, True)
    with setting.store.db.transaction():
        setting.volume.merge([state])
    assert setting.rows() == (1, 0)


def test_a_transaction_that_fails_writes_nothing_down(setting: Setting) -> None:
    state = setting.create(b"a", Blob(BLOB))
    setting.publish()

    def fail() -> None:
        with setting.store.db.transaction():
            version = setting.volume.new_version(Inline(b"12345"), 5, 7)
            setting.volume.write([edit.with_version(state, version, list(state.versions))])
            setting.store.set_meta("x", b"")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    setting.create(b"b", Inline(b""))
    assert setting.rows() == (0, 0)
    setting.replace(state, Inline(b"12345"))
    assert setting.rows() == (1, 0)


def test_what_is_not_hashed_yet_was_never_published(setting: Setting) -> None:
    state = setting.create(b"a", Pending("staged"))
    setting.publish()
    setting.replace(state, Inline(b"12345"))
    assert setting.rows() == (0, 0)


def test_a_file_that_came_and_went_unseen_leaves_nothing(setting: Setting) -> None:
    state = setting.move(setting.create(b"a", Inline(b"12345")), Place(ROOT_ID, b"b"))
    setting.remove(state)
    assert setting.volume.tree.state(state.id) is None
    assert setting.past.names(ROOT_ID, setting.clock()) == []


def test_places_are_known_from_when_to_when(setting: Setting) -> None:
    directory = setting.create(b"d", Marker(), kind=Kind.DIRECTORY)
    state = setting.create(b"a", Inline(b"12345"))
    setting.publish()
    first = setting.clock()
    state = setting.move(state, Place(directory.id, b"b"))
    second = setting.clock()
    setting.remove(state)
    third = setting.clock()
    assert [setting.names(at) for at in (first, second, third)] == [[b"a", b"d"], [b"d"], [b"d"]]
    assert [setting.names(at, directory.id) for at in (first, second, third)] == [[], [b"b"], []]
    assert setting.names(0) == []
    (trashed,) = next(setting.past.trash())
    assert (trashed.parent, trashed.name) == (directory.id, b"b")
    assert setting.past.resting_path(trashed.parent, trashed.name) == b"d/b"


def test_of_two_files_at_one_name_the_later_is_meant(setting: Setting) -> None:
    setting.create(b"a", Inline(b"12345"))
    later = setting.create(b"a", Inline(b"other"))
    (found,) = setting.past.children(ROOT_ID, setting.clock())
    assert found.node == later.id


def test_a_conflict_copy_that_becomes_a_file_is_not_a_replaced_version(setting: Setting) -> None:
    state = setting.create(b"a", Inline(b"mine!"))
    setting.publish()
    with setting.store.db.transaction():
        theirs = setting.volume.new_version(Inline(b"yours"), 5, 7)
        both = replace(state, versions={**state.versions, theirs.dot: theirs})
        setting.volume.write([both])
    setting.publish()
    with setting.store.db.transaction():
        kept, copies = edit.materialise(both, setting.volume.next_dot(), setting.volume.stamp())
        setting.volume.write([kept, *copies])
    assert len(copies) == 1
    assert [past.version.body for past in setting.past.versions(state.id)] == [
        version.body for version in kept.versions.values()
    ]


def test_a_look_at_the_trash_does_not_read_every_node(setting: Setting) -> None:
    sql = "EXPLAIN QUERY PLAN SELECT node FROM nodes WHERE visible=0 AND node>? ORDER BY node LIMIT ?"
    assert "nodes_gone" in str(setting.store.db.all(sql, (b"", 1)))


# ---- what it counts as
CLAIM = 1 << 43
LIST = Manifest(BLOB)
PARTS = Chunks((Chunk(BLOB, CLAIM - 5), Chunk(BlobHash(b"i" * 32), 5)))


def history(setting: Setting) -> list[tuple[int, bytes | None]]:
    return setting.store.db.all("SELECT size, blob FROM history ORDER BY id")


def replaced(setting: Setting, body: Body) -> NodeState:
    """A file with this body, of which a record says the greatest size there is, that is written again."""
    state = setting.create(b"a", body, size=CLAIM)
    setting.publish()
    return setting.replace(state, Inline(b"b"))


def test_what_a_replaced_list_claims_counts_only_as_far_as_it_is_here(setting: Setting) -> None:
    replaced(setting, LIST)
    assert history(setting) == [(CLAIM, BLOB)]
    assert setting.store.past_sizes.totals() == Totals(1, 0, 0)
    with setting.store.db.transaction():
        setting.store.content.add(BLOB, 100, 1)
    assert setting.store.past_sizes.totals() == Totals(1, 100, 0)


def test_versions_that_have_several_contents_leave_no_trace_and_can_be_collected(setting: Setting) -> None:
    replaced(setting, PARTS)
    assert history(setting) == []
    assert setting.store.past_sizes.totals() == Totals(0, 0, 0)
    assert setting.volume.tree.untraced == dict(blobs_of(PARTS, CLAIM))


def test_a_directory_counts_nothing_whatever_its_record_says(setting: Setting) -> None:
    state = setting.create(b"d", Marker(), kind=Kind.DIRECTORY, size=CLAIM)
    with setting.store.db.transaction():
        recorder = Recorder(setting.store, setting.clock)
        recorder.never_lived(state, replace(state, versions={}))
    assert history(setting) == [(0, None)]
    assert setting.store.past_sizes.totals() == Totals(1, 0, 0)


def test_history_of_an_earlier_program_gets_the_ids_of_its_content(setting: Setting) -> None:
    state = setting.create(b"a", Inline(b"first"))
    setting.publish()
    setting.replace(state, Inline(b"b"))
    (before,) = setting.store.history.of_node(state.id)
    (version,) = state.versions.values()
    marker = replace(version, body=Marker(), size=CLAIM)
    with setting.store.db.transaction():
        for number, body in enumerate((LIST, PARTS), 1):
            encoded = encode_version(state.id, Kind.FILE, replace(version, body=body, size=CLAIM))
            old = replace(before, dot=number.to_bytes(40), size=CLAIM, blob=None, version=encoded)
            setting.store.history.add([old], [])
        encoded = encode_version(state.id, Kind.DIRECTORY, marker)
        setting.store.history.add([replace(before, dot=b"d" * 40, size=CLAIM, version=encoded)], [])
        setting.store.set_meta(HISTORY_ANEW, b"1")
    assert setting.store.past_sizes.totals() == Totals(4, 5 + 3 * CLAIM, 0)
    Tree(setting.store, setting.clock)
    assert history(setting) == [(5, None), (CLAIM, BLOB), (0, None)]
    assert setting.store.past_sizes.totals() == Totals(3, 5, 0)
    assert setting.store.meta(HISTORY_ANEW) is None
