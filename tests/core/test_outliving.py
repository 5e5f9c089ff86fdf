# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that come back with a directory that outlived its removal, and which directory stands for several."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofsd.codec.records import decode_state, encode_state
from holofsd.core import edit
from holofsd.core.folders import seniority, settings_of
from holofsd.core.ids import ROOT_ID, AuthorId, Dot, Hlc, NodeId
from holofsd.core.join import join
from holofsd.core.node import is_alive, live_versions, placements
from holofsd.core.outliving import PAUSE_MS, asserted, brought_back, ended_in, one_go, outlives, went_with
from holofsd.core.project import Candidate, project_slot
from holofsd.core.shrinking import shrunk
from holofsd.core.state import Inline, Kind, Marker, NodeState, Place, Register, Version

A, B, C = (AuthorId(letter * 32) for letter in (b"a", b"b", b"c"))
DIRECTORY = NodeId(b"d" * 16)
WALL = 1_700_000_000_000


def at(seconds: float, author: AuthorId = A) -> Hlc:
    return Hlc(WALL + int(seconds * 1000), 0, author)


def made(kind: Kind, place: Place, id: NodeId, counter: int = 1, seconds: float = 0) -> NodeState:
    stamp = at(seconds)
    body = Marker() if kind is Kind.DIRECTORY else Inline(b"x")
    version = Version(Dot(A, counter), stamp, body, 1, Register(0, stamp), "ada")
    return edit.new_node(id, kind, stamp.wall_ms, place, edit.link_id(id), version, 0o755, stamp)


def folder() -> NodeState:
    return made(Kind.DIRECTORY, Place(ROOT_ID, b"d"), DIRECTORY)


def file() -> NodeState:
    id = NodeId(b"f" * 16)
    return made(Kind.FILE, Place(DIRECTORY, b"f"), id)


def moved(state: NodeState, seconds: float) -> NodeState:
    return edit.moved(state, edit.link_id(state.id), Place(ROOT_ID, b"e"), at(seconds, B))


def removed(state: NodeState, seconds: float, author: AuthorId = A) -> NodeState:
    return edit.unlinked(state, edit.link_id(state.id), at(seconds, author), (), at(seconds, author))


# ---- a directory
def test_a_directory_outlives_its_removal_by_a_move_that_the_removal_had_not_seen() -> None:
    both = join(moved(folder(), 5), removed(folder(), 9))
    assert outlives(both)
    assert not outlives(moved(folder(), 5))
    assert not outlives(removed(folder(), 9))
    assert not outlives(removed(both, 20))
    assert not outlives(join(moved(file(), 5), removed(file(), 9)))


def test_it_is_looked_at_no_more_once_it_was_asserted() -> None:
    both = join(moved(folder(), 5), removed(folder(), 9))
    anew = Version(Dot(A, 2), at(30), Marker(), 0, Register(0, at(30)), "ada")
    again = asserted(both, anew)
    assert not outlives(again)
    assert not outlives(join(both, again))
    assert list(again.versions) == [anew.dot]


# ---- what is in it
def test_a_removal_says_who_made_it_and_when_and_joins_to_the_latest_of_each() -> None:
    one, other = removed(file(), 5), removed(file(), 7, B)
    assert ended_in(join(one, other), DIRECTORY) == {edit.link_id(file().id): {A: at(5), B: at(7, B)}}
    assert ended_in(join(one, removed(one, 9)), DIRECTORY) == {edit.link_id(file().id): {A: at(9)}}
    assert ended_in(one, ROOT_ID) == ended_in(file(), DIRECTORY) == {}
    assert decode_state(encode_state(one)) == one
    assert shrunk(one).removed.at == {A: at(5)}


def test_what_was_replaced_and_not_removed_says_nothing() -> None:
    assert ended_in(edit.removed(file()), DIRECTORY) == {}


def test_one_of_two_names_that_was_given_up_has_the_time_of_that() -> None:
    state = edit.with_link(file(), edit.link_id(file().id, b"second"), Place(ROOT_ID, b"g"), at(1))
    state = edit.unlinked(state, edit.link_id(file().id), at(4, B))
    assert ended_in(state, DIRECTORY) == {edit.link_id(file().id): {B: at(4, B)}}


PAUSE = PAUSE_MS / 1000


@pytest.mark.parametrize(
    ("ends", "comes_back"),
    [
        ([{A: at(100)}], [True]),
        ([{A: at(100 - PAUSE)}], [True]),
        ([{A: at(99 - PAUSE)}], [False]),
        ([{A: at(100 - 1.5 * PAUSE)}, {A: at(100 - 0.8 * PAUSE)}], [True, True]),
        ([{A: at(101)}], [False]),
        ([{B: at(100, B)}], [False]),
        ([{A: at(100), B: at(99, B)}], [False]),
    ],
)
def test_what_went_in_one_go_with_the_directory(ends: list[dict[AuthorId, Hlc]], comes_back: list[bool]) -> None:
    removal = {A: at(100)}
    since = one_go(removal, ends)
    assert [went_with(one, removal, since) for one in ends] == comes_back


def test_two_authors_who_removed_all_of_it_each_have_a_go_of_their_own() -> None:
    removal = {A: at(100), B: at(5000, B)}
    ends = [{A: at(99), B: at(4999, B)}, {A: at(99)}, {A: at(99), B: at(3000, B)}]
    since = one_go(removal, ends)
    assert [went_with(one, removal, since) for one in ends] == [True, True, False]


def test_a_file_comes_back_to_its_place_with_its_content_whatever_the_order_of_records() -> None:
    gone = removed(file(), 5)

    def back(author: AuthorId) -> NodeState:
        def anew(version: Version) -> Version:
            return replace(version, dot=Dot(author, 9), stamp=at(30, author))

        return brought_back(gone, [edit.link_id(file().id)], anew, at(30, author))

    one, other = back(A), back(B)
    both = join(one, other)
    assert both == join(other, one)
    for state in (one, join(gone, one), both):
        assert is_alive(state)
        assert [p.place for p in placements(state)] == [Place(DIRECTORY, b"f")]
        assert {version.body for version in live_versions(state)} == {Inline(b"x")}
    assert not is_alive(join(both, removed(both, 60)))


# ---- several directories at one name
@st.composite
def groups(draw: st.DrawFn) -> list[NodeState]:
    numbers = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5, unique=True))
    found = []
    for number in numbers:
        state = made(
            Kind.DIRECTORY, Place(ROOT_ID, b"d"), NodeId(bytes([number]) * 16), number, draw(st.integers(0, 2))
        )
        state = edit.with_mode(state, draw(st.integers(0o700, 0o777)), at(draw(st.integers(3, 9)), C))
        found.append(edit.with_xattr(state, b"user.x", bytes([number]), at(draw(st.integers(3, 9)), B)))
    return found


@given(groups(), st.randoms())
def test_one_stands_for_all_with_the_settings_set_last_in_any_order(group: list[NodeState], chance: object) -> None:
    shuffled = list(group)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    shown = [
        project_slot(b"d", [Candidate(s, placements(s)[0]) for s in states], lambda _name: False)
        for states in (group, shuffled)
    ]
    assert shown[0] == shown[1]
    (entry,) = shown[0]
    assert entry.node == min(group, key=seniority).id
    assert {entry.node, *entry.twins} == {state.id for state in group}
    one, other = settings_of(group), settings_of(shuffled)
    assert (one.mode, one.xattrs) == (other.mode, other.xattrs)
    assert one.mode is not None
    assert one.mode.stamp == max(state.mode.stamp for state in group if state.mode)
