# SPDX-License-Identifier: GPL-3.0-or-later
"""Pauses and limits, for a device's owner: the limits as settings and the time of day want them, the end of pauses, and
the part of `Device` that answers `rpc.traffic_api`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import structlog

from holofs_api.timetable import TrafficRates, parse_rate, parse_timetable
from holofsd.core.ids import DeviceId
from holofsd.daemon import metered
from holofsd.daemon import status as report
from holofsd.daemon.metered import Metered
from holofsd.daemon.settings import DeviceSettings
from holofsd.daemon.vitals import now_ms
from holofsd.daemon.volumes import Volumes
from holofsd.daemon.watching import other_device
from holofsd.rpc import traffic_api as api
from holofsd.sync.hub import SyncHub
from holofsd.sync.pausing import ALL_TRAFFIC, PausedKind, PauseTarget, of_device, of_volume

log = structlog.get_logger(__name__)

_LOOK_S: Final = 30.0
"""Seconds between two looks at the clock, which may be set, and at the network, which may be another one."""
_LEAST_S: Final = 0.01
_WAIT: Final = "wait"
_KEYS: Final = ("limit.down", "limit.up", "limit.timetable", "limit.lan_exempt", "limit.metered")


def _local_now() -> datetime:
    return datetime.now()  # a timetable is of the clock on the wall


class TrafficKeeper:
    """Limits and pauses as they are to be at each time. `ask` says whether the network is metered; `now` is the local
    time, without a zone."""

    def __init__(
        self,
        settings: DeviceSettings,
        hub: SyncHub,
        ask: Callable[[], Awaitable[Metered]] = metered.ask,
        now: Callable[[], datetime] = _local_now,
    ) -> None:
        self._settings = settings
        self._hub = hub
        self._ask = ask
        self._now = now
        self._changed = asyncio.Event()
        self._metered: Metered | None = None
        """None: it is not asked for."""
        self._changes_at: datetime | None = None
        for key in _KEYS:
            settings.apply_with(key, self._settings_changed)
        hub.pauses.subscribe(self._changed.set)
        self.apply()

    def _settings_changed(self) -> None:
        self.apply()
        self._changed.set()

    def apply(self) -> None:
        """Sets the limits of now."""
        settings, limits = self._settings, self._hub.limits
        timed, self._changes_at = parse_timetable(settings.text("limit.timetable")).at(self._now())
        rates = TrafficRates(_rate(settings.text("limit.up")), _rate(settings.text("limit.down"))).lower(timed)
        limits.lan_exempt = settings.text("limit.lan_exempt") == "on"
        if (limits.up.rate, limits.down.rate) != (rates.up, rates.down):
            log.info("traffic limits", up=rates.up, down=rates.down)
            limits.up.set(rates.up)
            limits.down.set(rates.down)
            self._obey()
        if settings.text("limit.metered") != _WAIT:
            self._metered = None
        elif self._metered is None:
            self._metered = Metered.UNKNOWN  # until the answer is there
        self._wait_in_background(self._metered is Metered.YES)

    def _wait_in_background(self, waits: bool) -> None:
        if self._hub.limits.background_waits != waits:
            log.info("background fetching", waits=waits)
            self._hub.limits.background_waits = waits
            self._obey()

    def _obey(self) -> None:
        for sync in self._hub.volumes():
            sync.fetcher.obey()

    async def run(self) -> None:
        while True:
            self._changed.clear()
            self._hub.pauses.expire()
            if self._settings.text("limit.metered") == _WAIT:
                self._metered = await self._ask()
            self.apply()
            try:
                async with asyncio.timeout(self._until_next()):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _until_next(self) -> float:
        """Seconds until something changes by itself, as far as is known."""
        waits = [_LOOK_S]
        if self._changes_at is not None:
            waits.append((self._changes_at - self._now()).total_seconds())
        if (end_ms := self._hub.pauses.next_end_ms()) is not None:
            waits.append((end_ms - now_ms()) / 1000)
        return max(min(waits), _LEAST_S)

    # ---- for people
    def status(self, volumes: Volumes) -> api.TrafficStatus:
        limits = self._hub.limits
        pauses = [self._told(pause.target, pause.until_ms, volumes) for pause in self._hub.pauses.all()]
        return api.TrafficStatus(
            pauses=tuple(pause for pause in pauses if pause is not None),
            down=limits.down.rate or 0,
            up=limits.up.rate or 0,
            changes_ms=int(self._changes_at.timestamp() * 1000) if self._changes_at is not None else 0,
            lan_exempt=limits.lan_exempt,
            metered=self._metered.value if self._metered is not None else "",
            background_waits=limits.background_waits,
            sent_bytes=self._hub.traffic.whole.sent,
            received_bytes=self._hub.traffic.whole.received,
        )

    @staticmethod
    def _told(target: PauseTarget, until_ms: int, volumes: Volumes) -> api.PauseInfo | None:
        """None for a volume that this device has left."""
        if target.kind is PausedKind.EVERYTHING:
            return api.PauseInfo(until_ms=until_ms)
        if target.kind is PausedKind.DEVICE:
            name = report.name_of(DeviceId(target.id), volumes)
            return api.PauseInfo(device=name, device_id=target.id.hex(), until_ms=until_ms)
        row = next((row for row in volumes.rows() if row.id == target.id), None)
        return api.PauseInfo(volume=row.name, until_ms=until_ms) if row is not None else None


def _rate(text: str) -> int | None:
    return parse_rate(text) if text else None


class DeviceTraffic:
    """The part of a device that is about pauses and limits."""

    _hub: SyncHub
    _volumes: Volumes
    keeper: TrafficKeeper

    async def pause(self, volume: str, device: str, for_seconds: int) -> api.TrafficStatus:
        self._hub.pauses.put(self._target(volume, device), now_ms() + 1000 * for_seconds if for_seconds else 0)
        return await self.traffic()

    async def resume(self, volume: str, device: str) -> api.TrafficStatus:
        if volume or device:
            self._hub.pauses.end([self._target(volume, device)])
        else:
            self._hub.pauses.end_all()
        return await self.traffic()

    async def traffic(self) -> api.TrafficStatus:
        return self.keeper.status(self._volumes)

    def _target(self, volume: str, device: str) -> PauseTarget:
        """Raises VolumeUnknown, DeviceUnknown, BadArgument."""
        if volume:
            return of_volume(self._volumes.row(volume).id)
        if device:
            return of_device(DeviceId(bytes.fromhex(other_device(self._hub, self._volumes, device).device_id)))
        return ALL_TRAFFIC
