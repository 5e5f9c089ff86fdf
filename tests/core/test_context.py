# SPDX-License-Identifier: GPL-3.0-or-later
"""Causal contexts, and how far what a record says of others counts."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from holofsd.core.context import add, clip, clip_state, covers, merge
from holofsd.core.edit import link_id, new_node, removed, with_version
from holofsd.core.ids import ROOT_ID, AuthorId, Dot, Hlc, NodeId
from holofsd.core.join import join
from holofsd.core.state import Inline, Kind, Place, Register, Version

A, B = AuthorId(b"a" * 32), AuthorId(b"b" * 32)
CONTEXTS = st.dictionaries(st.sampled_from([A, B, AuthorId(b"c" * 32)]), st.integers(1, 5))
NODE = NodeId(b"n" * 16)


def version(author: AuthorId, counter: int) -> Version:
    stamp = Hlc(counter, 0, author)
    return Version(Dot(author, counter), stamp, Inline(b""), 0, Register(0, stamp), "x")


@given(CONTEXTS, CONTEXTS)
def test_merge_covers_exactly_what_either_covers(a: dict[AuthorId, int], b: dict[AuthorId, int]) -> None:
    both = merge(a, b)
    for author in {*a, *b, A}:
        for counter in range(1, 7):
            dot = Dot(author, counter)
            assert covers(both, dot) == (covers(a, dot) or covers(b, dot))


@given(CONTEXTS, st.integers(1, 6))
def test_adding_a_dot_covers_it_and_keeps_the_argument(context: dict[AuthorId, int], counter: int) -> None:
    before = dict(context)
    assert covers(add(context, Dot(A, counter)), Dot(A, counter))
    assert context == before


@given(CONTEXTS, CONTEXTS)
def test_clipping_lowers_to_the_limits(context: dict[AuthorId, int], limits: dict[AuthorId, int]) -> None:
    expected = {a: min(c, limits[a]) for a, c in context.items() if a in limits}
    assert clip(context, limits) == expected


def test_what_a_record_says_of_another_author_waits_for_that_authors_head() -> None:
    first = version(A, 1)
    state = new_node(NODE, Kind.FILE, 0, Place(ROOT_ID, b"f"), link_id(NODE), first, 0o644, first.stamp)
    state = removed(with_version(state, version(B, 7), []))
    clipped, waiting = clip_state(state, A, {A: 1, B: 6})
    assert waiting == {B}
    assert clipped.versions.keys() == {Dot(A, 1)}
    assert clipped.context == {A: 1}
    assert clipped.removed.context == {A: 1, B: 6}
    assert clip_state(state, A, {A: 1, B: 7}) == (state, frozenset())


def test_a_version_that_waits_takes_the_place_of_nothing() -> None:
    """A member that claims a version of a later time would leave the file without any."""
    first, claimed = version(B, 3), version(B, 1_000_000)
    honest = new_node(NODE, Kind.FILE, 0, Place(ROOT_ID, b"f"), link_id(NODE), first, 0o644, first.stamp)
    lie = replace(honest, context={A: 2, B: claimed.dot.counter}, versions={claimed.dot: claimed})
    clipped, waiting = clip_state(lie, A, {A: 2, B: 9})
    assert waiting == {B}
    assert clipped.context == clipped.versions == {}
    assert join(honest, clipped) == join(clipped, honest) == honest


def test_what_an_author_says_beyond_its_own_head_waits_like_that_of_others() -> None:
    """A version beyond the head could not be removed: what others say of it does not count."""
    state = with_version(
        new_node(NODE, Kind.FILE, 0, Place(ROOT_ID, b"f"), link_id(NODE), version(A, 1), 0o644, version(A, 1).stamp),
        version(A, 2),
        [],
    )
    clipped, waiting = clip_state(removed(state), A, {A: 1})
    assert waiting == {A}
    assert clipped.versions.keys() <= {Dot(A, 1)}
    assert clipped.context == clipped.removed.context == {A: 1}


def test_an_author_whose_head_is_unknown_does_not_count_at_all() -> None:
    first = version(A, 1)
    state = new_node(NODE, Kind.FILE, 0, Place(ROOT_ID, b"f"), link_id(NODE), first, 0o644, first.stamp)
    clipped, waiting = clip_state(replace(state, context={A: 1, B: 3}), A, {A: 1})
    assert waiting == {B}
    assert clipped == state
