# SPDX-License-Identifier: GPL-3.0-or-later
"""The laws of join, for states that share a node and disagree about everything, lies included."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.core.ids import AuthorId, BlobHash, Dot, Hlc, LinkId, NodeId
from holofsd.core.join import join
from holofsd.core.state import (
    Blob,
    Body,
    Inline,
    Kind,
    Link,
    Marker,
    NodeState,
    Pending,
    Place,
    Register,
    Removal,
    Target,
    Version,
)

AUTHORS = st.sampled_from([AuthorId(bytes([i]) * 32) for i in range(3)])
STAMPS = st.builds(Hlc, st.integers(0, 3), st.integers(0, 1), AUTHORS)
DOTS = st.builds(Dot, AUTHORS, st.integers(1, 4))
BODIES: st.SearchStrategy[Body] = st.sampled_from(
    [Inline(b"x"), Inline(b"y"), Blob(BlobHash(b"h" * 32)), Pending("s"), Target(b"t"), Marker()]
)
VERSIONS = st.builds(
    Version,
    dot=DOTS,
    stamp=STAMPS,
    body=BODIES,
    size=st.integers(0, 1),
    mtime=st.builds(Register, st.integers(0, 2), STAMPS),
    device_name=st.sampled_from(["a", "b"]),
)
PLACES = st.builds(Place, st.sampled_from([NodeId(b"p" * 16), NodeId(b"q" * 16)]), st.sampled_from([b"a", b"b"]))
LINKS = st.builds(Link, st.none() | PLACES, STAMPS, st.none() | PLACES)
LINK_IDS = st.sampled_from([LinkId(b"1" * 16), LinkId(b"2" * 16)])
CONTEXTS = st.dictionaries(AUTHORS, st.integers(1, 4))


@st.composite
def states(draw: st.DrawFn) -> NodeState:
    versions = {version.dot: version for version in draw(st.lists(VERSIONS, max_size=3))}
    context = dict(draw(CONTEXTS))
    for dot in versions:
        context[dot.author] = max(context.get(dot.author, 0), dot.counter)
    return NodeState(
        NodeId(b"n" * 16),
        draw(st.sampled_from(list(Kind))),
        draw(st.integers(0, 2)),
        context,
        versions,
        draw(st.dictionaries(LINK_IDS, LINKS)),
        Removal(
            draw(CONTEXTS),
            draw(st.dictionaries(LINK_IDS, STAMPS)),
            {stamp.author: stamp for stamp in draw(st.lists(STAMPS, max_size=2))},
        ),
        draw(st.none() | st.builds(Register, st.integers(0, 2), STAMPS)),
        draw(st.none() | st.builds(Register, st.tuples(st.integers(0, 1), st.integers(0, 1)), STAMPS)),
        draw(
            st.dictionaries(
                st.sampled_from([b"user.a", b"user.b"]),
                st.builds(Register, st.sampled_from([None, b"", b"v"]), STAMPS),
            )
        ),
        draw(st.none() | st.builds(Register, st.integers(0, 2), STAMPS)),
    )


@settings(max_examples=50)
@given(states(), states())
def test_join_is_commutative(a: NodeState, b: NodeState) -> None:
    assert join(a, b) == join(b, a)


@settings(max_examples=50)
@given(states(), states(), states())
def test_join_is_associative(a: NodeState, b: NodeState, c: NodeState) -> None:
    assert join(join(a, b), c) == join(a, join(b, c))


@settings(max_examples=50)
@given(states(), states())
def test_join_is_idempotent_and_absorbs(a: NodeState, b: NodeState) -> None:
    assert join(a, a) == a
    both = join(a, b)
    assert join(both, a) == both == join(b, both)


@settings(max_examples=50)
@given(states())
def test_join_with_what_is_known_gives_the_very_same_object(a: NodeState) -> None:
    twin = NodeState(*(getattr(a, name) for name in a.__dataclass_fields__))
    assert join(a, twin) is a
