# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a turn under a limit, by a clock that stands still; and content and records under real limits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holofsd.codec.content import hash_bytes
from holofsd.core.pacing import TrafficLane
from holofsd.net.addresses import is_near
from holofsd.sync import frames
from holofsd.sync.pacing import SMALL, Pace, TrafficLimits
from tests.sync.devices import devices, settled, share, until

REST, URGENT = TrafficLane.REST, TrafficLane.URGENT


class Clock:
    """Time that goes on when a test says so. `call_later` as a loop has it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        call = (self.now + seconds, callback)
        self._calls.append(call)
        return SimpleNamespace(cancel=lambda: call in self._calls and self._calls.remove(call))

    async def go_on(self, seconds: float) -> None:
        end = self.now + seconds
        await asyncio.sleep(0)
        while due := [call for call in self._calls if call[0] <= end]:
            first = min(due, key=lambda call: call[0])
            self._calls.remove(first)
            self.now = first[0]
            first[1]()
            await asyncio.sleep(0)
        self.now = end
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(clock, clock.call_later)


async def test_without_a_limit_nothing_waits(pace: Pace) -> None:
    for _ in range(100):
        await pace.turn(1 << 30, REST)
    assert pace.piece(77) == 77


async def test_streams_share_a_limit_over_ten_seconds(pace: Pace, clock: Clock) -> None:
    pace.set(1_000_000)
    went = 0

    async def stream() -> None:
        nonlocal went
        while True:
            await pace.turn(pace.piece(1 << 20), REST)
            went += pace.piece(1 << 20)

    running = [asyncio.create_task(stream()) for _ in range(5)]
    await clock.go_on(10.0)
    assert 0.9 <= went / 10_000_000 <= 1.1
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_what_is_urgent_overtakes_and_small_messages_wait_for_nothing(pace: Pace, clock: Clock) -> None:
    pace.set(100_000)
    went: list[str] = []

    async def one(name: str, lane: TrafficLane) -> None:
        await pace.turn(50_000, lane)
        went.append(name)

    running = [asyncio.create_task(one(f"rest {number}", REST)) for number in range(3)]
    await clock.go_on(0)
    running.append(asyncio.create_task(one("urgent", URGENT)))
    await clock.go_on(0)
    assert went == ["rest 0"]
    await pace.turn(SMALL, REST)
    await clock.go_on(0.6)
    assert went == ["rest 0", "urgent"]
    await clock.go_on(5)
    await asyncio.gather(*running)
    assert went[2:] == ["rest 1", "rest 2"]


async def test_a_limit_that_is_changed_or_taken_away_holds_for_what_waits(pace: Pace, clock: Clock) -> None:
    pace.set(100_000)
    await pace.turn(1_000_000, REST)
    slow, given_up = (asyncio.create_task(pace.turn(100_000, REST)) for _ in range(2))
    await clock.go_on(1)
    given_up.cancel()
    pace.set(200_000)
    await clock.go_on(0)
    assert slow.done()
    other = asyncio.create_task(pace.turn(100_000, REST))
    await clock.go_on(0)
    assert not other.done()
    pace.set(None)
    await other


@pytest.mark.parametrize(
    ("address", "is_local"),
    [
        ("192.168.1.4:4000", True),
        ("[fe80::1%eth0]:4000", True),
        ("[::ffff:10.1.2.3]:4000", True),
        ("127.0.0.1:4000", True),
        ("[2001:db8:1:2::9]:4000", True),
        ("[2001:db8:1:3::9]:4000", False),
        ("100.64.1.1:4000", False),
        ("93.184.216.34:4000", False),
        ("relay:https://relay.example.org", False),
        ("", False),
    ],
)
def test_an_address_is_in_the_local_network_or_not(address: str, is_local: bool) -> None:
    assert is_near(address, ["[2001:db8:1:2::1]:4000", "93.184.216.35:1"]) is is_local


async def test_devices_in_the_local_network_are_not_limited_if_asked_for() -> None:
    limits = TrafficLimits()
    near, far = (
        SimpleNamespace(connection=SimpleNamespace(remote_address=address)) for address in ("10.0.0.2:4", "9.9.9.9:4")
    )
    limits.up.set(16 << 10)
    limits.down.set(16 << 10)
    limits.lan_exempt = True
    for _ in range(3):
        await limits.sending(near, 1 << 30, REST)  # type: ignore[arg-type]
        await limits.received(near, 1 << 30, REST)  # type: ignore[arg-type]
    assert limits.most_sent(near, 1 << 20) == 1 << 20  # type: ignore[arg-type]
    assert limits.most_sent(far, 1 << 20) == 4096  # type: ignore[arg-type]
    assert limits.most_received(far, 1 << 20) == 4096  # type: ignore[arg-type]


# ---- with devices
async def test_content_and_records_come_whole_and_in_small_pieces_under_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = frames.blob

    def noted(number: int, data: bytes, end: bool, size: int) -> bytes:
        sizes.append(len(data))
        return real(number, data, end, size)

    monkeypatch.setattr(frames, "blob", noted)
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        ann.hub.limits.up.set(1_500_000)
        bob.hub.limits.down.set(1_000_000)
        data = os.urandom(300_000)
        ann.write("large", data)
        for number in range(50):
            ann.write(f"small {number}", bytes([number]) * 3000)
        await until(lambda: bob.files().get("large") == data)
        await settled(ann, bob)
    assert max(sizes) == 100_000, "the smaller of what both limits ask for"


async def test_on_a_metered_network_only_what_a_program_reads_is_fetched(tmp_path: Path) -> None:
    first, second = os.urandom(5000), os.urandom(5001)
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        bob.hub.limits.background_waits = True
        ann.write("first", first)
        ann.write("second", second)
        await until(lambda: bob.store.content.missing()[0] == 2)
        await bob.sync.fetch(hash_bytes(first), len(first), 10)
        assert bob.store.content.missing()[0] == 1
        bob.hub.limits.background_waits = False
        bob.sync.fetcher.obey()
        await settled(ann, bob)


async def test_what_is_being_fetched_ends_when_the_network_becomes_metered(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        bob.hub.limits.down.set(200_000)
        ann.write("large", data)
        await until(lambda: bob.sync.fetcher._trips)
        bob.hub.limits.background_waits = True
        bob.sync.fetcher.obey()
        await until(lambda: not bob.sync.fetcher._trips)
        assert bob.store.content.missing()[0] == 1
        bob.hub.limits.down.set(None)
        bob.hub.limits.background_waits = False
        bob.sync.fetcher.obey()
        await settled(ann, bob)
