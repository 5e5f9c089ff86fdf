# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshot of the daemon for the metrics: what `holofsctl status` knows, taken on the loop without looking at files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from holofsd.core.ids import VolumeId
from holofsd.daemon.mounts import MountSupervisor
from holofsd.daemon.status import space, volume_status
from holofsd.daemon.volumes import Volumes
from holofsd.rpc import device_api as api
from holofsd.rpc.traffic_api import TrafficStatus


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Figures of one moment; of volumes, one volume after the other."""

    volumes: tuple[api.VolumeStatus, ...]
    mounts: tuple[str, ...]
    """State of each."""
    space: api.SpaceStatus
    traffic: TrafficStatus
    peers: tuple[api.PeerSummary, ...]
    seconds: float
    """Time of the daemon's loop that it took."""


Take = Callable[[], Awaitable[Snapshot]]


@dataclass(frozen=True, slots=True)
class Sources:
    """Parts of the daemon that a snapshot is taken of."""

    state: Path
    summaries: Callable[[], Awaitable[tuple[api.VolumeSummary, ...]]]
    volumes: Volumes
    mounts: MountSupervisor
    traffic: Callable[[Volumes], TrafficStatus]
    peers: Callable[[], Awaitable[tuple[api.PeerSummary, ...]]]

    async def take(self) -> Snapshot:
        """Raises HoloError, OSError and sqlite3.Error, as `status` does."""
        found, taken = [], 0.0
        peers = await self.peers()  # first: it counts what is to be sent
        for summary in await self.summaries():
            began = time.monotonic()
            found.append(self._of_volume(summary))
            taken += time.monotonic() - began
            await asyncio.sleep(0)  # others have a turn
        began = time.monotonic()
        states = tuple(info.state for info in self.mounts.infos())
        room, traffic = space(self.state, self.volumes), self.traffic(self.volumes)
        taken += time.monotonic() - began
        return Snapshot(tuple(found), states, room, traffic, peers, taken)

    def _of_volume(self, summary: api.VolumeSummary) -> api.VolumeStatus:
        opened = self.volumes.get(VolumeId(bytes.fromhex(summary.id)))
        return api.VolumeStatus(summary) if opened is None else volume_status(summary, opened)
