# SPDX-License-Identifier: GPL-3.0-or-later
"""Inode numbers: stable, detached for those who have a file open, taken over by renames, never used again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holofsd.codec.records import decode_state, encode_state
from holofsd.core import edit
from holofsd.core.ids import ROOT_ID, AuthorId, BlobHash, Ino, NodeId
from holofsd.core.project import token
from holofsd.core.state import Blob, Body, Inline
from holofsd.store.volume import VolumeStore
from holofsd.tree.changes import EntryUpdate, InodeUpdate, TreeChange
from holofsd.tree.tree import WANTED_ANEW, Tree
from holofsd.tree.views import Entry
from support.model import Device, meet
from tests.tree.harness import Clock, volume_store, walk

BLOB = BlobHash(b"h" * 32)


class Setting:
    """One device's tree, a device elsewhere, and which inodes somebody has open here."""

    def __init__(self, store: VolumeStore) -> None:
        self.store = store
        self.open: set[Ino] = set()
        self.tree = Tree(store, Clock(), self.open.__contains__)
        self.here = Device("here", 20_000)
        self.there = Device("there", 10_000)

    def share(self, *paths: bytes) -> None:
        for path in paths:
            self.there.write(path, b"first")
        self.merge()
        meet(self.here, self.there)

    def merge(self) -> TreeChange:
        """Merge everything from elsewhere."""
        with self.store.db.transaction():
            return self.tree.merge([decode_state(encode_state(state)) for state in self.there.states.values()])

    def at(self, path: bytes) -> Entry:
        return walk(self.tree)[path]

    def body(self, ino: Ino) -> Body:
        version = self.tree.version(ino)
        assert version is not None
        return version.body


@pytest.fixture
def on() -> Iterator[Setting]:
    with volume_store() as store:
        yield Setting(store)


def test_a_version_from_elsewhere_changes_the_content_of_an_inode_that_nobody_has_open(on: Setting) -> None:
    on.share(b"a")
    before = on.at(b"a")
    on.there.write(b"a", b"second")
    change = on.merge()
    now = on.at(b"a")
    assert now.ino == before.ino
    assert change.entries == []
    assert change.inodes == [InodeUpdate(now.ino, True, before.view.version, now.view.version, elsewhere=True)]
    assert on.body(now.ino) == Inline(b"second")


def test_an_open_inode_keeps_its_version_and_the_name_leads_to_a_new_one(on: Setting) -> None:
    on.share(b"a")
    before = on.at(b"a")
    on.open.add(before.ino)
    on.there.write(b"a", b"second")
    change = on.merge()
    now = on.at(b"a")
    assert now.ino != before.ino
    assert change.entries == [EntryUpdate(ROOT_ID, Ino(1), b"a", now.ino, gone=False)]
    assert change.inodes == []
    assert on.body(before.ino) == Inline(b"first")
    assert on.body(now.ino) == Inline(b"second")
    view = on.tree.view(before.ino)
    assert view is not None
    assert (view.detached, view.nlink, view.size, view.version) == (True, 0, 5, before.view.version)


def test_another_version_with_the_same_bytes_leaves_an_open_inode_alone(on: Setting) -> None:
    on.share(b"a")
    before = on.at(b"a")
    on.open.add(before.ino)
    on.there.write(b"a", b"first")
    change = on.merge()
    assert on.at(b"a").ino == before.ino
    assert [(update.content, update.previous) for update in change.inodes] == [(False, before.view.version)]


def test_a_change_of_attributes_is_told_without_content(on: Setting) -> None:
    on.share(b"a")
    ino = on.at(b"a").ino
    on.there.chmod(b"a", 0o600)
    assert [(u.ino, u.content) for u in on.merge().inodes] == [(ino, False)]
    assert on.at(b"a").view.mode == 0o600


def test_a_removal_drops_the_inode_or_detaches_it_for_who_has_it_open(on: Setting) -> None:
    on.share(b"a", b"b")
    a, b = on.at(b"a").ino, on.at(b"b").ino
    on.open.add(b)
    on.there.unlink(b"a")
    on.there.unlink(b"b")
    change = on.merge()
    assert {(entry.name, entry.ino, entry.gone) for entry in change.entries} == {(b"a", None, True), (b"b", None, True)}
    assert on.tree.view(a) is None
    assert on.body(b) == Inline(b"first")
    with on.store.db.transaction():
        on.tree.forget_detached(b)
    assert on.tree.view(b) is None


def test_a_number_is_never_used_again(on: Setting) -> None:
    on.share(b"a")
    gone = on.at(b"a").ino
    on.there.unlink(b"a")
    on.there.write(b"b", b"other")
    on.merge()
    assert on.at(b"b").ino > gone


def test_forgetting_leaves_an_inode_that_is_not_detached(on: Setting) -> None:
    on.share(b"a")
    ino = on.at(b"a").ino
    with on.store.db.transaction():
        on.tree.forget_detached(ino)
        for detached in on.store.nodes.detached():
            on.tree.forget_detached(detached)
    assert on.at(b"a").ino == ino


def test_renaming_over_shows_the_source_inode_and_keeps_the_targets_for_its_readers(on: Setting) -> None:
    on.share(b"target")
    on.there.write(b"source", b"new content")
    on.merge()
    meet(on.here, on.there)
    source, target = on.at(b"source"), on.at(b"target")
    on.open.add(target.ino)
    on.here.replace(b"source", b"target")
    states = [on.here.states[target.node], on.here.states[source.node]]
    with on.store.db.transaction():
        change = on.tree.apply(states, takeover={source.ino: target.node})
    now = on.at(b"target")
    assert (now.ino, now.node) == (source.ino, target.node)
    assert on.body(target.ino) == Inline(b"first")
    assert {(e.name, e.ino) for e in change.entries} == {(b"source", None), (b"target", source.ino)}
    assert change.inodes == [InodeUpdate(source.ino, False, source.view.version, now.view.version, elsewhere=False)]
    assert set(walk(on.tree)) == {b"target"}


def test_renaming_over_a_file_that_nobody_has_open_drops_its_inode(on: Setting) -> None:
    on.share(b"target")
    on.there.write(b"source", b"new content")
    on.merge()
    meet(on.here, on.there)
    source, target = on.at(b"source"), on.at(b"target")
    on.here.replace(b"source", b"target")
    with on.store.db.transaction():
        on.tree.apply([on.here.states[target.node], on.here.states[source.node]], takeover={source.ino: target.node})
    assert on.tree.view(target.ino) is None
    assert on.at(b"target").ino == source.ino


def test_a_conflict_copy_that_becomes_a_file_keeps_its_inode(on: Setting) -> None:
    on.share(b"a.txt")
    on.here.write(b"a.txt", b"here")
    on.there.write(b"a.txt", b"there")
    meet(on.here, on.there)
    on.merge()
    (copy,) = [entry for entry in walk(on.tree).values() if entry.is_copy]
    state = on.here.states[copy.node]
    version = on.here.version(Inline(b"here"))
    remaining, split = edit.materialise(state, version.dot, version.stamp)
    with on.store.db.transaction():
        change = on.tree.apply([remaining, *split], takeover={copy.ino: split[0].id})
    now = on.at(copy.name)
    assert (now.ino, now.node, now.is_copy) == (copy.ino, split[0].id, False)
    assert on.body(now.ino) == Inline(b"there")
    assert [(u.ino, u.content) for u in change.inodes if u.ino == copy.ino] == [(copy.ino, False)]


def test_a_copy_whose_conflict_is_settled_elsewhere_stays_readable_for_who_has_it_open(on: Setting) -> None:
    on.share(b"a.txt")
    on.here.write(b"a.txt", b"here")
    on.there.write(b"a.txt", b"there")
    meet(on.here, on.there)
    on.merge()
    (copy,) = [entry for entry in walk(on.tree).values() if entry.is_copy]
    on.open.add(copy.ino)
    body = on.body(copy.ino)
    state = on.there.states[copy.node]
    on.there.put(edit.with_version(state, on.there.version(Inline(b"settled")), list(state.versions)))
    on.merge()
    assert set(walk(on.tree)) == {b"a.txt"}
    assert on.body(copy.ino) == body


def big(on: Setting, path: bytes, blob: BlobHash) -> NodeId:
    """A version of a shared file whose content is a blob."""
    node = on.there.tree()[path].node
    state = on.there.states[node]
    on.there.put(edit.with_version(state, on.there.version(Blob(blob)), list(state.versions)))
    return node


def wanted(on: Setting) -> dict[BlobHash, int]:
    return dict(on.store.db.all("SELECT hash, size FROM wanted"))


def arrive(on: Setting, blob: BlobHash) -> TreeChange:
    with on.store.db.transaction():
        on.store.content.add(blob, 32, 0)
        return on.tree.content_arrived(blob)


def test_the_version_before_stays_shown_until_the_new_content_is_here(on: Setting) -> None:
    on.share(b"a")
    before = on.at(b"a")
    big(on, b"a", BLOB)
    change = on.merge()
    held = on.at(b"a")
    assert change.wants_content
    assert (held.ino, held.view.version, held.view.size, held.view.remote) == (
        before.ino, before.view.version, 5, False,
    )  # fmt: skip
    assert on.body(held.ino) == Inline(b"first")
    assert wanted(on) == {BLOB: 32}
    arrived = arrive(on, BLOB)
    now = on.at(b"a")
    assert on.body(now.ino) == Blob(BLOB)
    assert arrived.inodes == [InodeUpdate(before.ino, True, before.view.version, now.view.version, elsewhere=True)]
    assert wanted(on) == {}
    assert not now.view.remote


def test_what_is_held_stays_held_when_an_even_newer_version_comes(on: Setting) -> None:
    on.share(b"a")
    big(on, b"a", BLOB)
    on.merge()
    big(on, b"a", BlobHash(b"i" * 32))
    on.merge()
    assert on.body(on.at(b"a").ino) == Inline(b"first")
    assert wanted(on) == {BlobHash(b"i" * 32): 32}


def test_a_new_file_shows_at_once_as_remote(on: Setting) -> None:
    on.there.write(b"a", b"")
    node = big(on, b"a", BLOB)
    on.merge()
    assert on.at(b"a").view.remote
    version = on.tree.version_of(node)
    assert version is not None
    assert on.tree.missing(version) == [(BLOB, 32)]
    arrive(on, BLOB)
    assert not on.at(b"a").view.remote
    assert on.tree.is_here(version)


def test_a_removed_file_wants_nothing(on: Setting) -> None:
    on.there.write(b"a", b"")
    big(on, b"a", BLOB)
    on.merge()
    on.there.unlink(b"a")
    on.merge()
    assert on.store.content.missing() == (0, 0)


def test_what_is_superseded_in_the_same_step_is_not_wanted(on: Setting) -> None:
    """Model, seed 400247: two records of a new file in one step, and the first one's content was fetched for ever."""
    there = on.there
    there.write(b"a", b"")
    node = big(on, b"a", BLOB)
    with_blob = there.states[node]
    there.put(edit.with_version(with_blob, there.version(Inline(b"newest")), list(with_blob.versions)))
    with on.store.db.transaction():
        on.tree.merge([decode_state(encode_state(state)) for state in (with_blob, there.states[node])])
    assert on.body(on.at(b"a").ino) == Inline(b"newest")
    assert on.store.content.missing() == (0, 0)


def test_content_that_arrives_and_nobody_needs_is_not_wanted_again(on: Setting) -> None:
    on.there.write(b"a", b"")
    node = on.there.tree()[b"a"].node
    on.merge()
    with on.store.db.transaction():
        on.store.content.want(BLOB, node, AuthorId(b"a" * 32), 32, 0)
    arrive(on, BLOB)
    assert on.store.content.missing() == (0, 0)


def test_content_that_is_lost_is_wanted_again(on: Setting) -> None:
    on.there.write(b"a", b"")
    node = big(on, b"a", BLOB)
    on.merge()
    arrive(on, BLOB)
    with on.store.db.transaction():
        on.store.content.lost(BLOB)
        change = on.tree.refresh([node])
    assert change.wants_content
    assert on.at(b"a").view.remote


def test_a_failed_transaction_leaves_no_trace(on: Setting) -> None:
    on.share(b"a")
    before = on.at(b"a")
    on.there.write(b"a", b"second")
    with pytest.raises(ZeroDivisionError), on.store.db.transaction():
        on.tree.merge(on.there.states.values())
        raise ZeroDivisionError
    assert on.at(b"a") == before
    state = on.tree.state(before.node)
    assert state is not None
    assert [token(dot) for dot in state.versions] == [before.view.version]


def test_a_list_of_wanted_content_from_before_is_made_anew(on: Setting) -> None:
    on.there.write(b"a", b"")
    node = big(on, b"a", BLOB)
    on.merge()
    with on.store.db.transaction():
        on.store.db.run("UPDATE wanted SET author=x''")
        on.store.db.run("INSERT INTO wanted SELECT x'aa', node, author, 7, 0, 0 FROM wanted")
        on.store.set_meta(WANTED_ANEW, b"1")
    Tree(on.store, lambda: 1)
    assert on.store.content.wanted_for(node) == {(BLOB, on.there.author): 32}
    assert on.store.meta(WANTED_ANEW) is None


def test_a_file_is_as_large_as_its_content_whatever_its_record_says(on: Setting) -> None:
    told: list[tuple[NodeId, AuthorId, int, int]] = []
    on.tree.on_false_size = lambda *claim: told.append(claim)
    on.there.write(b"a", b"")
    node = big(on, b"a", BLOB)
    on.merge()
    assert on.at(b"a").view.size == 32
    with on.store.db.transaction():
        on.store.content.add(BLOB, 20, 0)
        on.tree.content_arrived(BLOB)
    assert on.at(b"a").view.size == 20
    version = on.tree.version_of(node)
    assert version is not None
    assert version.size == 20
    assert told == [(node, on.there.author, 32, 20)]
    on.there.write(b"b", b"")
    other = big(on, b"b", BLOB)
    on.merge()
    assert on.at(b"b").view.size == 20
    assert told == [(node, on.there.author, 32, 20), (other, on.there.author, 32, 20)]
