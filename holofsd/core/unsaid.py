# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a state that other records do not say: what a record is cut down to that would be too large. Pure.

A record has bounds, and the join of several records need not keep them: each of them may be full of something else. A
device that says again what everybody hears from others could then say nothing of that node any more. So it leaves out
what others say, in an order that leaves the most useful parts to the end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from holofsd.core.ids import AuthorId
from holofsd.core.state import Link, NodeState, Version

K = TypeVar("K")
V = TypeVar("V")


def smaller_records(state: NodeState, others: NodeState | None, ours: Collection[AuthorId]) -> Iterator[NodeState]:
    """Yields records of a state, each smaller than the one before it: the first that has room is to be published.

    `others`: the join of what other records say of the node. Joined with it, each of the records gives the state again,
    but for the last: that one leaves out what no record says any more, of attributes and of names that are gone, and
    that is not of `ours` either.
    """
    said = others or NodeState(state.id, state.kind, state.created_ns)
    state = replace(state, xattrs=_unsaid(state.xattrs, said.xattrs))
    yield state
    links, at = _unsaid(state.removed.links, said.removed.links), _unsaid(state.removed.at, said.removed.at)
    state = replace(state, removed=replace(state.removed, links=links, at=at))
    yield state
    gone = {id: link for id, link in state.links.items() if link.place is None and said.links.get(id) == link}
    state = replace(state, links={id: link for id, link in state.links.items() if id not in gone})
    yield state
    state = _without_versions_said(replace(state, links=_unsaid(state.links, said.links)), said)
    yield state
    yield replace(
        state,
        xattrs={name: value for name, value in state.xattrs.items() if value.stamp.author in ours},
        links={id: link for id, link in state.links.items() if _is_needed(link, ours)},
        removed=replace(
            state.removed,
            links={id: stamp for id, stamp in state.removed.links.items() if stamp.author in ours},
            at={author: stamp for author, stamp in state.removed.at.items() if author in ours},
        ),
    )


def _unsaid(here: Mapping[K, V], said: Mapping[K, V]) -> dict[K, V]:
    return {key: value for key, value in here.items() if said.get(key) != value}


def _is_needed(link: Link, ours: Collection[AuthorId]) -> bool:
    return link.place is not None or link.stamp.author in ours


def _is_said(version: Version, said: NodeState) -> bool:
    other = said.versions.get(version.dot)
    return other == version and (other.seal, other.origin) == (version.seal, version.origin)


def _without_versions_said(state: NodeState, said: NodeState) -> NodeState:
    """Leaves out versions that others say, as far as the context can: it covers all counters up to the highest that has
    to be covered, and what it covers and the record does not have is replaced."""
    needed = [dot for dot, version in state.versions.items() if not _is_said(version, said)]
    covered: dict[AuthorId, int] = {
        author: counter for author, counter in state.context.items() if counter > said.context.get(author, 0)
    }
    for dot in (*needed, *(dot for dot in said.versions if dot not in state.versions)):
        covered[dot.author] = max(covered.get(dot.author, 0), dot.counter)
    kept = {dot: version for dot, version in state.versions.items() if dot.counter <= covered.get(dot.author, 0)}
    return replace(state, context=covered, versions=kept)
