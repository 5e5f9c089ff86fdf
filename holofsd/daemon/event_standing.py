# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of what a look at the device shows, beside a look before: conflicts, devices in reach, the brake, warnings."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from holofsd.core.ids import VolumeId
from holofsd.daemon import conflicts
from holofsd.daemon.volumes import OpenVolume, Volumes
from holofsd.rpc import device_api as api
from holofsd.rpc.watching_api import Event

_NUMBER: Final = re.compile(r"\d+")


@dataclass(slots=True)
class _VolumeStanding:
    """State of a volume at the last look."""

    opened: OpenVolume
    copies: int = -1
    """How many conflict copies; -1: not looked yet."""
    conflicts: dict[str, api.Conflict] = field(default_factory=dict)
    """By id."""
    held: int = 0


class StandingEvents:
    """Compares each look with the last one. The first look tells nothing."""

    def __init__(
        self,
        volumes: Volumes,
        peers: Callable[[], Iterable[api.PeerSummary]],
        warnings: Callable[[], Iterable[str]],
        now_ms: Callable[[], int],
    ) -> None:
        self._volumes = volumes
        self._peers = peers
        self._warnings = warnings
        self._now_ms = now_ms
        self._standings: dict[VolumeId, _VolumeStanding] = {}
        self._connected: dict[str, str] | None = None
        """Names of the devices that are connected, by id."""
        self._warned: set[str] | None = None
        """Sentences without their numbers: a clock that is a second more ahead is no news."""

    async def take(self) -> list[Event]:
        """Events of all that is otherwise than at the last call."""
        is_first = self._connected is None
        found = [*self._devices(), *self._new_warnings()]
        opened = self._volumes.all()
        for volume in {*self._standings} - {one.id for one in opened}:
            del self._standings[volume]
        for one in opened:
            before = self._standings.get(one.id)
            if before is None or before.opened is not one:
                before = self._standings[one.id] = _VolumeStanding(one)
            name = self._volumes.name_of(one.id)
            try:
                found += [*await self._conflicts(before, name, is_first), *self._held(before, name, is_first)]
            except sqlite3.ProgrammingError:
                if self._volumes.get(one.id) is one:
                    raise
                # It was closed while its conflicts were listed; the next look finds it gone, or opened again.
        return found

    def _devices(self) -> Iterator[Event]:
        present = {peer.device_id: peer for peer in self._peers()}
        connected = {device: peer.name for device, peer in present.items() if peer.connected}
        before, self._connected = self._connected, connected
        if before is None:
            return
        for device, name in connected.items():
            if device not in before:
                address = present[device].address
                yield Event("device-up", self._now_ms(), device=name, device_id=device, message=address)
        for device, name in before.items():
            if device not in connected:
                why = present[device].explanation if device in present else ""
                yield Event("device-down", self._now_ms(), device=name, device_id=device, message=why)

    def _new_warnings(self) -> Iterator[Event]:
        present = {_NUMBER.sub("", sentence): sentence for sentence in self._warnings()}
        before, self._warned = self._warned, {*present}
        if before is not None:
            for told, sentence in present.items():
                if told not in before:
                    yield Event("warning", self._now_ms(), message=sentence)

    async def _conflicts(self, before: _VolumeStanding, volume: str, is_first: bool) -> list[Event]:
        copies = before.opened.filesystem.census().conflicts
        if copies == before.copies:
            return []
        present = {found.id: found for found in await conflicts.listed(before.opened, volume, b"")}
        known, before.conflicts, before.copies = before.conflicts, present, copies
        if is_first:
            return []
        found = [self._of("conflict", one) for id, one in present.items() if id not in known]
        return found + [self._of("settled", one) for id, one in known.items() if id not in present]

    def _of(self, kind: str, found: api.Conflict) -> Event:
        return Event(kind, self._now_ms(), volume=found.volume, path=found.shown_path, device=found.device)

    def _held(self, before: _VolumeStanding, volume: str, is_first: bool) -> Iterator[Event]:
        report = before.opened.sync.brake.report()
        held, known = report.files + report.directories, before.held
        before.held = held
        if held == known or is_first:
            return
        device = ", ".join(report.devices)
        kind = "held" if held > known else "released"
        yield Event(kind, self._now_ms(), volume=volume, device=device, files=report.files)
