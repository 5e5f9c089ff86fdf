# SPDX-License-Identifier: GPL-3.0-or-later
"""Meaning of operations when devices do them at the same time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holofsd.core import edit
from holofsd.core.errors import BadArgument, NameTooLong, TooManyLinks
from holofsd.core.ids import ROOT_ID, AuthorId, Dot, Hlc, LinkId, NodeId
from holofsd.core.join import join
from holofsd.core.node import is_alive, is_publishable, live_versions, placements
from holofsd.core.state import Blob, Body, Inline, Kind, Marker, NodeState, Pending, Place, Register, Version
from support.states import shown_version

A, B = AuthorId(b"a" * 32), AuthorId(b"b" * 32)
NODE = NodeId(b"n" * 16)
LINK = edit.link_id(NODE)
HERE, THERE, ELSEWHERE = (Place(ROOT_ID, name) for name in (b"here.txt", b"there", b"elsewhere"))


def at(ms: int, author: AuthorId = A) -> Hlc:
    return Hlc(ms, 0, author)


def version(author: AuthorId, counter: int, ms: int, data: bytes | Body = b"", mtime: int = 0) -> Version:
    body = Inline(data) if isinstance(data, bytes) else data
    return Version(Dot(author, counter), at(ms, author), body, 0, Register(mtime, at(ms, author)), author.decode()[:3])


def a_file(data: bytes = b"first") -> NodeState:
    return edit.new_node(NODE, Kind.FILE, 0, HERE, LINK, version(A, 1, 1, data), 0o644, at(1))


def names(state: NodeState, needed: bool = False) -> list[bytes]:
    return [p.place.name for p in placements(state, needed)]


def bodies(state: NodeState) -> list[bytes]:
    return [v.body.data for v in live_versions(state) if isinstance(v.body, Inline)]


# ---- versions ----
def test_a_write_ends_exactly_the_version_it_was_based_on() -> None:
    base = a_file()
    one = edit.with_version(base, version(A, 2, 5, b"one"), [Dot(A, 1)])
    two = edit.with_version(base, version(B, 1, 4, b"two"), [Dot(A, 1)])
    both = join(one, two)
    assert bodies(both) == [b"one", b"two"]
    later = edit.with_version(both, version(B, 2, 9, b"three"), [Dot(A, 2)])
    assert bodies(join(later, both)) == [b"three", b"two"]


def test_a_write_based_on_one_of_two_equal_versions_ends_both() -> None:
    base = a_file()
    one = edit.with_version(base, version(A, 2, 5, b"same"), [Dot(A, 1)])
    two = edit.with_version(base, version(B, 1, 4, b"same"), [Dot(A, 1)])
    later = edit.with_version(join(one, two), version(B, 2, 9, b"next"), [Dot(A, 2)])
    assert bodies(later) == [b"next"]


def test_a_stale_writer_makes_a_second_version_instead_of_destroying_what_it_never_saw() -> None:
    newer = edit.with_version(a_file(), version(A, 2, 5, b"newer"), [Dot(A, 1)])
    stale = edit.with_version(newer, version(B, 1, 6, b"stale"), [Dot(A, 1)])
    assert bodies(stale) == [b"stale", b"newer"]


def test_content_known_by_hash_takes_the_place_of_pending_content_in_any_order() -> None:
    pending = replace(a_file(), versions={Dot(A, 1): version(A, 1, 1, Pending("staging-1"))})
    assert not is_publishable(pending)
    hashed = edit.with_body(pending, Dot(A, 1), Inline(b"zz"))
    assert is_publishable(hashed)
    assert join(pending, hashed) == join(hashed, pending) == hashed
    assert edit.with_body(hashed, Dot(B, 9), Inline(b"")) is hashed


def test_mtime_is_a_register_of_its_version() -> None:
    base = a_file()
    touched = edit.with_mtime(base, Dot(A, 1), 77, at(9, B))
    written = edit.with_version(base, version(A, 2, 5, b"new", mtime=5), [Dot(A, 1)])
    assert [v.mtime.value for v in live_versions(join(base, touched))] == [77]
    assert [v.mtime.value for v in live_versions(join(written, touched))] == [5]
    assert edit.with_mtime(base, Dot(B, 4), 1, at(9)) is base


# ---- registers ----
def test_a_register_write_wins_even_over_a_clock_years_ahead() -> None:
    ahead = edit.with_mode(a_file(), 0o600, at(10**12, B))
    now = edit.with_mode(ahead, 0o640, at(5))
    assert join(ahead, now).mode == now.mode
    assert now.mode is not None
    assert now.mode.value == 0o640


def test_an_xattr_that_is_removed_stays_removed() -> None:
    base = edit.with_xattr(a_file(), b"user.k", b"v", at(2))
    gone = edit.with_xattr(base, b"user.k", None, at(3))
    assert join(base, gone).xattrs[b"user.k"].value is None


def test_owner_and_times_of_a_directory_are_registers() -> None:
    marker = version(A, 1, 1, Marker())
    folder = edit.new_node(NODE, Kind.DIRECTORY, 0, HERE, LINK, marker, 0o755, at(1))
    one = edit.with_mtime(folder, None, 5, at(3))
    two = replace(folder, owner=Register((1, 2), at(2)))
    both = join(one, two)
    assert both.times is not None
    assert both.owner is not None
    assert (both.times.value, both.owner.value) == (5, (1, 2))


# ---- names ----
def test_a_rename_is_one_register_so_two_renames_leave_one_name() -> None:
    base = a_file()
    one = edit.moved(base, LINK, THERE, at(5))
    two = edit.moved(base, LINK, ELSEWHERE, at(6, B))
    both = join(one, two)
    assert names(both) == [b"elsewhere"]
    assert both.links[LINK].before == HERE


def test_hard_links_are_several_names_and_unlinking_one_leaves_the_others() -> None:
    two = edit.with_link(a_file(), LinkId(b"2" * 16), THERE, at(2))
    assert names(two) == [b"there", b"here.txt"]
    one = edit.unlinked(two, LINK, at(3))
    assert names(one) == [b"there"]
    assert names(edit.unlinked(one, LinkId(b"2" * 16), at(4))) == []


def test_the_same_name_given_twice_is_one_name_and_goes_at_once() -> None:
    state = join(
        edit.with_link(a_file(), LinkId(b"2" * 16), THERE, at(2)),
        edit.with_link(a_file(), LinkId(b"3" * 16), THERE, at(3)),
    )
    assert names(state) == [b"there", b"here.txt"]
    assert names(edit.unlinked(state, LinkId(b"3" * 16), at(4))) == [b"here.txt"]
    assert names(edit.moved(state, LinkId(b"3" * 16), ELSEWHERE, at(4))) == [b"elsewhere", b"here.txt"]


def test_a_file_has_at_most_1024_names() -> None:
    state = a_file()
    for i in range(edit.MAX_LINKS - 1):
        state = edit.with_link(state, LinkId(i.to_bytes(16, "big")), Place(ROOT_ID, b"%d" % i), at(2))
    with pytest.raises(TooManyLinks):
        edit.with_link(state, LinkId(b"x" * 16), THERE, at(3))


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b"])
def test_names_that_no_file_can_have_are_refused(name: bytes) -> None:
    assert not edit.is_valid_name(name)
    with pytest.raises(BadArgument):
        edit.check_name(name)


def test_a_name_has_at_most_255_bytes_and_need_not_be_text() -> None:
    edit.check_name(b"\xff" * 255)
    assert edit.is_valid_name(b"...")
    with pytest.raises(NameTooLong):
        edit.check_name(b"x" * 256)


# ---- removal ----
def test_an_edit_beats_a_delete_that_did_not_know_of_it() -> None:
    base = a_file()
    edited = edit.with_version(base, version(B, 1, 2, b"edited"), [Dot(A, 1)])
    gone = edit.unlinked(base, LINK, at(99))
    assert names(gone) == []
    both = join(edited, gone)
    assert bodies(both) == [b"edited"]
    assert names(both) == [b"here.txt"]
    assert placements(both)[0].revived


def test_a_delete_of_what_was_seen_holds() -> None:
    edited = edit.with_version(a_file(), version(B, 1, 2, b"edited"), [Dot(A, 1)])
    gone = edit.unlinked(edited, LINK, at(3))
    assert not is_alive(join(gone, edited))
    assert placements(join(gone, a_file())) == ()


def test_a_move_beats_a_delete_that_did_not_know_of_it_and_brings_the_content_along() -> None:
    base = a_file()
    both = join(edit.moved(base, LINK, THERE, at(2, B)), edit.unlinked(base, LINK, at(99)))
    assert names(both) == [b"there"]
    assert bodies(both) == [b"first"]


def test_a_new_hard_link_beats_a_delete_that_did_not_know_of_it() -> None:
    base = a_file()
    both = join(edit.with_link(base, LinkId(b"2" * 16), THERE, at(2, B)), edit.unlinked(base, LINK, at(99)))
    assert names(both) == [b"there"]
    assert bodies(both) == [b"first"]


def test_a_version_that_a_removal_saw_does_not_come_back_with_one_it_did_not() -> None:
    one = edit.with_version(a_file(), version(A, 2, 3, b"one"), [Dot(A, 1)])
    two = edit.with_version(a_file(), version(B, 1, 2, b"two"), [Dot(A, 1)])
    both = join(edit.unlinked(one, LINK, at(4)), two)
    assert bodies(both) == [b"two"]
    moved = edit.moved(both, LINK, THERE, at(9))
    assert bodies(moved) == [b"two"]
    assert names(moved) == [b"there"]


def test_a_version_that_nobody_could_see_yet_outlives_a_removal_here() -> None:
    state = edit.with_version(a_file(), version(B, 7, 2, b"on its way"), [Dot(A, 1)])
    gone = edit.unlinked(state, LINK, at(3), unseen=[Dot(B, 7)])
    assert bodies(gone) == [b"on its way"]
    assert names(gone) == [b"here.txt"]


def test_two_names_removed_on_two_devices_bring_the_file_back_at_the_place_removed_last() -> None:
    two = edit.with_link(a_file(), LinkId(b"2" * 16), THERE, at(2))
    both = join(edit.unlinked(two, LINK, at(5)), edit.unlinked(two, LinkId(b"2" * 16), at(6, B)))
    assert names(both) == [b"there"]


def test_the_link_that_a_removal_covers_went_after_every_link_that_is_gone() -> None:
    two = edit.with_link(a_file(), LinkId(b"2" * 16), THERE, at(2))
    gone = edit.unlinked(edit.unlinked(two, LINK, at(50)), LinkId(b"2" * 16), at(60))
    edited = edit.with_version(two, version(B, 1, 3, b"edited"), [Dot(A, 1)])
    assert names(join(gone, edited)) == [b"there"]


def test_a_removed_directory_shows_again_while_a_child_needs_it_and_can_be_reasserted() -> None:
    marker = version(A, 1, 1, Marker())
    folder = edit.new_node(NODE, Kind.DIRECTORY, 0, HERE, LINK, marker, 0o755, at(1))
    gone = edit.unlinked(folder, LINK, at(3))
    assert names(gone) == []
    assert names(gone, needed=True) == [b"here.txt"]
    again = edit.reasserted(gone, version(B, 1, 4, Marker()), at(4, B))
    assert names(join(gone, again)) == [b"here.txt"]
    assert not placements(again)[0].revived
    assert names(edit.unlinked(again, LINK, at(9))) == []


def test_two_devices_that_make_one_directory_and_one_removes_it_keep_it() -> None:
    folder = edit.directory_id(ROOT_ID, b"d", 0)
    link = edit.link_id(folder)
    place = Place(ROOT_ID, b"d")
    one = edit.new_node(folder, Kind.DIRECTORY, 5, place, link, version(A, 1, 1, Marker()), 0o755, at(1))
    two = edit.new_node(folder, Kind.DIRECTORY, 7, place, link, version(B, 1, 2, Marker()), 0o755, at(2, B))
    both = join(one, two)
    assert len(live_versions(both)) == 1
    assert both.created_ns == 5
    assert names(join(edit.unlinked(one, link, at(9)), two)) == [b"d"]
    assert names(edit.unlinked(both, link, at(9))) == []


def test_a_directory_used_again_at_a_name_is_another_one() -> None:
    assert edit.directory_id(ROOT_ID, b"d", 0) != edit.directory_id(ROOT_ID, b"d", 1)
    assert edit.directory_id(ROOT_ID, b"d", 0) != edit.directory_id(NODE, b"d", 0)


def test_a_file_of_which_no_version_is_here_yet_has_no_name() -> None:
    assert placements(replace(a_file(), versions={})) == ()


def test_the_root_has_no_name() -> None:
    assert placements(replace(a_file(), id=ROOT_ID)) == ()


# ---- replacing is a write ----
def test_replacing_keeps_the_targets_identity_and_takes_content_mode_and_xattrs() -> None:
    target = edit.with_xattr(a_file(), b"user.old", b"1", at(2))
    source = edit.new_node(
        NodeId(b"s" * 16), Kind.FILE, 9, THERE, LinkId(b"s" * 16), version(B, 1, 3, b"saved", mtime=33), 0o600, at(3, B)
    )
    source = edit.with_xattr(source, b"user.new", b"2", at(3, B))
    new = edit.replace_content(target, source, version(B, 2, 4, b"saved", mtime=33), [Dot(A, 1)], at(4, B))
    shown = shown_version(new)
    assert new.id == NODE
    assert shown is not None
    assert (shown.body, shown.dot, shown.mtime.value) == (Inline(b"saved"), Dot(B, 2), 33)
    assert new.mode is not None
    assert new.mode.value == 0o600
    assert {k: r.value for k, r in new.xattrs.items()} == {b"user.old": None, b"user.new": b"2"}
    assert names(new) == [b"here.txt"]


def test_a_concurrent_edit_meets_the_file_that_was_saved_by_replacing() -> None:
    base = a_file()
    source = edit.new_node(
        NodeId(b"s" * 16), Kind.FILE, 9, THERE, LinkId(b"s" * 16), version(A, 2, 3, b"saved"), 0o600, at(3)
    )
    saved = edit.replace_content(base, source, version(A, 3, 4, b"saved"), [Dot(A, 1)], at(4))
    edited = edit.with_version(base, version(B, 1, 9, b"edited"), [Dot(A, 1)])
    assert bodies(join(saved, edited)) == [b"edited", b"saved"]


# ---- you act on what you see ----
def conflicting() -> NodeState:
    base = a_file()
    one = edit.with_version(base, version(A, 2, 5, b"one"), [Dot(A, 1)])
    two = edit.with_version(base, version(B, 1, 4, b"two"), [Dot(A, 1)])
    return join(one, two)


def test_materialising_makes_the_copies_files_of_their_own_with_the_names_that_showed_them() -> None:
    remaining, copies = edit.materialise(conflicting(), Dot(A, 3), at(9))
    assert bodies(remaining) == [b"one"]
    assert [v.dot for v in live_versions(remaining)] == [Dot(A, 3)]
    assert [bodies(c) for c in copies] == [[b"two"]]
    assert names(copies[0])[0].startswith(b"here (conflict bbb 1970-01-01 00-00-00 ")
    assert names(copies[0])[0].endswith(b").txt")


def test_two_devices_that_materialise_at_once_make_the_same_files() -> None:
    state = conflicting()
    one, copies_one = edit.materialise(state, Dot(A, 3), at(9))
    two, copies_two = edit.materialise(state, Dot(B, 2), at(8, B))
    assert copies_one == copies_two
    assert bodies(join(one, two)) == [b"one", b"one"]
    assert edit.siblings(join(one, two)) == ()


def test_two_devices_that_keep_different_versions_lose_neither() -> None:
    state = conflicting()
    one, _ = edit.materialise(state, Dot(A, 3), at(9))
    two, _ = edit.materialise(state, Dot(B, 2), at(8, B), kept=state.versions[Dot(B, 1)])
    assert sorted(bodies(join(one, two))) == [b"one", b"two"]


def test_a_copy_deleted_on_one_device_while_it_is_split_on_another_stays_deleted() -> None:
    state = conflicting()
    _, (copy,) = edit.materialise(state, Dot(A, 3), at(9))
    deleted = edit.unlinked(copy, next(iter(copy.links)), at(10))
    _, (again,) = edit.materialise(state, Dot(B, 2), at(11, B))
    assert not is_alive(join(deleted, again))


def test_materialising_without_copies_writes_nothing() -> None:
    state = a_file()
    assert edit.materialise(state, Dot(A, 9), at(9)) == (state, [])


def test_materialising_leaves_alone_what_is_not_shown_yet() -> None:
    state = edit.with_version(conflicting(), version(B, 5, 20, Blob(b"h" * 32)), [])  # type: ignore[arg-type]
    remaining, copies = edit.materialise(state, Dot(A, 3), at(9), unseen=[Dot(B, 5)])
    assert len(copies) == 1
    assert Dot(B, 5) in {v.dot for v in live_versions(remaining)}
    assert Dot(A, 3) in {v.dot for v in live_versions(remaining)}


def test_a_split_file_with_two_names_keeps_a_copy_beside_each() -> None:
    state = edit.with_link(conflicting(), LinkId(b"2" * 16), THERE, at(9))
    copy = edit.split(state, Dot(B, 1))
    assert len(names(copy)) == 2
    assert copy == edit.split(state, Dot(B, 1))
