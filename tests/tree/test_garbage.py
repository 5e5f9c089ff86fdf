# SPDX-License-Identifier: GPL-3.0-or-later
"""Content that nothing needs goes, after a while; what anything needs stays, whatever happens during the pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blake3 import blake3

from holofsd.codec.records import encode_state
from holofsd.core import edit
from holofsd.core.document import Envelope, Head
from holofsd.core.ids import ROOT_ID, AuthorId, BlobHash, NodeId
from holofsd.core.state import Blob, Kind, NodeState, Place
from holofsd.store import faults
from holofsd.store.content import hash_file
from holofsd.tree import garbage
from holofsd.tree.garbage import Collected, GarbageCollector
from holofsd.tree.local import LocalVolume
from tests.tree.harness import Clock, volume_store

DAY = 24 * 3600 * 1000


class Setting:
    def __init__(self, volume: LocalVolume, clock: Clock) -> None:
        self.volume = volume
        self.store = volume.store
        self.clock = clock
        self.collector = GarbageCollector(volume)

    def bring(self, data: bytes) -> BlobHash:
        """Content arrives, as a device that hashed or fetched it has it."""
        blob = BlobHash(blake3(data).digest())
        path = self.store.directory / "fresh"
        path.write_bytes(data)
        self.store.content.place(path, blob, move=True)
        with self.store.db.transaction():
            self.store.content.add(blob, len(data), self.clock.now_ms)
            self.volume.content_arrived(blob)
        return blob

    def create(self, name: bytes, blob: BlobHash) -> NodeState:
        with self.store.db.transaction():
            version = self.volume.new_version(Blob(blob), 5, 7)
            node = edit.split_id(NodeId(b"random-for-tests"), version.dot)
            place = Place(ROOT_ID, name)
            state = edit.new_node(node, Kind.FILE, 7, place, edit.link_id(node), version, 0o644, version.stamp)
            self.volume.write([state])
        self.publish()
        return state

    def replace(self, state: NodeState, blob: BlobHash) -> NodeState:
        with self.store.db.transaction():
            version = self.volume.new_version(Blob(blob), 5, 7)
            state = edit.with_version(state, version, list(state.versions))
            self.volume.write([state])
        self.publish()
        return state

    def remove(self, state: NodeState) -> None:
        with self.store.db.transaction():
            self.volume.write([edit.removed(state)])

    def publish(self) -> None:
        active = self.store.active_author()
        assert active is not None
        with self.store.db.transaction():
            self.store.documents.set_head(Head(active[0], 1, active[2], bytes(32), b""))

    def collect(self, grace_ms: int = 0) -> Collected:
        collected = Collected()
        for _ in self.collector.steps(collected, grace_ms):
            pass
        self.clock.now_ms += 10
        return collected

    def has(self, blob: BlobHash) -> bool:
        """Row and file say the same."""
        there = self.store.content.path(blob).exists()
        assert self.store.content.has(blob) == there
        return there


@pytest.fixture
def setting() -> Iterator[Setting]:
    with volume_store() as store:
        clock = Clock()
        yield Setting(LocalVolume(store, "here", clock), clock)


def test_what_nothing_needs_goes_after_the_grace_period(setting: Setting) -> None:
    blob = setting.bring(b"rubbish")
    first = setting.collect(DAY)
    assert (first.files, first.waiting, first.waiting_bytes) == (0, 1, 7)
    setting.clock.now_ms += DAY - 1000
    assert setting.collect(DAY).files == 0
    setting.clock.now_ms += 2000
    done = setting.collect(DAY)
    assert (done.files, done.bytes, done.waiting) == (1, 7, 0)
    assert not setting.has(blob)


def test_the_grace_period_starts_again_when_content_was_needed_in_between(setting: Setting) -> None:
    blob = setting.bring(b"seldom used")
    setting.collect(DAY)
    state = setting.create(b"a", blob)
    setting.clock.now_ms += DAY
    assert setting.collect(DAY).waiting == 0
    setting.replace(state, setting.bring(b"other"))
    with setting.store.db.transaction():
        setting.store.db.run("DELETE FROM history")
    assert setting.collect(DAY).waiting == 1
    assert setting.has(blob)


def test_what_is_shown_in_the_trash_or_in_the_history_stays(setting: Setting) -> None:
    shown, removed, old = (setting.bring(data) for data in (b"shown", b"removed", b"old"))
    setting.replace(setting.create(b"a", old), shown)
    setting.remove(setting.create(b"b", removed))
    assert setting.collect().files == 0
    assert setting.has(shown)
    assert setting.has(removed)
    assert setting.has(old)


def test_what_was_purged_from_history_and_trash_goes(setting: Setting) -> None:
    shown, removed, old = (setting.bring(data) for data in (b"shown", b"removed", b"old"))
    setting.replace(setting.create(b"a", old), shown)
    gone = setting.create(b"b", removed)
    setting.remove(gone)
    with setting.store.db.transaction():
        setting.store.history.purge_node(gone.id, setting.clock())
        setting.store.history.purge_before(setting.clock() + 1, 100)
    assert setting.collect().files == 2
    assert (setting.has(shown), setting.has(removed), setting.has(old)) == (True, False, False)


def test_a_purged_file_that_lives_again_keeps_its_content(setting: Setting) -> None:
    blob = setting.bring(b"moved elsewhere meanwhile")
    state = setting.create(b"a", blob)
    setting.remove(state)
    with setting.store.db.transaction():
        setting.store.history.purge_node(state.id, setting.clock())
        (link,) = state.links
        setting.volume.merge([edit.moved(state, link, Place(ROOT_ID, b"b"), setting.volume.stamp())])
    assert setting.volume.tree.lookup(ROOT_ID, b"b") is not None
    assert setting.collect().files == 0
    assert setting.has(blob)
    assert not setting.store.history.is_purged(state.id)


def test_a_record_that_is_not_merged_yet_keeps_its_content(setting: Setting) -> None:
    blob = setting.bring(b"named by a record")
    state = setting.create(b"a", blob)
    payload = encode_state(state)
    setting.remove(state)
    with setting.store.db.transaction():
        setting.store.history.purge_node(state.id, setting.clock())
    envelope = Envelope(setting.volume.author, 1, state.id, payload, b"")
    tables = ("merge_queue (author, key, seq) VALUES (?,?,1)", "waiting (waits_for, author, key) VALUES (x'00',?,?)")
    for row in (*tables, "quarantine (author, key, seq, reason, at_ms) VALUES (?,?,1,'new',0)"):
        with setting.store.db.transaction():
            setting.store.documents.put(envelope)
            setting.store.db.run(f"INSERT INTO {row}", (envelope.author, envelope.key))
        assert setting.collect().files == 0
        with setting.store.db.transaction():
            setting.store.db.run(f"DELETE FROM {row.split()[0]}")
    with setting.store.db.transaction():
        setting.store.documents.put_incoming([envelope])
    assert setting.collect().files == 0
    with setting.store.db.transaction():
        setting.store.documents.clear_incoming(envelope.author)
    assert setting.collect().files == 1


def test_what_an_open_file_keeps_stays(setting: Setting) -> None:
    old = setting.bring(b"being read")
    state = setting.create(b"a", old)
    setting.volume.tree.ino_of(state.id)
    setting.volume.is_open = lambda _ino: True
    other = setting.bring(b"from elsewhere")
    with setting.store.db.transaction():
        version = setting.volume.new_version(Blob(other), 5, 7)
        setting.volume.merge([edit.with_version(state, version, list(state.versions))])
    with setting.store.db.transaction():
        setting.store.history.purge_before(setting.clock() + 1, 100)
    assert setting.store.nodes.detached()
    assert setting.collect().files == 0
    assert setting.has(old)
    with setting.store.db.transaction():
        for detached in setting.store.nodes.detached():
            setting.volume.tree.forget_detached(detached)
    assert setting.collect().files == 1


@pytest.mark.parametrize("after", range(12))
def test_content_that_becomes_needed_during_a_pass_stays(setting: Setting, after: int) -> None:
    """Whichever step it happens after."""
    blob = setting.bring(b"old rubbish")
    setting.collect(DAY)
    setting.clock.now_ms += 2 * DAY
    steps = setting.collector.steps(Collected(), DAY)
    used = None
    for number, _ in enumerate(steps):
        if number == after and setting.store.content.has(blob):
            used = setting.create(b"a", blob)
    if used is not None:
        assert setting.has(blob)
    else:
        assert not setting.has(blob)


@pytest.mark.parametrize("after", range(12))
def test_content_that_comes_and_goes_into_the_history_during_a_pass_stays(setting: Setting, after: int) -> None:
    blob, other = setting.bring(b"old rubbish"), setting.bring(b"other")
    setting.collect(DAY)
    setting.clock.now_ms += 2 * DAY
    used = False
    for number, _ in enumerate(setting.collector.steps(Collected(), DAY)):
        if number == after and setting.store.content.has(blob) and setting.store.content.has(other):
            setting.replace(setting.create(b"a", blob), other)
            used = True
    if used:
        assert setting.has(blob)
        assert setting.has(other)


@pytest.mark.parametrize("after", range(12))
def test_content_that_arrives_again_during_a_pass_is_there_afterwards(setting: Setting, after: int) -> None:
    """The file is put in its place at one moment, the row comes later: in between it is nobody's to delete."""
    blob = setting.bring(b"old rubbish")
    setting.collect(DAY)
    setting.clock.now_ms += 2 * DAY
    path = setting.store.directory / "staged"
    path.write_bytes(b"old rubbish")
    placed = False
    for number, _ in enumerate(setting.collector.steps(Collected(), DAY)):
        if number == after:
            setting.store.content.place(path, blob, move=False)
            placed = True
    if placed:
        with setting.store.db.transaction():
            setting.store.content.add(blob, 11, setting.clock())
        assert setting.has(blob)
        assert hash_file(setting.store.content.path(blob))[0] == blob


class Killed(Exception):
    """Death at a fault point, as by kill -9."""


@pytest.mark.parametrize("point", ["marked", "forgotten", "unlinked"])
def test_a_crash_at_each_point_is_repaired_by_the_next_pass(setting: Setting, point: str) -> None:
    rubbish, needed = setting.bring(b"rubbish"), setting.bring(b"needed")
    setting.create(b"a", needed)

    def kill(_where: object) -> None:
        raise Killed

    with faults.armed(f"collecting.{point}", kill), pytest.raises(Killed):
        setting.collect()
    setting.collector = GarbageCollector(setting.volume)
    left = setting.store.content.path(rubbish)
    assert setting.store.content.has(rubbish) == (point == "marked")
    assert left.exists() == (point != "unlinked")
    setting.collect()
    # A file without a row may be one that is just arriving: it has an hour.
    if point == "forgotten":
        assert left.exists()
        setting.collector = GarbageCollector(setting.volume, orphan_s=-10)
        setting.collect()
    assert not left.exists()
    assert setting.has(needed)


def test_a_file_that_is_not_named_like_content_is_left_alone(setting: Setting) -> None:
    stray = setting.store.directory / "content" / "ab"
    stray.mkdir()
    (stray / "notes").write_bytes(b"mine")
    setting.collector = GarbageCollector(setting.volume, orphan_s=-10)
    setting.collect()
    assert (stray / "notes").exists()


def test_a_part_that_nobody_goes_on_with_goes(setting: Setting) -> None:
    blob = BlobHash(blake3(b"half").digest())
    setting.store.content.receive(blob).abandon()
    (part,) = setting.store.content.parts()
    setting.collect()
    assert part.exists()
    setting.collector = GarbageCollector(setting.volume, part_s=-10)
    setting.collect()
    assert not part.exists()


@pytest.mark.parametrize("many", [3, 600])
def test_a_record_that_is_not_merged_keeps_what_it_names_however_much_is_collected(setting: Setting, many: int) -> None:
    named, late, *others = [setting.bring(b"%d" % number) for number in range(many)]
    store = setting.store

    def arrive(seq: int, payload: bytes) -> None:
        with store.db.transaction():
            store.documents.put_incoming([Envelope(AuthorId(b"x" * 32), seq, b"key %d" % seq, payload, b"s" * 64)])

    arrive(1, b"in a format of the future " + named)
    collected = Collected()
    for step, _ in enumerate(setting.collector.steps(collected, 0)):
        if step == 0:  # searched later, or in the transaction that decides
            arrive(2, late + b" at its beginning")
    assert (setting.has(named), setting.has(late)) == (True, True)
    assert collected.files == len(others) == many - 2
    assert setting.collect().files == 0


def test_a_pass_searches_each_record_once(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[bytes] = []
    monkeypatch.setattr(garbage, "named_in", lambda payload, wanted: searched.append(payload) or [])
    payloads = [b"%d" % number * 70_000 for number in range(5)]
    with setting.store.db.transaction():
        for seq, payload in enumerate(payloads):
            envelope = Envelope(AuthorId(b"x" * 32), seq, b"key %d" % seq, payload, b"s" * 64)
            setting.store.documents.put_incoming([envelope])
    blobs = [setting.bring(b"%d" % number) for number in range(500)]
    collected = Collected()
    steps = sum(1 for _ in setting.collector.steps_for(blobs, collected))
    assert collected.files == len(blobs), "let go of in three slices, and searched before each"
    assert sorted(searched) == payloads
    assert steps > len(payloads) // 2, "others have a turn between two records"
