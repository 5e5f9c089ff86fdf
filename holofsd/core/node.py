# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions about one node's state: what is live, what is shown, under which names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holofsd.core.context import covers
from holofsd.core.ids import ROOT_ID, Hlc, LinkId
from holofsd.core.state import Body, Kind, Link, Marker, NodeState, Pending, Place, Target, Version


@dataclass(frozen=True, slots=True)
class Placement:
    """A name that a node has. `link` is the register to write when the name is changed, also for a revived name."""

    link: LinkId | None
    place: Place
    stamp: Hlc
    before: Place | None
    revived: bool
    """No live link: the node is back at the place it was removed from."""


def fits(kind: Kind, body: Body) -> bool:
    """Whether a node of this kind can have this body."""
    if kind is Kind.DIRECTORY:
        return isinstance(body, Marker)
    if kind is Kind.SYMLINK:
        return isinstance(body, Target)
    return not isinstance(body, Marker | Target)


def _newest_first(versions: list[Version]) -> list[Version]:
    if len(versions) > 1:
        versions.sort(key=lambda v: (v.stamp, v.dot), reverse=True)
    return versions


def live_versions(state: NodeState) -> tuple[Version, ...]:
    """Versions that are neither replaced nor removed, newest stamp first. Directories: at most one.

    A removal that lost to a move or a new link has no effect, so where a live link is all that keeps the node, its
    removed versions are live again. Where a version outlived the removal, that version alone is: the others were
    removed by somebody who had seen them. Every write drops those (`outlived`), so that no later removal that loses
    makes them live again.
    """
    kind = state.kind
    seen = state.removed.context
    fitting = [v for v in state.versions.values() if fits(kind, v.body)]
    if seen:
        remaining = [v for v in fitting if not covers(seen, v.dot)]
        if remaining or not live_links(state):
            fitting = remaining
    newest = _newest_first(fitting)
    return tuple(newest[:1] if kind is Kind.DIRECTORY else newest)


def is_live(state: NodeState, link_id: LinkId, link: Link) -> bool:
    if link.place is None:
        return False
    seen = state.removed.links.get(link_id)
    return seen is None or link.stamp > seen


def live_links(state: NodeState) -> Mapping[LinkId, Link]:
    """Links that have a place and that no removal has seen."""
    return {i: link for i, link in state.links.items() if is_live(state, i, link)}


def live_xattrs(state: NodeState) -> dict[bytes, bytes]:
    """The extended attributes that a node has, without those that were removed. The caller may change the result."""
    return {name: register.value for name, register in state.xattrs.items() if register.value is not None}


def is_alive(state: NodeState) -> bool:
    """Whether the node has a version or a live link that its removal had not seen."""
    return has_own_version(state) or (has_live_link(state) and not is_emptied(state))


def is_emptied(state: NodeState) -> bool:
    """A file that had versions, of which none is left and none took their place.

    No program of ours writes that: a write leaves its own version, and a removal keeps what it removes. It counts as a
    removal. A file of which no version was heard of yet has seen none either: that one is pending.
    """
    return not state.versions and bool(state.context) and state.kind is not Kind.DIRECTORY


def has_live_link(state: NodeState) -> bool:
    return any(is_live(state, i, link) for i, link in state.links.items())


def has_own_version(state: NodeState) -> bool:
    """Whether a version keeps the node, which no removal had seen. Otherwise only its live links do."""
    seen = state.removed.context
    return any(not covers(seen, dot) for dot in state.versions) if seen else bool(state.versions)


def outlived(state: NodeState) -> tuple[Version, ...]:
    """Versions that were removed while another one kept the node: gone for good, also if that one is removed later."""
    seen = state.removed.context
    if not seen or len(state.versions) < 2:
        return ()
    fitting = [v for v in state.versions.values() if fits(state.kind, v.body)]
    ended = tuple(v for v in fitting if covers(seen, v.dot))
    return ended if len(ended) < len(fitting) else ()


def revived_placement(state: NodeState) -> Placement | None:
    """The name of a node that a version keeps and that has no live link: the place that it was removed from last."""
    if has_live_link(state):
        return None
    shown = placements(state)
    return shown[0] if shown and shown[0].revived else None


def is_publishable(state: NodeState) -> bool:
    """False while the content of a version is known only as a staging file."""
    return not any(isinstance(v.body, Pending) for v in state.versions.values())


def placements(state: NodeState, needed: bool = False) -> tuple[Placement, ...]:
    """The effective names, highest stamp first; one for each place. A directory has at most one.

    `needed`: a visible child needs this directory, so that it is shown even if removed. A file of which no version is
    here yet is pending and has no names. Names are not checked: see `edit.is_valid_name`.
    """
    if not may_have_names(state, needed):
        return ()
    found = [Placement(i, k.place, k.stamp, k.before, False) for i, k in live_links(state).items() if k.place]
    if not found:
        last = _last_removed(state)
        return (last,) if last else ()
    if len(found) == 1:
        return (found[0],)
    found.sort(key=lambda p: (p.stamp, p.link), reverse=True)
    if state.kind is Kind.DIRECTORY:
        return (found[0],)
    distinct: dict[Place, Placement] = {}
    for placement in found:
        distinct.setdefault(placement.place, placement)
    return tuple(distinct.values())


def may_have_names(state: NodeState, needed: bool = False) -> bool:
    """Whether there is something to show, wherever that is."""
    if state.id == ROOT_ID or not (is_alive(state) or (needed and state.kind is Kind.DIRECTORY)):
        return False
    return state.kind is Kind.DIRECTORY or bool(live_versions(state))


def _last_removed(state: NodeState) -> Placement | None:
    """The most recently removed place.

    A register that says gone was written while another link remained, so a link that a removal of the whole node covers
    went later than any of them, whatever the stamps say (a covered link's stamp is that of its placement).
    """
    best: tuple[bool, Hlc, LinkId] | None = None
    placement: Placement | None = None
    for link_id, link in state.links.items():
        place = link.place or link.before
        rank = (link.place is not None, link.stamp, link_id)
        if place is not None and (best is None or rank > best):
            best = rank
            placement = Placement(link_id, place, link.stamp, link.before if link.place else None, True)
    return placement
