# SPDX-License-Identifier: GPL-3.0-or-later
"""The brake: how many removals from elsewhere are too many to follow without asking, and how one is undone. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from holofsd.core.clock import above
from holofsd.core.context import covers
from holofsd.core.edit import is_valid_name, link_id, moved, with_version
from holofsd.core.errors import BadArgument
from holofsd.core.ids import Hlc, LinkId
from holofsd.core.lost import is_placed
from holofsd.core.node import Placement, is_alive, is_live, live_versions, placements
from holofsd.core.state import Link, NodeState, Place, Version

WINDOW_MS: Final = 10 * 60 * 1000
"""Removals that arrive within this time count together."""


@dataclass(frozen=True, slots=True)
class BrakeLimit:
    """Removals are followed up to here: more than `files` and more than `percent` of the volume are held."""

    files: int = 50
    percent: int = 20
    off: bool = False

    def encode(self) -> bytes:
        return b"off" if self.off else f"{self.files} {self.percent}".encode()


def decode_limit(data: bytes | None) -> BrakeLimit:
    """Decodes a stored limit; the default for nothing, or for what cannot be read (the careful answer)."""
    if data == b"off":
        return BrakeLimit(off=True)
    try:
        files, percent = (data or b"").split()
        return check_limit(BrakeLimit(int(files), int(percent)))
    except (ValueError, BadArgument):
        return BrakeLimit()


def check_limit(limit: BrakeLimit) -> BrakeLimit:
    """Raises BadArgument."""
    if not 0 <= limit.files < 2**31:
        raise BadArgument("The brake's number of files is 0 or more.")
    if not 0 <= limit.percent <= 100:
        raise BadArgument("The brake's share of the volume is from 0 to 100 percent.")
    return limit


def exceeds(limit: BrakeLimit, removed: int, shown: int) -> bool:
    """`removed` files within the window, of `shown` that there were when it began."""
    if limit.off or not removed:
        return False
    return removed > limit.files and removed * 100 > limit.percent * shown


def removes(stored: NodeState | None, joined: NodeState) -> bool:
    """Would what is known with a record end a node that is alive without it, or take its last name away?"""
    if stored is None or not is_alive(stored):
        return False
    return not is_alive(joined) or (is_placed(stored) and not is_placed(joined))


def surely_stays(stored: NodeState, record: NodeState) -> bool:
    """A quick answer for nearly every record about a node that is known: it changes no name and removes nothing, and a
    version that it has stays or is new. False: join them, and ask `removes`."""
    if record.links != stored.links or record.removed != stored.removed or stored.removed.context:
        return False
    return any(dot in stored.versions or not covers(stored.context, dot) for dot in record.versions)


def kept(stored: NodeState, joined: NodeState, anew: Callable[[Version], Version], stamp: Hlc) -> NodeState:
    """A removal is refused: `joined`, which knows of it, with everything that lives in `stored` said once more.

    `anew` gives a live version a new dot and stamp, which no removal has seen; oldest first, so that the order of
    versions stays. The links that the removal covers are written again at their places.
    """
    alive = {version.dot for version in live_versions(joined)}
    state = joined
    for version in reversed(live_versions(stored)):
        if version.dot not in alive:
            state = with_version(state, anew(version), [version.dot])
    # Not only live links: a node that came back shows at a place that no link holds, and the removal may know another.
    for placement in placements(stored):
        if placement.link is not None:
            state = _linked_again(state, placement.link, placement.place, stamp)
    return state


def restored(state: NodeState, anew: Callable[[Version], Version], stamp: Hlc) -> NodeState:
    """A removal that was merged is undone: the node's versions live again, at the place it was removed from."""
    places = removed_from(state)
    for version in sorted(state.versions.values(), key=lambda v: (v.stamp, v.dot)):
        state = with_version(state, anew(version), [version.dot])
    for placement in places:
        if placement.link is not None:
            state = _linked_again(state, placement.link, placement.place, stamp)
    return state


def placed_again(state: NodeState, place: Place, stamp: Hlc) -> NodeState:
    """A living node that lost its last name has this one again, in the place of the register written last."""
    link = max(state.links, key=lambda i: (state.links[i].stamp, i), default=link_id(state.id))
    return moved(state, link, place, stamp)


def removed_from(state: NodeState) -> tuple[Placement, ...]:
    """The names from which a node was removed, with their links."""
    return placements(replace(state, removed=replace(state.removed, context={}, links={})), needed=True)


def _linked_again(state: NodeState, id: LinkId, place: Place, stamp: Hlc) -> NodeState:
    old = state.links.get(id)
    if old is not None and old.place is not None and is_live(state, id, old) and is_valid_name(old.place.name):
        return state
    seen = state.removed.links.get(id)
    floor = max((s for s in (old.stamp if old else None, seen) if s is not None), default=None)
    before = old.before if old is not None and old.place == place else None
    return replace(state, links={**state.links, id: Link(place, above(stamp, floor), before)})
