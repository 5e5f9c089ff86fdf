# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits by settings and the time of day, the end of pauses, and whether the network is metered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holofsd.core.ids import DeviceId, VolumeId
from holofsd.daemon import metered
from holofsd.daemon.event_traffic import TrafficEvents
from holofsd.daemon.metered import Metered
from holofsd.daemon.settings import DeviceSettings
from holofsd.daemon.traffic import TrafficKeeper
from holofsd.net.traffic import TrafficCounters
from holofsd.rpc.watching_api import Event
from holofsd.store.device import DeviceStore
from holofsd.sync.pacing import TrafficLimits
from holofsd.sync.pausing import ALL_TRAFFIC, UNTIL_RESUMED, Pauses, of_device, of_volume
from tests.sync.devices import until

MIB = 1 << 20
ROWS: Any = SimpleNamespace(rows=lambda: [SimpleNamespace(id=b"v" * 32, name="docs")], all=list)


class Place:
    """A hub without a network, and what a keeper asks: the time and NetworkManager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = DeviceStore(folder)
        self.now_ms = 1_800_000_000_000
        self.obeyed = 0
        fetcher = SimpleNamespace(obey=self._obey)
        self.hub: Any = SimpleNamespace(
            limits=TrafficLimits(),
            pauses=Pauses(self.store, lambda: self.now_ms),
            traffic=TrafficCounters(),
            volumes=lambda: [SimpleNamespace(fetcher=fetcher)],
        )
        self.moment = datetime(2026, 11, 30, 9, 0)  # a Monday
        self.is_metered = Metered.YES
        self.asked = 0

    def _obey(self) -> None:
        self.obeyed += 1

    async def ask(self) -> Metered:
        self.asked += 1
        return self.is_metered

    def settings(self, **values: str) -> DeviceSettings:
        lines = [f'{key} = "{value}"' for key, value in values.items()]
        (self.folder / "config.toml").write_text("\n".join(["[limit]", *lines]))
        return DeviceSettings(self.folder, {}, {})

    def keeper(self, settings: DeviceSettings) -> TrafficKeeper:
        return TrafficKeeper(settings, self.hub, self.ask, lambda: self.moment)

    def rates(self) -> tuple[int | None, int | None]:
        return self.hub.limits.down.rate, self.hub.limits.up.rate


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.store.close()


async def test_the_lower_one_of_a_limit_and_the_timetable_holds(place: Place) -> None:
    settings = place.settings(down="5M", timetable="08:00,1M:8M 18:00,off", lan_exempt="on")
    keeper = place.keeper(settings)
    assert (place.rates(), place.hub.limits.lan_exempt) == ((5 * MIB, MIB), True)
    told = keeper.status(SimpleNamespace(rows=list))  # type: ignore[arg-type]
    assert (told.down, told.up, told.metered) == (5 * MIB, MIB, "")
    assert told.changes_ms == int(datetime(2026, 11, 30, 18, 0).timestamp() * 1000)
    place.moment = place.moment.replace(hour=20)
    keeper.apply()
    assert (place.rates(), place.obeyed) == ((5 * MIB, None), 2)


async def test_a_change_of_the_settings_is_used_at_once(place: Place) -> None:
    settings = place.settings(up="1M")
    running = asyncio.create_task(place.keeper(settings).run())
    assert place.rates() == (None, MIB)
    place.settings(up="2M", metered="wait")
    settings.reload()
    await until(lambda: place.rates() == (None, 2 * MIB) and place.hub.limits.background_waits)
    place.settings(metered="ignore")
    settings.reload()
    await until(lambda: place.rates() == (None, None) and not place.hub.limits.background_waits)
    assert place.asked == 1, "NetworkManager is asked only where that is wished for"
    await ended(running)


async def test_a_pause_ends_by_itself(place: Place) -> None:
    running = asyncio.create_task(place.keeper(place.settings()).run())
    told: list[int] = []
    place.hub.pauses.subscribe(lambda: told.append(len(place.hub.pauses.all())))
    place.hub.pauses.put(ALL_TRAFFIC, place.now_ms + 1000)
    place.now_ms += 2000
    await until(lambda: told == [1, 0])
    await ended(running)


async def test_pauses_and_limits_that_change_by_the_time_are_events_like_those_that_a_person_changes(
    place: Place,
) -> None:
    keeper = place.keeper(place.settings(timetable="08:00,1M:8M 18:00,off"))
    noted = TrafficEvents(lambda: keeper.status(ROWS), lambda: place.now_ms)
    pauses, docs, desk = place.hub.pauses, of_volume(VolumeId(b"v" * 32)), of_device(DeviceId(b"d" * 32))
    assert noted.take() == []  # the first look tells nothing
    pauses.put(ALL_TRAFFIC, UNTIL_RESUMED)
    pauses.put(docs, place.now_ms + 1000)
    begun, at_ms = noted.take(), place.now_ms
    assert begun == [Event("paused", at_ms), Event("paused", at_ms, volume="docs", until_ms=at_ms + 1000)]
    assert noted.take() == []
    pauses.put(docs, at_ms + 2000)  # another end
    assert noted.take() == [Event("paused", at_ms, volume="docs", until_ms=at_ms + 2000)]
    place.now_ms += 2000  # by itself
    assert noted.take() == [Event("resumed", place.now_ms, volume="docs")]
    pauses.end_all()
    pauses.put(desk, UNTIL_RESUMED)
    assert [(event.kind, event.device_id) for event in noted.take()] == [("resumed", ""), ("paused", desk.id.hex())]
    place.moment = place.moment.replace(hour=20)
    keeper.apply()
    assert noted.take() == [Event("limits", place.now_ms)]
    place.moment = place.moment.replace(hour=9)
    keeper.apply()
    assert noted.take() == [Event("limits", place.now_ms, down=8 * MIB, up=MIB)]


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


# ---- NetworkManager
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"v u 1\n", Metered.YES),
        (b"v u 3\n", Metered.YES),
        (b"v u 2\n", Metered.NO),
        (b"v u 4\n", Metered.NO),
        (b"v u 0\n", Metered.UNKNOWN),
        (b'v s "yes"\n', Metered.UNKNOWN),
        (b"\xff", Metered.UNKNOWN),
        (b"", Metered.UNKNOWN),
    ],
)
def test_the_answer_of_networkmanager_is_understood(answer: bytes, told: Metered) -> None:
    assert metered.parsed(answer) is told


@pytest.mark.parametrize(
    ("script", "told"),
    [("echo v u 3", Metered.YES), ("echo v u 3; exit 1", Metered.UNKNOWN), ("sleep 60", Metered.UNKNOWN)],
)
async def test_networkmanager_is_asked_by_a_program_that_may_fail_or_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: Metered
) -> None:
    program = tmp_path / "busctl"
    program.write_text(f"#!/bin/sh\n{script.replace('sleep', 'exec sleep')}\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(metered, "TIME_LIMIT_S", 5.0 if "sleep" not in script else 0.2)
    assert await metered.ask() is told


async def test_without_networkmanager_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await metered.ask() is Metered.UNKNOWN
