# SPDX-License-Identifier: GPL-3.0-or-later
"""Trash of a volume: listing it, and letting it go. Bringing it back is `restoring`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from holofs_api.numbers import MAX_INTEGER
from holofsd.core.errors import NoSuchName
from holofsd.core.ids import NodeId
from holofsd.core.retention import MINUTE_MS
from holofsd.core.state import Kind, Version
from holofsd.core.text import writer_name
from holofsd.fs.shared.scope import Scope
from holofsd.tree.past import Past, Trashed

_SLICE: Final = 200
_TOO_DEEP: Final = 4096


@dataclass(frozen=True, slots=True)
class TrashItem:
    """A removed file, or a removed directory with what was removed below it: `files` and `bytes` count all of it."""

    path: bytes
    kind: Kind
    removed_ms: int
    files: int
    bytes: int
    device: str
    """Wrote the last version; empty for directories."""
    here: bool
    """All its content is on this device."""
    taken: bool
    """Something of another kind is in the way: it can be restored to another path only."""


@dataclass(frozen=True, slots=True)
class Emptied:
    """Extent of what was deleted from the trash."""

    files: int
    bytes: int


class Trash:
    """Removed nodes of one volume whose versions are kept: listed, and deleted for good."""

    def __init__(self, scope: Scope, past: Past) -> None:
        self._scope = scope
        self._past = past

    async def _all(self) -> dict[NodeId, Trashed]:
        found: dict[NodeId, Trashed] = {}
        for items in self._past.trash():
            found.update((item.node, item) for item in items)
            await asyncio.sleep(0)
        return found

    async def list(self, below: bytes = b"", single: bool = False) -> list[TrashItem]:
        """Newest first. `single`: every file by itself, also of removed directories."""
        found = await self._all()
        members: dict[NodeId, list[Trashed]] = {}
        heads: dict[NodeId, NodeId] = {}
        for item in found.values():
            top = item if single else _top(item, found)
            if top.node not in heads:
                heads[top.node] = top.node if single else self._head(top, found)
            members.setdefault(heads[top.node], []).append(item)
        listed: list[TrashItem] = []
        for number, (node, items) in enumerate(members.items()):
            listed.append(self._item(found[node], items))
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        chosen = [item for item in listed if _is_below(item.path, below)]
        return sorted(chosen, key=lambda item: (-item.removed_ms, item.path))

    def _head(self, top: Trashed, found: dict[NodeId, Trashed]) -> NodeId:
        """Picks the directory that is listed for all of those that were shown as one, and removed as one."""
        if top.kind is not Kind.DIRECTORY:
            return top.node
        family = (found[node] for node in self._past.together(top.node) if node in found)
        went = [item for item in family if abs(item.removed_ms - top.removed_ms) <= MINUTE_MS]
        return max(went, key=lambda item: (item.removed_ms, item.node)).node

    def _item(self, top: Trashed, items: Iterable[Trashed]) -> TrashItem:
        versions = [item.version for item in items if item.version is not None]
        path = self._past.resting_path(top.parent, top.name)
        return TrashItem(
            path=path,
            kind=top.kind,
            removed_ms=top.removed_ms,
            files=len(versions),
            bytes=_bytes(versions),
            device=writer_name(top.version.device_name) if top.version is not None else "",
            here=all(self._past.tree.is_here(version) for version in versions),
            taken=self._past.is_taken(path, top.kind),
        )

    async def empty(self, below: bytes = b"", removed_before_ms: int | None = None) -> Emptied:
        """Lets go of these; the bytes go with the next `gc`. Other devices decide for themselves.

        Raises NoSuchName where nothing in the trash was at that path or below it.
        """
        found = (await self._all()).values()
        there = [i for i in found if not below or _is_below(self._past.resting_path(i.parent, i.name), below)]
        if below and not there:
            raise NoSuchName("Nothing that was removed from this path is in the trash.")
        chosen = [item for item in there if removed_before_ms is None or item.removed_ms < removed_before_ms]
        for start in range(0, len(chosen), _SLICE):
            with self._scope.db.transaction():
                for item in chosen[start : start + _SLICE]:
                    # It may have come back to life while the trash was read.
                    if self._past.trashed(item.node) is not None:
                        self._scope.store.history.purge_node(item.node, self._scope.now_ms())
            await asyncio.sleep(0)
        versions = [item.version for item in chosen if item.version is not None]
        return Emptied(len(versions), _bytes(versions))


def _bytes(versions: Iterable[Version]) -> int:
    """Sizes are what their writers say: added up they may be more than a message holds."""
    return min(sum(version.size for version in versions), MAX_INTEGER)


def _top(item: Trashed, found: dict[NodeId, Trashed]) -> Trashed:
    """The removed directory that it went with, or itself."""
    for _ in range(_TOO_DEEP):
        above = found.get(item.parent)
        if above is None:
            break
        item = above
    return item


def _is_below(path: bytes, directory: bytes) -> bool:
    return not directory or path == directory or path.startswith(directory + b"/")
