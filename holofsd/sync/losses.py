# SPDX-License-Identifier: GPL-3.0-or-later
"""Judgement whether removals from elsewhere are losses: by the place of the file, and by what is around it in the tree.

What tools make again, and what git has, is nobody's loss. What git has is excused only as long as the repository lives:
with it goes everything that it would have given back.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from holofsd.core.brake import WINDOW_MS
from holofsd.core.git_index import tracked_paths
from holofsd.core.ids import ROOT_ID, AuthorId, Dot, NodeId
from holofsd.core.losses import (
    PROJECT_FOLDERS,
    PROJECT_MARKERS,
    TOOL_FOLDERS,
    is_leftover,
    is_personal,
    is_product,
)
from holofsd.core.node import is_alive
from holofsd.core.state import Blob, Body, Inline, Kind, Manifest, NodeState, Version
from holofsd.store.content import Content
from holofsd.store.nodes import PlacementRow
from holofsd.tree.local import LocalVolume
from holofsd.tree.states import decode_version

LARGEST_INDEX: Final = 16 << 20
"""Bytes of a git index that are read."""
MOST_INDEXES: Final = 8
"""So many states of an index within the brake's window are read: files may go before or after it changes."""
MOST_COPIES: Final = 20_000
"""So many files that came lately are looked at for content that was removed elsewhere."""
_PROJECT_DEPTH: Final = 4
"""Folders above a file in which a project is looked for."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Meaning of a removal. `repository`: it counts once that is gone. `born_ms`: since when it was here, 0 if long."""

    counts: bool
    repository: NodeId | None
    born_ms: int
    in_hold: bool


class IndexCache:
    """Paths by version of a git index, least recently used out first."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._known: OrderedDict[Dot, frozenset[bytes]] = OrderedDict()

    def paths(self, version: Version) -> frozenset[bytes]:
        """Empty where the index is not here, or too large."""
        if version.dot not in self._known:
            data = self._read(version)
            if data is None:
                return frozenset()
            self._known[version.dot] = tracked_paths(data)
            if len(self._known) > MOST_INDEXES:
                self._known.popitem(last=False)
        self._known.move_to_end(version.dot)
        return self._known[version.dot]

    def _read(self, version: Version) -> bytes | None:
        if isinstance(version.body, Inline):
            return version.body.data
        if not isinstance(version.body, Blob):
            return None
        size = self._content.size(version.body.hash)  # what the version says of it may be a lie
        if size is None or size > LARGEST_INDEX:
            return None
        try:
            return self._content.path(version.body.hash).read_bytes()
        except OSError:
            return None  # damaged here; scrubbing says so


@dataclass(frozen=True, slots=True)
class _PathStep:
    """A name on the way from a file to the root."""

    directory: NodeId
    name: bytes


class Losses:
    """A look at the tree as it is when `dying` are gone. Good for one transaction."""

    def __init__(
        self,
        volume: LocalVolume,
        ours: Collection[AuthorId],
        dying: Collection[NodeId],
        skip: Collection[bytes],
        now_ms: int,
        indexes: IndexCache,
    ) -> None:
        self._volume = volume
        self._store = volume.store
        self._ours = ours
        self._dying = dying
        self._tool_folders = TOOL_FOLDERS.union(skip)
        self._now_ms = now_ms
        self._indexes = indexes
        self._ways: dict[NodeId, tuple[_PathStep, ...]] = {ROOT_ID: ()}
        self._repositories: dict[NodeId, bool] = {}
        self._projects: dict[NodeId, bool] = {}
        self._tracked: dict[NodeId, list[frozenset[bytes]]] = {}

    def of(self, node: NodeId, stored: NodeState) -> Loss:
        born_ms, in_hold = self._birth(node, stored)
        places = self._store.nodes.placements(node)
        excuses = [self._excuse(row, stored) for row in places]
        if not places or any(excuse is _COUNTS for excuse in excuses):
            return Loss(bool(places), None, born_ms, in_hold)
        repository = next((excuse for excuse in excuses if excuse is not _ALWAYS), None)
        return Loss(False, repository, born_ms, in_hold)

    def is_copied(self, stored: NodeState) -> bool:
        """Whether its content came under another name lately and is there still; each such name is good for one."""
        for body in {
            v.body for v in stored.versions.values() if isinstance(v.body, Blob | Manifest | Inline) and v.size
        }:
            if self._copies[body] > 0:
                self._copies[body] -= 1
                return True
        return False

    def is_gone(self, repository: NodeId) -> bool:
        """Whether it cannot give anything back any more."""
        if repository in self._dying:
            return True
        row = self._store.nodes.get(repository)
        if row is None or not row.visible:
            return True
        return row.kind == Kind.DIRECTORY and not self._is_repository(repository)

    # ---- when it came
    def _birth(self, node: NodeId, stored: NodeState) -> tuple[int, bool]:
        known = self._store.removals.birth(node)
        if known is not None:
            return known
        if stored.links and all(link.stamp.author in self._ours for link in stored.links.values()):
            made_ms = stored.created_ns // 1_000_000
            since_ms = self._store.removals.counts().since_ms
            lately = abs(self._now_ms - made_ms) < WINDOW_MS
            return made_ms if lately else 0, bool(since_ms) and made_ms > since_ms
        return 0, False

    # ---- what excuses it
    def _excuse(self, row: PlacementRow, stored: NodeState) -> NodeId | None:
        """_ALWAYS, the repository that excuses it, or _COUNTS."""
        steps = (_PathStep(row.parent, row.name), *self._way(row.parent))
        if is_leftover(row.name) or any(step.name in self._tool_folders for step in self._folders(steps, stored)):
            return _ALWAYS
        for step in steps:
            if self._is_repository(step.directory):
                return step.directory
        return _ALWAYS if self._is_built(steps, stored) else self._of_working_tree(steps)

    def _folders(self, steps: tuple[_PathStep, ...], stored: NodeState) -> tuple[_PathStep, ...]:
        """The folders that it is in; a folder is in itself."""
        return steps if stored.kind is Kind.DIRECTORY else steps[1:]

    def _is_built(self, steps: tuple[_PathStep, ...], stored: NodeState) -> bool:
        """Whether a project around it makes it again."""
        for step in self._folders(steps, stored):
            if step.name in PROJECT_FOLDERS and self._is_project(step.directory):
                return True
        if not any(self._is_project(step.directory) for step in steps[:_PROJECT_DEPTH]):
            return False
        here = steps[0]
        executable = stored.mode is not None and bool(stored.mode.value & 0o100)
        return is_product(here.name, executable, lambda name: self._is_there(here.directory, name))

    def _of_working_tree(self, steps: tuple[_PathStep, ...]) -> NodeId | None:
        for depth, step in enumerate(steps):
            for row in self._store.nodes.slot(step.directory, b".git"):
                if self.is_gone(row.node):
                    continue
                path = b"/".join(step.name for step in reversed(steps[: depth + 1]))
                if not is_personal(steps[0].name) or self._has_in_git(row.node, path):
                    return row.node
                return _COUNTS
        return _COUNTS

    def _has_in_git(self, repository: NodeId, path: bytes) -> bool:
        if repository not in self._tracked:
            self._tracked[repository] = [self._indexes.paths(v) for v in self._indexes_of(repository)]
        return any(path in tracked for tracked in self._tracked[repository])

    def _indexes_of(self, repository: NodeId) -> list[Version]:
        """Finds the index of a repository as it is, and as it was lately."""
        recent_ms = self._now_ms - WINDOW_MS
        past = self._store.history.places_named(repository, b"index")
        nodes = [row.node for row in self._store.nodes.slot(repository, b"index")]
        nodes += [place.node for place in past if place.until_ms >= recent_ms]
        found: dict[Dot, Version] = {}
        for node in dict.fromkeys(nodes):
            state = self._volume.tree.state(node)
            rows = [row for row in self._store.history.of_node(node) if row.ended_ms >= recent_ms]
            versions = [
                *(state.versions.values() if state is not None else ()),
                *(decode_version(r.version) for r in rows),
            ]
            found.update((version.dot, version) for version in versions)
        return sorted(found.values(), key=lambda version: version.stamp, reverse=True)[:MOST_INDEXES]

    # ---- the tree
    def _way(self, directory: NodeId) -> tuple[_PathStep, ...]:
        """Returns the way from a directory to the root, without the root. Cycles cannot be: these are the names that
        are shown. A member can nest more directories than functions can call each other."""
        steps: list[_PathStep] = []
        at, passed = directory, {directory}
        while at not in self._ways:
            rows = self._store.nodes.placements(at)
            if not rows:
                break
            steps.append(_PathStep(rows[0].parent, rows[0].name))
            at = rows[0].parent
            if at in passed:
                break
            passed.add(at)
        way = self._ways[directory] = (*steps, *self._ways.get(at, ()))
        return way

    def _is_there(self, directory: NodeId, name: bytes) -> bool:
        return any(row.node not in self._dying for row in self._store.nodes.slot(directory, name))

    def _is_repository(self, directory: NodeId) -> bool:
        return self._known(
            self._repositories,
            directory,
            lambda: all(self._is_there(directory, name) for name in (b"HEAD", b"objects", b"refs")),
        )

    def _is_project(self, directory: NodeId) -> bool:
        return self._known(
            self._projects, directory, lambda: any(self._is_there(directory, name) for name in PROJECT_MARKERS)
        )

    def _known(self, cache: dict[NodeId, bool], directory: NodeId, look: Callable[[], bool]) -> bool:
        if directory not in cache:
            cache[directory] = look()
        return cache[directory]

    @cached_property
    def _copies(self) -> Counter[Body]:
        found: Counter[Body] = Counter()
        for node in self._store.removals.recently_born(MOST_COPIES):
            state = self._volume.tree.state(node) if node not in self._dying else None
            if state is not None and is_alive(state):
                found.update({version.body for version in state.versions.values()})
        return found


_ALWAYS: Final = NodeId(b"always")
_COUNTS: Final = None
