# SPDX-License-Identifier: GPL-3.0-or-later
"""Events and pings, for a device's owner: the part of `Device` that answers `rpc.watching_api`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

from holofsd.core.errors import BadArgument, DeviceUnknown
from holofsd.daemon import status as report
from holofsd.daemon.event_changes import ChangeEvents
from holofsd.daemon.event_standing import StandingEvents
from holofsd.daemon.event_traffic import TrafficEvents
from holofsd.daemon.events import Events
from holofsd.daemon.names import did_you_mean
from holofsd.daemon.pinging import pings
from holofsd.daemon.vitals import now_ms
from holofsd.daemon.volumes import Volumes
from holofsd.rpc import watching_api as api
from holofsd.rpc.device_api import PeerSummary
from holofsd.rpc.traffic_api import TrafficStatus
from holofsd.sync.hub import SyncHub


def noted_events(state: Path, hub: SyncHub, volumes: Volumes, traffic: Callable[[], TrafficStatus]) -> Events:
    """The events of a device, of which none is noted yet."""
    changes = ChangeEvents(volumes, lambda: hub.names.own, now_ms)
    standing = StandingEvents(
        volumes,
        lambda: report.peers(hub, volumes),
        lambda: report.warnings(state, volumes, volumes.rows()),
        now_ms,
    )
    return Events(changes, standing, TrafficEvents(traffic, now_ms), now_ms)


class DeviceWatching:
    """The part of a device that tells what happens, and how others are reached."""

    _hub: SyncHub
    _volumes: Volumes
    noted: Events

    async def events(self, since: str, no_wait: bool) -> AsyncIterator[api.Event]:
        async with aclosing(self.noted.listen(since, no_wait)) as found:  # type: ignore[type-var]
            async for event in found:
                yield event

    async def ping(self, device: str, count: int, pause_ms: int, measure: bool) -> AsyncIterator[api.PingReply]:
        times = (count, pause_ms / 1000)
        other = other_device(self._hub, self._volumes, device)
        async with aclosing(pings(self._hub, other, times, measure)) as answers:  # type: ignore[type-var]
            async for answer in answers:
                yield answer


def other_device(hub: SyncHub, volumes: Volumes, told: str) -> PeerSummary:
    """Another device, by its name or by eight digits or more of its id. Raises DeviceUnknown, BadArgument."""
    known = report.peers(hub, volumes)
    found = [peer for peer in known if peer.device_id == told.lower()]
    if not found and len(told) >= 8:
        found = [peer for peer in known if peer.device_id.startswith(told.lower())]
    if not found:
        found = [peer for peer in known if peer.name == told]
    if len(found) > 1:
        raise BadArgument(f"Several devices are called {told!r}; tell the id, `holofsctl peers --json` shows it.")
    if not found:
        near = did_you_mean(told, [peer.name for peer in known])
        raise DeviceUnknown(f"There is no other device {told!r}; `holofsctl peers` shows those that there are.{near}")
    return found[0]
