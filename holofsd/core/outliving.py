# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory outlives its removal when another device moved it meanwhile: what was removed with it comes back.

`rm -r` removes the files of a directory one by one, and knows each of them; the move of the directory beats the removal
of the directory alone. So the directory would survive empty (ADR 12). What went with it are those names that the same
authors removed from it, and from the directories in it, in the same go: with no pause of more than a minute up to the
removal of the directory itself. A file removed long before, or by somebody else too, stays removed. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from holofsd.core.clock import above
from holofsd.core.context import covers
from holofsd.core.edit import with_real_name, with_version
from holofsd.core.ids import AuthorId, Hlc, LinkId, NodeId
from holofsd.core.node import is_alive, is_live, live_links
from holofsd.core.state import Kind, Link, NodeState, Version

Ends = Mapping[AuthorId, Hlc]
"""Who removed something, and when."""

PAUSE_MS: Final = 60_000


def outlives(state: NodeState) -> bool:
    """A directory that a move alone keeps: every version was removed by somebody who had not seen the move."""
    seen = state.removed.context
    if state.kind is not Kind.DIRECTORY or not seen or not state.versions or not live_links(state):
        return False
    return all(covers(seen, dot) for dot in state.versions)


def ended_in(state: NodeState, directory: NodeId) -> dict[LinkId, Ends]:
    """The names that a node had in a directory last, and has not any more, with who removed them and when."""
    found: dict[LinkId, Ends] = {}
    for id, link in state.links.items():
        place = link.place or link.before
        if place is None or place.parent != directory or is_live(state, id, link):
            continue
        ends: Ends = state.removed.at if link.place is not None else {link.stamp.author: link.stamp}
        if ends:
            found[id] = ends
    return found


def one_go(removal: Ends, others: Iterable[Ends]) -> Ends:
    """Finds for each author of a directory's removal since when it removed what is below without a longer pause."""
    since = dict(removal)
    known = list(others)
    for author, last in removal.items():
        for stamp in sorted((e[author] for e in known if author in e and e[author] <= last), reverse=True):
            if since[author].wall_ms - stamp.wall_ms > PAUSE_MS:
                break
            since[author] = stamp
    return since


def went_with(ends: Ends, removal: Ends, since: Ends) -> bool:
    """Whether a name was removed in the same go as the directory, by all who removed it."""
    return all(author in removal and since[author] <= at <= removal[author] for author, at in ends.items())


def brought_back(
    state: NodeState, links: Iterable[LinkId], anew: Callable[[Version], Version], stamp: Hlc
) -> NodeState:
    """The node with these names again, and with its content, if it is not alive under other ones.

    `anew` gives a version a new dot and stamp, which no removal has seen.
    """
    state = with_real_name(state)
    if not is_alive(state):
        for version in sorted(state.versions.values(), key=lambda v: (v.stamp, v.dot)):
            state = with_version(state, anew(version), [version.dot])
    for id in links:
        old = state.links[id]
        place = old.place or old.before
        floor = max(old.stamp, state.removed.links.get(id, old.stamp))
        link = Link(place, above(stamp, floor), old.before if old.place is not None else None)
        state = replace(state, links={**state.links, id: link})
    return state


def asserted(state: NodeState, marker: Version) -> NodeState:
    """The directory with a version that no removal has seen: it outlived its removal, and that is settled."""
    return with_version(state, marker, list(state.versions))
