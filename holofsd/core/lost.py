# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of nodes that are alive and have no place that can be shown: they stand in `lost+found`. Pure.

A member can write a link that leads nowhere, or a name that no file can have. Only a removal ends a node, so such a
node is shown all the same, by its state alone and so alike on every device, until somebody gives it a place again.

`lost+found` has one id in every volume. It is there as soon as something is in it, needs no record for that, and always
lies in the root: so whatever is in it can be reached.
"""

from __future__ import annotations

from typing import Final

from holofsd.core.edit import directory_id, is_valid_name, link_id
from holofsd.core.ids import ROOT_ID, AuthorId, Hlc, LinkId
from holofsd.core.node import Placement, is_alive, may_have_names, placements
from holofsd.core.state import Kind, Link, NodeState, Place, Register, Removal

LOST_NAME: Final = b"lost+found"
"""Name of the folder in the root for what has no usable place, and in paths for what lies in an unknown directory."""
LOST_ID: Final = directory_id(ROOT_ID, LOST_NAME, 0)
_LINK: Final = link_id(LOST_ID)
_NO_TIME: Final = Hlc(0, 0, AuthorId(bytes(32)))

UNMADE: Final = NodeState(
    LOST_ID,
    Kind.DIRECTORY,
    0,
    links={_LINK: Link(Place(ROOT_ID, LOST_NAME), _NO_TIME)},
    removed=Removal(links={_LINK: _NO_TIME}),
    mode=Register(0o755, _NO_TIME),
)
"""`lost+found` as long as nobody has said anything of it: a removed directory, shown while something is in it."""


def shown_placements(state: NodeState, needed: bool = False) -> tuple[Placement, ...]:
    """Lists placements as `node.placements` does, with names that can be shown only, and the one in `lost+found` where
    none can."""
    return sorted_placements(state, needed)[0]


def sorted_placements(state: NodeState, needed: bool = False) -> tuple[tuple[Placement, ...], tuple[Placement, ...]]:
    """Separates the placements that are shown from those whose names cannot be."""
    if state.id == LOST_ID:
        return ((_home(state),) if needed or is_alive(state) else ()), ()
    found = placements(state, needed)
    bad = tuple(placement for placement in found if not is_valid_name(placement.place.name))
    if bad:
        found = tuple(placement for placement in found if placement not in bad)
    if not found and may_have_names(state, needed):
        found = (_lost(state),)
    return found, bad


def is_placed(state: NodeState) -> bool:
    """Whether its own links give it a name that can be shown. Of a node that is not alive: False."""
    return any(is_valid_name(placement.place.name) for placement in placements(state))


def _lost(state: NodeState) -> Placement:
    """Placement of a node in `lost+found`. It names the register that was written last, so that a move from here
    replaces that one."""
    link = max(state.links, key=lambda i: (state.links[i].stamp, i), default=None)
    if link is None:
        stamp = max((version.stamp for version in state.versions.values()), default=_NO_TIME)
        return Placement(link_id(state.id), Place(LOST_ID, _name(state)), stamp, None, False)
    return Placement(link, Place(LOST_ID, _name(state)), state.links[link].stamp, None, False)


def _name(state: NodeState) -> bytes:
    """The last name that it is known to have had, else its id."""
    before = [
        (link.stamp, id, link.before.name)
        for id, link in state.links.items()
        if link.before is not None and is_valid_name(link.before.name)
    ]
    return max(before)[2] if before else state.id.hex().encode()


def _home(state: NodeState) -> Placement:
    for placement in placements(state, needed=True):
        if placement.place.parent == ROOT_ID and is_valid_name(placement.place.name):
            return placement
    return Placement(LinkId(_LINK), Place(ROOT_ID, LOST_NAME), _NO_TIME, None, not is_alive(state))
