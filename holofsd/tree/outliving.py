# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings back what was removed with a directory that outlived its removal (rules: `core.outliving`).

What one device did before another one's move, in the order of the clocks, may have been known to the mover or not: then
only the mover can tell, by when it heard of it, and the others leave it to that device.
"""

from __future__ import annotations

from dataclasses import dataclass

from holofsd.core.ids import Hlc, LinkId, NodeId
from holofsd.core.node import is_alive, is_publishable, placements
from holofsd.core.outliving import Ends, asserted, brought_back, ended_in, one_go, outlives, went_with
from holofsd.core.state import Kind, Marker, NodeState, Place, Version
from holofsd.tree.changes import TreeChange
from holofsd.tree.local import LocalVolume


@dataclass(frozen=True, slots=True)
class _Gone:
    """A name that was removed below the directory."""

    node: NodeId
    link: LinkId
    ends: Ends
    heard_ms: int
    above: tuple[NodeId, ...]
    """Removed directories that it was in."""


def bring_back(volume: LocalVolume, limit: int = 200) -> TreeChange:
    """Brings back nodes that outlive the removal of their directory. Sync calls it when everything received is merged,
    on a device that may write; inside a transaction.

    At most `limit` nodes at once, the first removed first: so that what is left still leads up to the removal.
    """
    store = volume.store
    for node in store.outlived(1):
        state = volume.tree.state(node)
        if state is None or not outlives(state):
            store.forget_outlived(node)
            return TreeChange()
        found = sorted(_to_bring_back(volume, state), key=lambda gone: max(gone.ends.values()))
        links: dict[NodeId, list[LinkId]] = {}
        for gone in found:
            links.setdefault(gone.node, []).append(gone.link)
        states = [_brought_back(volume, node, links[node]) for node in list(links)[:limit]]
        if len(links) <= limit:
            store.forget_outlived(node)
            states.append(asserted(state, volume.new_version(Marker(), 0, state.created_ns)))
        return volume.write(states)
    return TreeChange()


def _brought_back(volume: LocalVolume, node: NodeId, links: list[LinkId]) -> NodeState:
    state = volume.tree.state(node)
    assert state is not None

    def anew(version: Version) -> Version:
        return volume.new_version(version.body, version.size, version.mtime.value, version.stamp, version.device_name)

    return brought_back(state, links, anew, volume.stamp())


def _to_bring_back(volume: LocalVolume, state: NodeState) -> list[_Gone]:
    removal = state.removed.at
    if not removal:
        return []
    below = _below(volume, state.id)
    since = one_go(removal, (gone.ends for gone in below))
    moved_at, moved_ms = _moved(volume, state)
    wanted = [
        gone for gone in below if went_with(gone.ends, removal, since) and not _was_known(gone, moved_at, moved_ms)
    ]
    directories = {gone.node for gone in wanted}
    return [gone for gone in wanted if directories.issuperset(gone.above)]


def _below(volume: LocalVolume, top: NodeId) -> list[_Gone]:
    """All names that were removed from a directory, and from removed directories in it."""
    found: list[_Gone] = []
    edge: list[tuple[NodeId, tuple[NodeId, ...]]] = [(top, ())]
    while edge:
        directory, above = edge.pop()
        rows = volume.store.history.last_in(directory)
        for node, until_ms in {row.node: row.until_ms for row in rows if row.parent == directory}.items():
            state = volume.tree.state(node)
            if state is None or node in above or not is_publishable(state):
                continue
            ended = ended_in(state, directory)
            found += [_Gone(node, link, ends, until_ms, above) for link, ends in ended.items()]
            if ended and state.kind is Kind.DIRECTORY and not is_alive(state):
                edge.append((node, (*above, node)))
    return found


def _moved(volume: LocalVolume, state: NodeState) -> tuple[Hlc, int | None]:
    """The stamp of the move that the directory outlived by, and when this device made it; None if another one did."""
    placement = placements(state)[0]
    if placement.stamp.author not in volume.store.own_authors():
        return placement.stamp, None
    left = volume.store.history.places_of(state.id)
    # A cycle may have kept it from its new place since: that it left that one is no move of a person.
    moves = [row for row in left if placement.before == Place(row.parent, row.name)] or left
    return placement.stamp, moves[0].until_ms if moves else 0


def _was_known(gone: _Gone, moved_at: Hlc, moved_ms: int | None) -> bool:
    """Whether the mover knew of that removal already, or may have: then it stands."""
    if all(moved_at < at for at in gone.ends.values()):
        return False
    return moved_ms is None or gone.heard_ms <= moved_ms
