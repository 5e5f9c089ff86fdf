# SPDX-License-Identifier: GPL-3.0-or-later
"""The laws of join, for states that share a node and disagree about everything, lies included."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.core.context import covers
from holofsd.core.edit import new_node, split, split_id
from holofsd.core.ids import AuthorId, BlobHash, Dot, Hlc, LinkId, NodeId
from holofsd.core.join import join
from holofsd.core.kinds import bound_id, kind_of
from holofsd.core.sealing import is_from, same_content, without
from holofsd.core.state import (
    VOUCHED,
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

Exactly = tuple[NodeState, dict[Dot, tuple[bytes, bytes]]]

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
    seal=st.sampled_from([b"", VOUCHED, b"s" * 64, b"t" * 64]),
    origin=st.sampled_from([b"", b"o" * 16]),
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


def exactly(state: NodeState) -> Exactly:
    """State with its seals, which do not make two states different."""
    return state, {dot: (version.seal, version.origin) for dot, version in state.versions.items()}


@settings(max_examples=50)
@given(states(), states())
def test_join_is_commutative(a: NodeState, b: NodeState) -> None:
    assert exactly(join(a, b)) == exactly(join(b, a))


@settings(max_examples=50)
@given(states(), states(), states())
def test_join_is_associative(a: NodeState, b: NodeState, c: NodeState) -> None:
    assert exactly(join(join(a, b), c)) == exactly(join(a, join(b, c)))


@settings(max_examples=50)
@given(states(), states())
def test_join_is_idempotent_and_absorbs(a: NodeState, b: NodeState) -> None:
    assert join(a, a) is a
    both = join(a, b)
    assert exactly(join(both, a)) == exactly(both) == exactly(join(b, both))
    assert join(both, a) is both


@settings(max_examples=50)
@given(states())
def test_join_with_what_is_known_gives_the_very_same_object(a: NodeState) -> None:
    twin = NodeState(*(getattr(a, name) for name in a.__dataclass_fields__))
    assert join(a, twin) is a


@settings(max_examples=50)
@given(states(), states())
def test_a_version_with_a_seal_gives_way_to_none_without(a: NodeState, b: NodeState) -> None:
    joined = join(a, b)
    for dot in a.versions.keys() & b.versions.keys():
        best = max(a.versions[dot], b.versions[dot], key=lambda version: len(version.seal))
        assert len(joined.versions[dot].seal) == len(best.seal)
        if len(a.versions[dot].seal) != len(b.versions[dot].seal):
            assert same_content(joined.versions[dot], best)


@settings(max_examples=50)
@given(states(), st.lists(DOTS, max_size=2), st.sampled_from([AuthorId(bytes([i]) * 32) for i in range(3)]))
def test_what_is_not_believed_covers_nothing(state: NodeState, dots: list[Dot], writer: AuthorId) -> None:
    dots = [dot for dot in dots if dot.author != writer]
    left = without(state, writer, dots)
    assert all(covers(left.context, dot) for dot in left.versions)
    assert not any(covers(left.context, dot) or covers(left.removed.context, dot) for dot in dots)
    assert not left.versions.keys() & set(dots)
    assert (left.links, left.mode, left.xattrs) == (state.links, state.mode, state.xattrs)
    assert without(left, writer, dots) == left


@settings(max_examples=50)
@given(states(), states(), st.sampled_from([AuthorId(bytes([i]) * 32) for i in range(3)]))
def test_refused_claims_end_no_version(honest: NodeState, lie: NodeState, author: AuthorId) -> None:
    """Versions of the author about whom another one lied."""
    lies = [dot for dot in lie.versions if dot.author == author]
    writer = AuthorId(b"w" * 32)
    if lies:
        kept = without(lie, writer, lies)
        joined = join(honest, kept)
        for dot, version in honest.versions.items():
            if dot.author == author:
                assert same_content(joined.versions[dot], version)
            elif not any(left.author == dot.author for left in kept.versions) and not covers(kept.removed.context, dot):
                assert dot in joined.versions, "what is not believed may have been what stood in its place"


def test_a_version_can_be_in_its_node_and_in_what_was_split_off_from_there() -> None:
    node, dot = NodeId(b"n" * 16), Dot(AuthorId(b"a" * 32), 1)
    stamp = Hlc(1, 0, dot.author)
    version = Version(dot, stamp, Inline(b""), 0, Register(0, stamp), "", origin=node)
    copy = split_id(node, dot)
    assert is_from(node, version)
    assert is_from(copy, version)
    assert is_from(split_id(copy, dot), version)
    assert not is_from(split_id(node, Dot(dot.author, 2)), version)
    assert not is_from(NodeId(b"x" * 16), version)


def test_a_copy_keeps_the_seal_and_names_the_node_that_it_was_made_for() -> None:
    node, dot = bound_id(Kind.FILE, b"n" * 10), Dot(AuthorId(b"a" * 32), 1)
    stamp = Hlc(1, 0, dot.author)
    version = Version(dot, stamp, Inline(b""), 0, Register(0, stamp), "", seal=b"s" * 64)
    place = Place(NodeId(b"p" * 16), b"name")
    state = new_node(node, Kind.FILE, 0, place, LinkId(b"l" * 16), version, 0o644, stamp)
    copy = split(state, dot)
    again = split(copy, dot)
    for made in (copy, again):
        assert (made.versions[dot].seal, made.versions[dot].origin) == (b"s" * 64, node)
        assert kind_of(made.id) is Kind.FILE
        assert is_from(made.id, made.versions[dot])
