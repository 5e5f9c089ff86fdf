# SPDX-License-Identifier: GPL-3.0-or-later
"""One volume as this device holds it: dots and stamps, what is queued and who is told, hashing, a new author."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holofsd.codec.records import decode_local_state, encode_state
from holofsd.codec.signing import SigningKey
from holofsd.core import edit
from holofsd.core.document import Envelope, Head
from holofsd.core.errors import DamagedIndex
from holofsd.core.ids import ROOT_ID, AuthorId, BlobHash, Dot, Hlc, NodeId
from holofsd.core.project import token
from holofsd.core.state import Blob, Body, Inline, Kind, NodeState, Pending, Place
from holofsd.store.staging import StagingRow
from holofsd.store.volume import VolumeStore
from holofsd.tree.changes import TreeChange
from holofsd.tree.local import ELSEWHERE, LocalVolume
from support.model import Device
from tests.tree.harness import VOLUME, Clock, derived, from_scratch, volume_store, walk

BLOB = BlobHash(b"h" * 32)
NEW_SEED = b"n" * 32


@pytest.fixture
def volume() -> Iterator[LocalVolume]:
    with volume_store() as store:
        yield LocalVolume(store, "here", Clock())


def create(volume: LocalVolume, name: bytes, body: Body, publication_hold_ms: int = 0) -> NodeState:
    with volume.store.db.transaction():
        version = volume.new_version(body, 5, 7)
        node = edit.split_id(NodeId(b"random-for-tests"), version.dot)
        state = edit.new_node(
            node, Kind.FILE, 7, Place(ROOT_ID, name), edit.link_id(node), version, 0o644, version.stamp
        )
        volume.write([state], publication_hold_ms=publication_hold_ms)
    return state


def stage(volume: LocalVolume, state: NodeState, staging: str) -> None:
    (dot,) = state.versions
    with volume.store.db.transaction():
        volume.store.staging.make_file(staging)
        volume.store.staging.add(StagingRow(staging, volume.tree.ino_of(state.id), state.id, b"", "m", token(dot), 0))


def publish(volume: LocalVolume, *nodes: NodeId) -> None:
    """Publish as the publisher does, without signatures."""
    store = volume.store
    with store.db.transaction():
        active = store.active_author()
        assert active is not None
        for seq, node in enumerate(nodes, start=1):
            state = volume.tree.state(node)
            assert state is not None
            store.documents.put(Envelope(volume.author, seq, node, encode_state(state), b"-" * 64))
            store.outbox.remove(node)
        store.documents.set_head(Head(volume.author, len(nodes), active[2], b"-" * 32, b"-" * 64))


def body_of(volume: LocalVolume, node: NodeId) -> Body:
    version = volume.tree.version_of(node)
    assert version is not None
    return version.body


def test_a_volume_without_an_author_cannot_be_used(tmp_path: Path) -> None:
    store = VolumeStore(VOLUME, tmp_path / "volume")
    with pytest.raises(DamagedIndex):
        LocalVolume(store, "here", Clock())
    store.close()


def test_dots_and_stamps_go_on_after_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    with volume_store(tmp_path) as store:
        volume = LocalVolume(store, "here", clock)
        state = create(volume, b"a", Inline(b"12345"))
        with store.db.transaction():
            volume.observe(Hlc(clock.now_ms + 60_000, 5, AuthorId(b"o" * 32)))
            last = volume.stamp()
    with volume_store(tmp_path) as store:
        volume = LocalVolume(store, "here", clock)
        with store.db.transaction():
            assert volume.stamp() > last
            assert volume.next_dot().counter > max(dot.counter for dot in state.versions)


def test_stamps_never_repeat_however_often_it_restarts(tmp_path: Path) -> None:
    last = None
    for _ in range(5):
        with volume_store(tmp_path) as store:
            volume = LocalVolume(store, "here", lambda: 1_700_000_000_000)
            for _ in range(3):
                with store.db.transaction():
                    stamp = volume.stamp()
                assert last is None or stamp > last
                last = stamp


def test_a_dot_of_a_failed_transaction_is_not_given_again(volume: LocalVolume) -> None:
    with pytest.raises(ZeroDivisionError), volume.store.db.transaction():
        lost = volume.next_dot()
        raise ZeroDivisionError
    with volume.store.db.transaction():
        assert volume.next_dot().counter > lost.counter
    active = volume.store.active_author()
    assert active is not None
    assert active[2] == lost.counter + 1


def test_a_write_is_queued_for_publication_and_told_after_the_commit(volume: LocalVolume) -> None:
    told: list[tuple[TreeChange, object]] = []
    woken: list[str] = []
    stop = volume.subscribe(lambda change, origin: told.append((change, origin)))
    volume.on_outbox(lambda: woken.append("outbox"))
    with volume.store.db.transaction():
        state = create(volume, b"a", Inline(b"12345"), publication_hold_ms=99)
        assert told == []
    assert [entry.name for entry in told[0][0].entries] == [b"a"]
    assert told[0][1] is None
    assert woken == ["outbox"]
    assert volume.store.outbox.due(98, 10) == []
    assert volume.store.outbox.due(99, 10) == [state.id]
    stop()
    create(volume, b"b", Inline(b"12345"))
    assert len(told) == 1


def test_a_failed_transaction_tells_nobody(volume: LocalVolume) -> None:
    told: list[object] = []
    volume.subscribe(lambda change, origin: told.append(change))
    with pytest.raises(ZeroDivisionError), volume.store.db.transaction():
        create(volume, b"a", Inline(b"12345"))
        raise ZeroDivisionError
    assert told == []
    assert volume.tree.lookup(ROOT_ID, b"a") is None


def test_records_from_elsewhere_are_told_as_such_and_not_published(volume: LocalVolume) -> None:
    told: list[object] = []
    wanted: list[object] = []
    volume.subscribe(lambda change, origin: told.append(origin))
    volume.on_wanted(lambda: wanted.append(1))
    there = Device("there")
    there.write(b"a", b"there")
    state = next(iter(there.states.values()))
    there.put(edit.with_version(state, there.version(Blob(BLOB)), list(state.versions)))
    with volume.store.db.transaction():
        volume.merge(list(there.states.values()))
    assert told == [ELSEWHERE]
    assert wanted == [1]
    assert volume.store.outbox.count() == 0
    with volume.store.db.transaction():
        assert volume.stamp() > there.clock.last  # type: ignore[operator]


def test_what_ends_before_it_was_published_never_was(volume: LocalVolume) -> None:
    state = create(volume, b"a", Inline(b"12345"))
    with volume.store.db.transaction():
        volume.write([edit.removed(state)])
    assert volume.tree.state(state.id) is None
    assert volume.store.outbox.count() == 0
    assert volume.store.nodes.get(state.id) is None


def test_what_was_published_is_remembered_as_removed(volume: LocalVolume) -> None:
    state = create(volume, b"a", Inline(b"12345"))
    publish(volume, state.id)
    with volume.store.db.transaction():
        volume.write([edit.removed(state)])
    assert volume.store.outbox.all() == [state.id]
    assert volume.tree.lookup(ROOT_ID, b"a") is None


def test_a_removed_split_is_published_for_others_may_have_made_the_same(volume: LocalVolume) -> None:
    state = create(volume, b"a", Inline(b"12345"))
    publish(volume, state.id)
    (dot,) = state.versions
    with volume.store.db.transaction():
        volume.write([copy := edit.split(state, dot)])
        volume.write([edit.removed(copy)])
    assert copy.id in volume.store.outbox.all()


def test_hashed_content_takes_the_place_of_the_staging_file(volume: LocalVolume) -> None:
    state = create(volume, b"a", Pending("s1"))
    publish(volume, state.id)
    with volume.store.db.transaction():
        volume.store.content.add(BLOB, 5, 0)
        change = volume.body_known(state.id, next(iter(state.versions)), Blob(BLOB))
    assert body_of(volume, state.id) == Blob(BLOB)
    assert volume.store.outbox.all() == [state.id]
    assert volume.store.content.missing() == (0, 0)
    assert [update.content for update in change.inodes] in ([], [False])


def test_content_hashed_after_a_rename_over_reaches_the_target(volume: LocalVolume) -> None:
    target, source = create(volume, b"target", Inline(b"12345")), create(volume, b"source", Pending("s1"))
    stage(volume, source, "s1")
    with volume.store.db.transaction():
        version = volume.new_version(Pending("s1"), 0, 0)
        volume.write(
            [
                edit.replace_content(target, source, version, list(target.versions), version.stamp),
                edit.removed(source),
            ]
        )
    assert body_of(volume, target.id) == Pending("s1")
    with volume.store.db.transaction():
        volume.store.content.add(BLOB, 5, 0)
        volume.body_known(source.id, next(iter(source.versions)), Blob(BLOB))
    assert body_of(volume, target.id) == Blob(BLOB)


def test_hashing_a_version_that_was_replaced_meanwhile_changes_nothing(volume: LocalVolume) -> None:
    state = create(volume, b"a", Pending("s1"))
    with volume.store.db.transaction():
        volume.write([edit.with_version(state, volume.new_version(Inline(b"newer"), 5, 0), list(state.versions))])
        assert not volume.body_known(state.id, next(iter(state.versions)), Inline(b"older"))
    assert body_of(volume, state.id) == Inline(b"newer")


@pytest.mark.parametrize("rotated", [False, True])
def test_a_held_version_is_read_by_its_hash_once_that_is_known(volume: LocalVolume, rotated: bool) -> None:
    state = create(volume, b"a", Pending("s1"))
    stage(volume, state, "s1")
    (dot,) = state.versions
    there = Device("there", 10**9)
    with volume.store.db.transaction():
        volume.merge([edit.with_version(state, there.version(Blob(BlobHash(b"remote" * 5 + b"--"))), [])])
    assert body_of(volume, state.id) == Pending("s1")
    with volume.store.db.transaction():
        if rotated:
            volume.rotate_author(NEW_SEED)
        volume.store.content.add(BLOB, 5, 0)
        volume.body_known(state.id, dot, Blob(BLOB))
    assert body_of(volume, state.id) == Blob(BLOB)


def test_content_made_here_serves_others_that_wait_for_it(volume: LocalVolume) -> None:
    there = Device("there")
    there.write(b"b", b"")
    state = next(iter(there.states.values()))
    there.put(edit.with_version(state, there.version(Blob(BLOB)), list(state.versions)))
    mine = create(volume, b"a", Pending("s1"))
    with volume.store.db.transaction():
        volume.merge(list(there.states.values()))
    assert walk(volume.tree)[b"b"].view.remote
    with volume.store.db.transaction():
        volume.store.content.add(BLOB, 5, 0)
        volume.body_known(mine.id, next(iter(mine.versions)), Blob(BLOB))
    assert not walk(volume.tree)[b"b"].view.remote


def test_a_directory_that_somebody_put_something_into_becomes_real_again(volume: LocalVolume) -> None:
    ada, ben = Device("ada"), Device("ben", 10_000)
    ada.mkdir(b"d")
    ben.sync_from(ada)
    ada.rmdir(b"d")
    ben.write(b"d/x", b"new")
    with volume.store.db.transaction():
        volume.merge([*ada.states.values(), *ben.states.values()])
        assert len(volume.store.nodes.revived(10)) == 1
        volume.reassert_revived()
        assert volume.store.nodes.revived(10) == []
    directory = walk(volume.tree)[b"d"].node
    assert volume.store.outbox.all() == [directory]
    x = ben.states[walk(volume.tree)[b"d/x"].node]
    with volume.store.db.transaction():
        volume.merge([edit.removed(x)])
    assert set(walk(volume.tree)) == {b"d"}


def test_a_new_author_takes_over_what_was_never_published(volume: LocalVolume) -> None:
    kept, fresh = create(volume, b"kept", Inline(b"12345")), create(volume, b"fresh", Pending("s1"))
    publish(volume, kept.id)
    old = volume.author
    unpublished = create(volume, b"fresh2", Inline(b"12345"))
    with volume.store.db.transaction():
        volume.write([edit.with_version(kept, volume.new_version(Inline(b"again"), 5, 0), list(kept.versions))])
        volume.store.outbox.add(fresh.id, 0)
    fresh_dot, unpublished_dot = next(iter(fresh.versions)), next(iter(unpublished.versions))
    with volume.store.db.transaction():
        volume.rotate_author(NEW_SEED)
    assert volume.author == AuthorId(SigningKey(NEW_SEED).public) != old
    states = {name: volume.tree.state(entry.node) for name, entry in walk(volume.tree).items()}
    published = volume.store.documents.heads()[old].dots
    for state in states.values():
        assert state is not None
        assert all(counter <= published for author, counter in state.context.items() if author == old)
        assert all(dot.author == volume.author or dot.counter <= published for dot in state.versions)
        assert decode_local_state(encode_state(state)) == state
    assert volume.current_dot(fresh_dot) == fresh_dot
    assert volume.current_dot(unpublished_dot).author == volume.author
    assert body_of(volume, kept.id) == Inline(b"again")
    assert set(states) == {b"kept", b"fresh", b"fresh2"}


def test_a_version_is_found_by_a_former_dot_however_many_it_had(volume: LocalVolume) -> None:
    state = create(volume, b"a", Inline(b"12345"))
    (dot,) = state.versions
    for seed in (NEW_SEED, bytes(32)):
        with volume.store.db.transaction():
            volume.rotate_author(seed)
    now = volume.tree.state(state.id)
    assert now is not None
    assert set(now.versions) == {volume.current_dot(dot)}


def test_what_is_said_as_ours_gets_numbers_only_where_it_is_there(volume: LocalVolume) -> None:
    state = create(volume, b"a", Inline(b"12345"))
    before = volume.next_dot()
    with volume.store.db.transaction():
        volume.say_as_ours(state.id, [Dot(AuthorId(b"x" * 32), 1)])
    assert volume.next_dot().counter == before.counter + 1


def test_hashing_finds_a_version_that_got_a_new_dot(volume: LocalVolume) -> None:
    state = create(volume, b"a", Pending("s1"))
    stage(volume, state, "s1")
    (dot,) = state.versions
    with volume.store.db.transaction():
        volume.rotate_author(NEW_SEED)
    row = volume.store.staging.get("s1")
    assert row is not None
    assert row.version == token(volume.current_dot(dot)) != token(dot)
    with volume.store.db.transaction():
        volume.body_known(state.id, dot, Inline(b"12345"))
    assert body_of(volume, state.id) == Inline(b"12345")


def test_a_conflict_copy_keeps_its_inode_over_a_change_of_author(volume: LocalVolume) -> None:
    state = create(volume, b"a", Inline(b"12345"))
    there = Device("there", 10**9)
    with volume.store.db.transaction():
        volume.merge([edit.with_version(state, there.version(Inline(b"there")), [])])
    publish(volume, state.id)
    with volume.store.db.transaction():
        mine = volume.tree.state(state.id)
        assert mine is not None
        volume.write([edit.with_version(mine, volume.new_version(Inline(b"again"), 5, 0), list(state.versions))])
    (copy,) = [entry for entry in walk(volume.tree).values() if entry.is_copy]
    with volume.store.db.transaction():
        volume.rotate_author(NEW_SEED)
    (again,) = [entry for entry in walk(volume.tree).values() if entry.is_copy]
    assert again.dot != copy.dot
    assert again.ino == copy.ino
    states = {s.id: s for node in [state.id] if (s := volume.tree.state(node)) is not None}
    assert derived(volume.store) == from_scratch(states)


def test_without_anything_unpublished_a_new_author_changes_no_state(volume: LocalVolume) -> None:
    state = create(volume, b"a", Inline(b"12345"))
    publish(volume, state.id)
    with volume.store.db.transaction():
        volume.rotate_author(NEW_SEED)
        assert volume.next_dot() == Dot(volume.author, 1)
    assert volume.tree.state(state.id) == state
    assert volume.store.outbox.count() == 0


def test_a_new_author_takes_nothing_back_that_a_folded_one_has_published(volume: LocalVolume) -> None:
    state = create(volume, b"a", Inline(b"12345"))
    publish(volume, state.id)
    folded = volume.author
    with volume.store.db.transaction():
        volume.rotate_author(NEW_SEED)
        head = volume.store.documents.head(folded)
        assert head is not None
        volume.store.documents.add_folded(head)
        volume.store.documents.let_go_of(folded)
        known = volume.tree.state(state.id)
        assert known is not None
        volume.write([edit.with_version(known, volume.new_version(Inline(b"newer"), 5, 0), list(known.versions))])
        before = volume.tree.state(state.id)
        volume.rotate_author(b"3" * 32)
    after = volume.tree.state(state.id)
    assert before is not None
    assert after is not None
    assert after.context[folded] == before.context[folded] > 0
    assert volume.author in after.context
