# SPDX-License-Identifier: GPL-3.0-or-later
"""Projection of a name that several versions or nodes want, and how conflict copies are called."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofsd.core import edit
from holofsd.core.errors import BadArgument
from holofsd.core.ids import ROOT_ID, AuthorId, Dot, Hlc, NodeId
from holofsd.core.node import placements
from holofsd.core.project import (
    Candidate,
    SlotEntry,
    base_of_conflict_name,
    conflict_name,
    parse_token,
    project_slot,
    token,
)
from holofsd.core.state import Inline, Kind, Marker, NodeState, Place, Register, Version

A = AuthorId(b"a" * 32)
WALL = 1_700_000_000_000
DOT = Dot(A, 1)


def never(_name: bytes) -> bool:
    return False


def node(number: int, data: bytes | None, placed: int, counter: int | None = None) -> NodeState:
    """A file with that content, or a directory; `placed` orders the links."""
    id = NodeId(bytes([number]) * 16)
    counter = counter or number
    stamp = Hlc(WALL + placed, 0, A)
    kind = Kind.DIRECTORY if data is None else Kind.FILE
    body = Marker() if data is None else Inline(data)
    version = Version(Dot(A, counter), stamp, body, 0, Register(0, stamp), "laptop")
    return edit.new_node(id, kind, 0, Place(ROOT_ID, b"n.txt"), edit.link_id(id), version, 0o644, stamp)


def slot(*states: NodeState) -> tuple[SlotEntry, ...]:
    candidates = [Candidate(s, placements(s)[0]) for s in states]
    return project_slot(b"n.txt", candidates, never)


def conflicted(state: NodeState, *more: bytes) -> NodeState:
    for i, data in enumerate(more):
        stamp = Hlc(WALL + 100 + i, 0, A)
        version = Version(Dot(A, 100 + i), stamp, Inline(data), 0, Register(0, stamp), "phone")
        state = edit.with_version(state, version, [])
    return state


# ---- slots ----
def test_the_newest_version_has_the_name_and_the_others_stand_beside_it() -> None:
    entries = slot(conflicted(node(1, b"old", 0), b"newer", b"newest"))
    assert entries[0] == SlotEntry(b"n.txt", NodeId(b"\1" * 16), None, ())
    assert [e.dot for e in entries[1:]] == [Dot(A, 100), Dot(A, 1)]
    assert entries[1].name.startswith(b"n (conflict phone 2023-11-14 22-13-20 ")
    assert entries[2].name.startswith(b"n (conflict laptop 2023-11-14 22-13-20 ")
    assert all(e.name.endswith(b").txt") for e in entries[1:])


def test_versions_of_equal_content_show_once() -> None:
    assert len(slot(conflicted(node(1, b"same", 0), b"same"))) == 1


def test_the_latest_link_keeps_the_name_among_files() -> None:
    entries = slot(node(1, b"one", 5), node(2, b"two", 9))
    assert [e.node[0] for e in entries] == [2, 1]
    assert entries[0].name == b"n.txt"
    assert entries[1].dot is None
    assert base_of_conflict_name(entries[1].name) == b"n.txt"


def test_a_directory_beats_a_file() -> None:
    assert slot(node(1, None, 1), node(2, b"two", 9))[0].node[0] == 1


def test_directories_show_once_as_the_one_made_first_and_never_beside_each_other() -> None:
    entries = slot(node(3, None, 1), node(1, None, 5), node(2, None, 9))
    assert entries == (SlotEntry(b"n.txt", NodeId(b"\1" * 16), None, (NodeId(b"\2" * 16), NodeId(b"\3" * 16))),)
    older = replace(node(2, None, 9), created_ns=-1)
    assert slot(node(1, None, 5), older)[0].node[0] == 2


def test_a_file_stands_beside_all_directories_of_its_name() -> None:
    entries = slot(node(1, None, 1), node(2, b"two", 9), node(3, None, 2))
    assert [(e.node[0], [twin[0] for twin in e.twins]) for e in entries] == [(1, [3]), (2, [])]
    assert base_of_conflict_name(entries[1].name) == b"n.txt"


def test_identical_files_show_once_and_the_name_stands_for_all_of_them() -> None:
    entries = slot(node(1, b"same", 5), node(2, b"same", 9), node(3, b"same", 7))
    assert entries == (SlotEntry(b"n.txt", NodeId(b"\2" * 16), None, (NodeId(b"\3" * 16), NodeId(b"\1" * 16))),)


def test_copies_of_twins_show_too() -> None:
    entries = slot(node(1, b"same", 500), conflicted(node(2, b"other", 9), b"same"))
    assert [(e.node[0], e.dot) for e in entries] == [(1, None), (2, Dot(A, 2))]


def test_nothing_shows_where_nothing_wants_the_name() -> None:
    assert slot() == ()


def test_a_conflict_name_that_a_file_really_has_is_lengthened() -> None:
    state = conflicted(node(1, b"old", 0), b"new")
    first = slot(state)[1].name
    entries = project_slot(b"n.txt", [Candidate(state, placements(state)[0])], {first}.__contains__)
    assert entries[1].name != first
    assert base_of_conflict_name(entries[1].name) == b"n.txt"


def test_nodes_that_lie_about_one_dot_still_have_names_of_their_own() -> None:
    entries = slot(*(node(i, b"%d" % i, 1, counter=7) for i in range(1, 9)))
    assert len({e.name for e in entries}) == 8


@given(st.integers(0, 2**32))
def test_the_order_of_candidates_does_not_matter(seed: int) -> None:
    states = [
        node(1, b"same", 5),
        node(2, b"same", 9),
        conflicted(node(3, b"c", 3), b"d"),
        node(4, None, 1),
        conflicted(node(5, b"other", 2), b"same"),
    ]
    expected = slot(*states)
    random.Random(seed).shuffle(states)
    assert slot(*states) == expected


# ---- names ----
@given(
    st.binary(min_size=1, max_size=255).filter(edit.is_valid_name),
    st.text(max_size=300),
    st.integers(0, 2**48 - 1),
    st.sampled_from([8, 16, 32, 64]),
)
def test_every_conflict_name_is_a_name(name: bytes, device: str, wall_ms: int, digits: int) -> None:
    made = conflict_name(name, device, wall_ms, DOT, digits)
    assert edit.is_valid_name(made)
    assert base_of_conflict_name(made) is not None
    if len(made) < 255 - 4:
        assert base_of_conflict_name(made) == name


@given(st.text(st.characters(min_codepoint=0x400, max_codepoint=0x1F600, codec="utf-8"), min_size=60, max_size=63))
def test_a_name_that_is_cut_is_cut_between_characters(text: str) -> None:
    made = conflict_name(text.encode(), "Döner-Gerät", WALL, DOT)
    assert 250 <= len(made) <= 255 or len(text.encode()) < 200
    made.decode("utf-8")


def test_names_that_are_cut_alike_get_different_digits() -> None:
    long = b"x" * 250
    assert conflict_name(long + b"1", "d", WALL, DOT) != conflict_name(long + b"2", "d", WALL, DOT)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"report.txt", b"report (conflict laptop 2023-11-14 22-13-20 "),
        (b".bashrc", b".bashrc (conflict laptop 2023-11-14 22-13-20 "),
        (b"no extension", b"no extension (conflict laptop 2023-11-14 22-13-20 "),
        (b"ends with.", b"ends with. (conflict laptop 2023-11-14 22-13-20 "),
    ],
)
def test_the_extension_stays_at_the_end(name: bytes, expected: bytes) -> None:
    assert conflict_name(name, "laptop", WALL, DOT).startswith(expected)


def test_ordinary_names_are_no_conflict_names() -> None:
    for name in (b"a (conflict of interest).txt", b"a.txt", b"(conflict x 2023-11-14 22-13-20 01234567).txt"):
        assert base_of_conflict_name(name) is None


# ---- tokens ----
@given(st.binary(min_size=32, max_size=32), st.integers(1, 2**62))
def test_tokens_name_dots(author: bytes, counter: int) -> None:
    assert parse_token(token(Dot(AuthorId(author), counter))) == Dot(AuthorId(author), counter)


def test_a_token_of_another_length_is_refused() -> None:
    with pytest.raises(BadArgument):
        parse_token(b"x" * 39)


def test_thousands_of_files_that_want_one_name_are_not_compared_with_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = 0
    equal = Inline.__eq__

    def counted(self: Inline, other: object) -> bool:
        nonlocal compared
        compared += 1
        return equal(self, other)

    states = []
    for number in range(1, 401):
        made = node(1, b"%d" % number, number, number + 1)
        states.append(replace(made, id=NodeId(number.to_bytes(16, "big"))))
    monkeypatch.setattr(Inline, "__eq__", counted)
    assert len(slot(*states)) == len(states)
    assert compared < 10 * len(states)
