# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the mount's core that need no mount: what caches keep, what reads give, what a write is based on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.bases import ReadTracker
from holofs_mount.core.caches import AttrCache, ListingCache
from holofs_mount.core.content import BufferedBody, MappedBody, NotHere, StagedBody
from holofs_mount.core.epochs import Epochs
from holofs_mount.core.mount_state import MountState
from holofs_mount.core.openfile import Freshness, Handle, HandleTable, OpenFile, Registration, Tracking

# ---- content ----
pieces = st.lists(
    st.tuples(st.sampled_from(["inline", "local", "hole"]), st.binary(min_size=1, max_size=40)), max_size=8
)
ranges = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=8)


@given(pieces=pieces, ranges=ranges)
def test_any_range_of_a_map_reads_as_the_content(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[str, bytes]], ranges: list[tuple[int, int]]
) -> None:
    local = tmp_path_factory.getbasetemp() / "local"
    content = b""
    stored = b"before"
    told = pb.ContentMap(version=b"v")
    for source, data in pieces:
        extent = told.extents.add(offset=len(content), length=len(data))
        if source == "inline":
            extent.inline = data
        elif source == "hole":
            extent.hole = True
            data = bytes(len(data))
        else:
            extent.local.path, extent.local.offset = str(local), len(stored)
            stored += data
        content += data
    told.size = len(content)
    local.write_bytes(stored)
    body = MappedBody(told)
    for offset, size in ranges:
        assert body.read(offset, size) == content[offset : offset + size]
    body.close()


def test_remote_bytes_and_paths_that_are_gone_are_asked_for() -> None:
    told = pb.ContentMap(size=30)
    told.extents.add(offset=0, length=10, inline=b"0123456789")
    told.extents.add(offset=10, length=10, remote=b"h")
    told.extents.add(offset=20, length=10).local.path = "/nonexistent/file"
    body = MappedBody(told)
    assert body.read(0, 10) == b"0123456789"
    with pytest.raises(NotHere) as remote:
        body.read(5, 10)
    assert (remote.value.offset, remote.value.remote) == (10, True)
    with pytest.raises(NotHere) as gone:
        body.read(25, 100)
    assert (gone.value.offset, gone.value.remote) == (25, False)
    assert body.first_remote(0, 30) == 10
    assert body.first_remote(15, 30) == 15
    assert body.first_remote(20, 30) is None


def test_a_map_that_does_not_cover_its_size_is_asked_for_again() -> None:
    with pytest.raises(NotHere):
        MappedBody(pb.ContentMap(size=5)).read(0, 5)


writes = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 200), st.binary(max_size=50)),
        st.tuples(st.just("truncate"), st.integers(0, 250), st.just(b"")),
    ),
    max_size=12,
)


@given(writes=writes)
def test_memory_and_staging_hold_the_same(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[str, int, bytes]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "staging"
    path.write_bytes(b"")
    buffered, staged = BufferedBody(), StagedBody(str(path), write=True)
    for kind, at, data in writes:
        for body in (buffered, staged):
            if kind == "truncate":
                body.truncate(at)
            elif data:
                body.write(at, data)
    assert buffered.size() == staged.size()
    assert buffered.read(0, 1000) == staged.read(0, 1000) == path.read_bytes()
    staged.close()


# ---- caches ----
def test_an_answer_that_a_change_overtook_is_not_kept() -> None:
    state = MountState()
    asked = state.epochs.now
    state.epochs.bump(7)
    state.cache_attr(pb.Attr(ino=7, size=1), asked)
    assert state.attrs.get(7) is None
    state.cache_attr(pb.Attr(ino=7, size=2), state.epochs.now)
    kept = state.attrs.get(7)
    assert kept is not None
    assert kept.size == 2


def test_a_clock_forgets_keys_only_towards_caution() -> None:
    epochs = Epochs()
    early = epochs.now
    for key in range(50_000):
        epochs.bump(key)
    assert not epochs.unchanged(3, early)
    assert not epochs.unchanged("never touched", early)
    assert epochs.unchanged(3, epochs.now)


def test_a_listing_on_its_way_takes_in_what_changes_meanwhile() -> None:
    cache = ListingCache()
    loading = cache.begin(1)
    cache.set(1, b"new", 5)
    cache.set(1, b"gone", 0)
    assert loading.overrides == {b"new": 5, b"gone": 0}
    assert not loading.broken
    cache.clear()
    assert loading.broken


def test_caches_stay_within_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holofs_mount.core.caches.MAX_ATTRS", 100)
    monkeypatch.setattr("holofs_mount.core.caches.MAX_ENTRIES", 100)
    attrs, listings = AttrCache(), ListingCache()
    for ino in range(1_000):
        attrs.put(pb.Attr(ino=ino))
        listings.put(ino, {b"%d" % n: n for n in range(10)})
    assert sum(attrs.get(ino) is not None for ino in range(1_000)) <= 100
    assert sum(listings.get(ino) is not None for ino in range(1_000)) <= 10
    assert attrs.get(999) is not None
    assert listings.get(999) is not None


# ---- what a write is based on ----
def test_a_reader_of_an_older_version_is_remembered_until_it_reads_again() -> None:
    tracker = ReadTracker()
    tracker.has_read(1, b"v1", 100)
    tracker.changed(1, b"v1", b"v2", elsewhere=True)
    tracker.changed(1, b"v2", b"v3", elsewhere=True)
    assert tracker.base(1, 100) == b"v1"
    assert tracker.base(1, 200) == b""
    tracker.has_read(1, b"v3", 100)
    assert tracker.base(1, 100) == b""


def test_changes_of_this_device_make_nobody_stale() -> None:
    tracker = ReadTracker()
    tracker.has_read(1, b"v1", 100)
    tracker.changed(1, b"v1", b"v2", elsewhere=False)
    assert tracker.base(1, 100) == b""
    tracker.changed(1, b"v2", b"v3", elsewhere=True)
    assert tracker.base(1, 100) == b"v2"


def test_a_new_inode_at_the_name_is_known_by_its_version() -> None:
    """A remote version of an open file comes with an inode of its own."""
    tracker = ReadTracker()
    tracker.has_read(1, b"v1", 100)
    tracker.changed(2, b"v1", b"v2", elsewhere=True)
    assert tracker.base(2, 100) == b"v1"
    tracker.has_written(2, 100)
    assert tracker.base(2, 100) == b""


def test_the_tracker_stays_within_its_bounds() -> None:
    tracker = ReadTracker()
    for number in range(10_000):
        tracker.has_read(number, b"v%d" % number, 1)
        if number % 2:
            tracker.changed(number, b"v%d" % number, b"w%d" % number, elsewhere=True)
    assert sum(tracker.any_stale(ino) for ino in range(10_000)) <= 1_024


# ---- open files ----
def opened(table: HandleTable, file: OpenFile) -> Handle:
    handle = Handle(table.number(), file, write=True, append=False, pid=1)
    table.add(handle)
    return handle


def test_the_last_handle_closes_the_content(tmp_path: Path) -> None:
    (tmp_path / "staging").write_bytes(b"x")
    before = set(os.listdir("/proc/self/fd"))
    table = HandleTable()
    file = OpenFile(5, StagedBody(str(tmp_path / "staging"), write=True), pb.Attr(ino=5), b"v")
    first, second = opened(table, file), opened(table, file)
    table.detach(first)
    assert file.body.read(0, 1) == b"x"
    table.detach(second)
    assert 5 not in table.files
    assert set(os.listdir("/proc/self/fd")) == before


def test_only_handles_that_the_daemon_knows_are_named_to_it_again() -> None:
    table = HandleTable()
    file = OpenFile(5, BufferedBody(), pb.Attr(ino=5), b"v")
    known, unknown = opened(table, file), opened(table, file)
    unknown.registration = Registration.UNREGISTERED
    assert [h.handle for h in table.to_reattach()] == [known.number]


def test_another_body_makes_every_writer_ask_before_it_writes() -> None:
    table = HandleTable()
    file = OpenFile(5, BufferedBody(), pb.Attr(ino=5), b"v")
    handle = opened(table, file)
    handle.staged = True
    file.exchange(MappedBody(pb.ContentMap()))
    assert not handle.staged


def test_a_lost_handle_stays_lost_whatever_its_last_calls_answer() -> None:
    handle = opened(HandleTable(), OpenFile(5, BufferedBody(), pb.Attr(ino=5), b"v"))
    handle.set_registered(False)
    assert not handle.was_registered
    handle.set_registered(True)
    handle.registration = Registration.LOST
    handle.set_registered(False)
    assert (handle.was_registered, handle.lost) == (True, True)


def test_a_file_that_fell_behind_waits_for_the_news_and_a_frozen_one_for_none() -> None:
    table = HandleTable()
    file = OpenFile(5, BufferedBody(), pb.Attr(ino=5), b"v")
    opened(table, file)
    assert not file.unregistered
    file.fall_behind()
    assert file.unregistered, "a change from elsewhere freezes it"
    file.content_changed()
    assert (file.freshness, file.tracking, file.unregistered) == (Freshness.STALE, Tracking.FOLLOWING, False)
    table.freeze(file)
    file.fall_behind()
    assert (file.freshness, file.tracking) == (Freshness.STALE, Tracking.FROZEN), "what it has is asked for once more"
    file.set_version(b"w")
    assert (file.freshness, file.tracking) == (Freshness.CURRENT, Tracking.FROZEN)
