# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of the trees as events: which path, and which device wrote what it shows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from holofsd.core.ids import NodeId, VolumeId
from holofsd.core.state import Kind
from holofsd.core.text import writer_name
from holofsd.daemon.volumes import OpenVolume, Volumes
from holofsd.rpc.watching_api import Event
from holofsd.tree.changes import TreeChange
from holofsd.tree.local import ELSEWHERE

_SLICE: Final = 50
"""Nodes that are looked up in one turn of the loop."""
_MOST_WAITING: Final = 100_000
"""Names and nodes that may wait to be looked up: beyond that, a listener looks at everything again."""


_MOST_SHOWN: Final = 20_000
"""Nodes of which it is remembered what they showed."""


@dataclass(frozen=True, slots=True)
class _Noted:
    """One change, as it was told: names are looked up later."""

    opened: OpenVolume
    change: TreeChange
    elsewhere: bool
    at_ms: int

    @property
    def size(self) -> int:
        return len(self.change.entries) + len(self.change.nodes)


class ChangeEvents:
    """Changes of all volumes that are open, until `close`."""

    def __init__(self, volumes: Volumes, own_name: Callable[[], str], now_ms: Callable[[], int]) -> None:
        self._volumes = volumes
        self._own_name = own_name
        self._now_ms = now_ms
        self._followed: dict[VolumeId, tuple[OpenVolume, Callable[[], None]]] = {}
        self._waiting: list[_Noted] = []
        self._size = 0
        self._lost = False
        """More waited than can be kept."""
        self._shown: dict[tuple[VolumeId, NodeId], tuple[bytes, int, int, int]] = {}
        """Content and attributes that nodes showed when they were written last."""

    def follow(self) -> None:
        """Hears from now on of every volume that is open now."""
        present = {opened.id: opened for opened in self._volumes.all()}
        for volume, (opened, _) in list(self._followed.items()):
            if present.get(volume) is not opened:
                del self._followed[volume]
        for volume, opened in present.items():
            if volume not in self._followed:
                self._followed[volume] = opened, opened.local.subscribe(self._hearing(opened))

    def close(self) -> None:
        for _, unsubscribe in self._followed.values():
            unsubscribe()
        self._followed.clear()

    async def take(self) -> list[Event]:
        """Events of all changes since the last call."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        found = [Event("missed", self._now_ms())] if self._lost else []
        self._lost = False
        for noted in waiting:
            if not self._is_open(noted.opened):
                continue
            name = self._volumes.name_of(noted.opened.id)
            for number, event in enumerate(self._events(noted, name), start=1):
                if event is not None:
                    found.append(event)
                if number % _SLICE == 0:
                    await asyncio.sleep(0)
                    if not self._is_open(noted.opened):
                        break
        return _last_of_each(found)

    def _is_open(self, opened: OpenVolume) -> bool:
        return self._volumes.get(opened.id) is opened

    def _hearing(self, opened: OpenVolume) -> Callable[[TreeChange, object], None]:
        def heard(change: TreeChange, origin: object) -> None:
            noted = _Noted(opened, change, origin is ELSEWHERE, self._now_ms())
            self._size += noted.size
            if self._size > _MOST_WAITING:
                self._waiting, self._size, self._lost = [], 0, True
            else:
                self._waiting.append(noted)

        return heard

    def _events(self, noted: _Noted, volume: str) -> Iterator[Event | None]:
        """One for each path; None where there is nothing to tell, so that the caller can count the work."""
        nodes, change = noted.opened.store.nodes, noted.change
        told: set[bytes] = set()
        named: set[NodeId] = set()
        for entry in change.entries:
            path = _path_in(noted.opened, entry.parent, entry.name)
            row = nodes.entry(entry.parent, entry.name) if path is not None else None
            if path is None or path in told or (row is None and not entry.gone):
                yield None
                continue
            told.add(path)
            if row is None:
                yield self._event("removed", noted, volume, path)
            else:
                named.add(row.node)
                yield self._changed(noted, volume, path, row.node, row.dot)
        for node in change.nodes:
            path = noted.opened.local.tree.path_of(node) if self._is_news(noted, node, named) else None
            if not path or path in told:
                yield None
                continue
            told.add(path)
            yield self._changed(noted, volume, path, node, b"")

    def _is_news(self, noted: _Noted, node: NodeId, named: set[NodeId]) -> bool:
        """Whether a node shows something else than it was told of last. Rows of nodes are written for other reasons,
        too: content was hashed, has arrived, or is on its way while the name shows what was before."""
        row = noted.opened.store.nodes.get(node)
        if row is None or row.earlier is not None:
            return False
        key, shows = (noted.opened.id, node), (row.shown, row.size, row.mode, row.mtime_ns)
        before = self._shown.pop(key, None)
        self._shown[key] = shows
        if len(self._shown) > _MOST_SHOWN:
            del self._shown[next(iter(self._shown))]
        is_directory = row.kind == Kind.DIRECTORY
        return node not in named and before != shows and not (is_directory and node not in noted.change.new)

    def _changed(self, noted: _Noted, volume: str, path: bytes, node: NodeId, dot: bytes) -> Event:
        version = noted.opened.local.tree.version_of(node, dot)
        if version is None:
            return self._event("changed", noted, volume, path)
        device = noted.opened.sync.membership.authors.get(version.dot.author)
        return Event(
            "changed",
            noted.at_ms,
            volume=volume,
            path=path,
            device=writer_name(version.device_name),
            device_id=device.hex() if device is not None else "",
            elsewhere=noted.elsewhere,
        )

    def _event(self, kind: str, noted: _Noted, volume: str, path: bytes) -> Event:
        """An event of which no version says who did it: this device, or another that is not known."""
        own = "" if noted.elsewhere else self._own_name()
        return Event(kind, noted.at_ms, volume=volume, path=path, device=own, elsewhere=noted.elsewhere)


def _last_of_each(events: list[Event]) -> list[Event]:
    """The last event of each path: making a file and filling it is one."""
    last = {(event.volume, event.path): number for number, event in enumerate(events)}
    return [event for number, event in enumerate(events) if last[event.volume, event.path] == number]


def _path_in(opened: OpenVolume, parent: NodeId, name: bytes) -> bytes | None:
    directory = opened.local.tree.path_of(parent)
    if directory is None:
        return None
    return directory + b"/" + name if directory else name
