# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a folder that nobody knows any more gets a place that people can see (design 4.4).

Usually such a folder has not arrived yet. It will not arrive where every member holds all records about the node, and
this device holds all that any member had: whoever wrote the node knew its folder. Then a device that may write moves it
to `lost+found` in the root, a folder like any other, which has the same id on every device that makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog

from holofsd.core.edit import directory_id, link_id, moved, new_node
from holofsd.core.ids import ROOT_ID, AuthorId, NodeId
from holofsd.core.state import Kind, Marker, NodeState, Place
from holofsd.store.nodes import PlacementRow
from holofsd.sync.members import Members
from holofsd.tree.local import LocalVolume

log = structlog.get_logger(__name__)

NAME: Final = b"lost+found"
_MOST: Final = 100
_MODE: Final = 0o755


def take_in_lost(volume: LocalVolume, members: Members, numbers: Mapping[AuthorId, int]) -> int:
    """How many nodes were moved; not more than a hundred at once. `numbers`: per author, what every member holds."""
    store = volume.store
    with store.db.transaction():
        orphans = [
            row
            for parent in store.nodes.unknown_parents(_MOST)
            if not store.documents.is_known(parent)
            for row in store.nodes.placed_in(parent, _MOST)
            if _is_known_by_all(volume, members, row.node, numbers)
        ][:_MOST]
        if not orphans:
            return 0
        home, made = _home(volume)
        states = {state.id: state for state in made}
        for row in orphans:
            state = states.get(row.node) or volume.tree.state(row.node)
            if state is not None:
                states[row.node] = _moved(volume, state, row, home)
        volume.write(states.values())
    log.warning("what was in folders that nobody knows is in lost+found", nodes=len(orphans))
    return len(orphans)


def _is_known_by_all(volume: LocalVolume, members: Members, node: NodeId, numbers: Mapping[AuthorId, int]) -> bool:
    documents = volume.store.documents
    if volume.store.outbox.has(node) or documents.is_unmerged(node):
        return False
    about = documents.numbers_about(node)
    return all(seq <= numbers.get(author, 0) for author, seq in about if members.counts(author, seq))


def _moved(volume: LocalVolume, state: NodeState, row: PlacementRow, home: NodeId) -> NodeState:
    return moved(state, row.link or link_id(state.id), Place(home, row.name), volume.stamp())


def _home(volume: LocalVolume) -> tuple[NodeId, list[NodeState]]:
    """The folder, and its state if it has to be made."""
    entry = volume.tree.lookup(ROOT_ID, NAME)
    if entry is not None and entry.view.kind is Kind.DIRECTORY:
        return entry.node, []
    known = 0
    while volume.store.nodes.exists(node := directory_id(ROOT_ID, NAME, known)):
        known += 1
    version = volume.new_version(Marker(), 0, volume.now_ms() * 1_000_000)
    place = Place(ROOT_ID, NAME)
    made = new_node(node, Kind.DIRECTORY, version.mtime.value, place, link_id(node), version, _MODE, version.stamp)
    return node, [made]
