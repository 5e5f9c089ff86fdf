# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping back of ignored nodes from publication, and their release (docs/ignore.md).

An ignored node is like any other in the index, but a row in `ignored` keeps it out of the outbox. What holds:
- No device was ever told of it: only a node that a program here has just made becomes one.
- A directory that a published node's link names is not ignored. So a node that is published takes the ignored
  directories above it along, and every child on another device has its parent there.
- A node that is released is published as if it had just been made (`rotation.as_new`). So to the sync core it is a new
  node, and no rule about dots, heads or removals has to know of ignored ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Protocol

from holofsd.core.edit import reasserted
from holofsd.core.ids import Dot, NodeId
from holofsd.core.lost import LOST_ID
from holofsd.core.node import is_alive, live_links
from holofsd.core.state import Kind, NodeState, Version
from holofsd.store.volume import VolumeStore
from holofsd.tree.changes import TreeChange
from holofsd.tree.ignoring import Ignoring
from holofsd.tree.rotation import as_new
from holofsd.tree.tree import Tree

_MOST_YOUNG: Final = 10_000
_REVIVED: Final = 2
"""Value of `visible` of a directory that was removed and shows for what is in it."""


class Writer(Protocol):
    """Part of `LocalVolume` that makes changes of this device."""

    @property
    def store(self) -> VolumeStore: ...
    @property
    def tree(self) -> Tree: ...
    def now_ms(self) -> int: ...
    def write_renamed(self, state: Callable[[Callable[[Dot], Dot]], NodeState]) -> None: ...
    def write(self, states: Iterable[NodeState]) -> TreeChange: ...
    def new_marker(self, state: NodeState) -> Version: ...
    def say_again(self, nodes: Iterable[NodeId]) -> None: ...


class KeepingBack:
    """All methods belong inside a transaction."""

    def __init__(self, volume: Writer, ignoring: Ignoring) -> None:
        self._volume = volume
        self._tree = volume.tree
        self._store = volume.store
        self._ignored = volume.store.ignored
        self._ignoring = ignoring
        self._young: set[NodeId] = set()
        """Files made here lately that no rule matched. A name that they get before their publication counts."""

    # ---- changes of this device
    def sort(self, states: Sequence[NodeState], change: TreeChange, fresh: Collection[NodeId]) -> None:
        """Decides, after a change of this device, which of its nodes are ignored.

        `fresh`: nodes that a program has just made, with nothing in them that was in another node. An ignored node that
        gets a name which no rule matches is looked at again in a while: editors rename a file away for a moment.
        """
        if not change.entries:
            return  # what names a node has is as before
        new = {*change.new}
        known = [state.id for state in states if state.id not in new]
        is_of_ignored = bool(known) and all(map(self._ignored.has, known))
        for state in states:
            node = state.id
            if not is_alive(state):
                continue
            if node in new and is_of_ignored and state.kind is not Kind.DIRECTORY:
                # Content of an ignored file: its conflict copy becomes a file, or it was renamed away and made anew.
                self._store.outbox.keep_back(node)
            elif node in fresh:
                self._sort_fresh(state)
            elif node in self._young:
                self._sort_young(node)
            if not self._ignored.has(node):
                if self._ignored.is_any:
                    self._publish_above(state, revive=True)
            elif not self._ignoring.stays(node):
                self._ignored.doubt(node)
                self._ignoring.look_soon()

    def _sort_fresh(self, state: NodeState) -> None:
        if self._ignoring.match_of(state.id) is not None:
            self._store.outbox.keep_back(state.id)
        elif state.kind is not Kind.DIRECTORY:
            if len(self._young) >= _MOST_YOUNG:
                self._young.clear()
            self._young.add(state.id)

    def _sort_young(self, node: NodeId) -> None:
        """A file that gets an ignored name before it was published, as where a program writes another file first and
        renames it."""
        if self._store.documents.is_known(node):
            self._young.discard(node)
        elif self._ignoring.match_of(node) is not None:
            self._store.outbox.keep_back(node)

    def forget_removed(self, state: NodeState) -> bool:
        """Forgets an ignored node that was removed: it has no trash. False if the node is not ignored."""
        if not self._ignored.has(state.id):
            return False
        if self._store.nodes.placed_under(state.id) is None:  # else it shows for what is in it
            self._store.outbox.let_go(state.id)
            self._tree.forget(state.id)
        return True

    # ---- changes from elsewhere
    def arrived(self, records: Iterable[NodeState]) -> None:
        """Notices records of ignored nodes: another device has heard of them, from a run of this one that is lost. They
        are ignored no more."""
        found = [record.id for record in records if self._ignored.has(record.id)]
        for node in found:
            self._store.outbox.let_go(node)
            self._store.outbox.add(node, self._volume.now_ms())

    def publish_above(self, nodes: Iterable[NodeId]) -> None:
        """Releases ignored directories that links of these published nodes name."""
        for node in nodes:
            state = self._tree.state(node)
            if state is not None and is_alive(state):
                self._publish_above(state, revive=False)

    # ---- release
    def look_again(self, after: NodeId, limit: int) -> NodeId | None:
        """Looks at the next `limit` doubtful nodes, and releases those that no rule matches. Returns where to go on;
        None: all were looked at."""
        is_about_all = self._ignored.are_all_doubtful()
        nodes = self._ignored.after(after, limit) if is_about_all else self._ignored.doubtful(limit)
        for node in nodes:
            if self._ignored.has(node):
                self._look_at(node)
        if len(nodes) == limit:
            return nodes[-1]
        if is_about_all:
            self._ignored.believe_all()
        self._volume.say_again(())  # there is nothing more to wait for
        return None

    def _look_at(self, node: NodeId) -> None:
        if self._ignoring.stays(node):
            self._ignored.believe(node)
        else:
            self._release(node)

    def _release(self, node: NodeId) -> None:
        """Publishes a node, and ignored directories above it."""
        self._store.outbox.let_go(node)
        state = self._tree.state(node)
        if state is None:
            return
        self._publish_above(state, revive=True)
        self._volume.write_renamed(lambda new_dot: self._as_new(state, new_dot))

    def _as_new(self, state: NodeState, new_dot: Callable[[Dot], Dot]) -> NodeState:
        found = as_new(state, new_dot)
        if found.versions or state.kind is not Kind.DIRECTORY:
            return found
        version = self._volume.new_marker(state)
        return reasserted(found, version, version.stamp)

    def _publish_above(self, state: NodeState, *, revive: bool) -> None:
        """Makes sure that others have, or get, the directories that a published node's links name. `revive`: those that
        were removed elsewhere and show here for ignored nodes alone live again."""
        for link in live_links(state).values():
            parent = link.place.parent if link.place is not None else None
            if parent is None:
                continue
            if self._ignored.has(parent):
                self._release(parent)
            elif revive and parent != LOST_ID and self._visible(parent) == _REVIVED:
                self._reassert(parent)

    def _reassert(self, node: NodeId) -> None:
        """Gives a removed directory a life of its own."""
        state = self._tree.state(node)
        if state is not None:
            version = self._volume.new_marker(state)
            state = reasserted(state, version, version.stamp)
            self._volume.write([state])
            self._publish_above(state, revive=True)

    def _visible(self, node: NodeId) -> int:
        glance = self._store.nodes.glance(node)
        return glance[1] if glance is not None else 0

    # ---- directories removed elsewhere
    def is_needed(self, directory: NodeId) -> bool:
        """Whether a removed directory shows for a published node. Ignored ones alone do not bring it back elsewhere."""
        if not self._ignored.is_any:
            return True
        todo, seen = [directory], {directory}
        while todo:
            for node, visible in self._ignored.published_in(todo.pop()):
                if visible != _REVIVED:
                    return True
                if node not in seen:
                    seen.add(node)
                    todo.append(node)
        return False
