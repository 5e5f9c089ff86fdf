# SPDX-License-Identifier: GPL-3.0-or-later
"""Pauses of a volume, a device and everything: no traffic, nothing lost, and told to whoever reads meanwhile."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from holofsd.codec.content import hash_bytes
from holofsd.core.errors import ContentUnavailable
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.store.device import DeviceStore
from holofsd.sync.pausing import ALL_TRAFFIC, Pauses, of_device, of_volume
from tests.sync.devices import Device, devices, settled, share, until

VOLUME, OTHER = VolumeId(b"v" * 32), VolumeId(b"w" * 32)
ANN, BOB = DeviceId(b"a" * 32), DeviceId(b"b" * 32)
HOUR_MS = 3_600_000


# ---- what is paused
class Clock:
    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms


def test_pauses_are_stored_with_their_end_and_run_out(tmp_path: Path) -> None:
    clock, store = Clock(), DeviceStore(tmp_path)
    pauses = Pauses(store, clock)
    pauses.put(of_volume(VOLUME), clock.ms + HOUR_MS)
    pauses.put(of_device(ANN), 0)
    again = Pauses(store, clock)
    assert again.all() == pauses.all()
    assert [one.target for one in again.all()] == [of_volume(VOLUME), of_device(ANN)]
    assert (again.of(VOLUME) is None, again.of(OTHER) is None, again.of(OTHER, ANN) is None) == (False, True, False)
    assert again.next_end_ms() == clock.ms + HOUR_MS
    told: list[int] = []
    again.subscribe(lambda: told.append(len(again.all())))
    again.expire()
    clock.ms += HOUR_MS
    assert again.of(VOLUME) is None, "over, even before it is taken away"
    again.expire()
    assert told == [1]
    again.end([of_volume(VOLUME)])
    again.end_all()
    assert (told, Pauses(store, clock).all(), again.next_end_ms()) == ([1, 0], [], None)
    store.close()


def test_of_several_pauses_the_longest_counts_and_the_reason_says_what_is_paused(tmp_path: Path) -> None:
    clock, store = Clock(), DeviceStore(tmp_path)
    pauses = Pauses(store, clock)
    assert pauses.why(VOLUME, [ANN, BOB]) == ""
    pauses.put(of_device(ANN), clock.ms + HOUR_MS)
    assert pauses.why(VOLUME, [ANN, BOB]) == "", "the other one may have it"
    assert pauses.why(VOLUME, []) == ""
    pauses.put(of_device(BOB), clock.ms + 2 * HOUR_MS)
    assert pauses.why(VOLUME, [ANN, BOB]).startswith("Each other device of this volume is paused here until ")
    assert pauses.why(VOLUME, [ANN, BOB], seconds=4000) == "", "ann is back before that"
    pauses.put(of_volume(VOLUME), clock.ms + 2 * HOUR_MS)
    pauses.put(ALL_TRAFFIC, clock.ms + HOUR_MS)
    longest = pauses.of(VOLUME, ANN)
    assert longest is not None
    assert longest.target == of_volume(VOLUME)
    pauses.put(ALL_TRAFFIC, 0)
    assert pauses.why(VOLUME, [], 1e6) == "Everything is paused here: `holofsctl resume` ends that."
    store.close()


# ---- with devices
def is_silent(*pair: Device) -> bool:
    return not any(device.sync.sessions for device in pair)


async def test_a_paused_volume_goes_on_here_and_what_was_written_is_sent_afterwards(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("before", b"1")
        await settled(ann, bob)
        bob.hub.pauses.put(of_volume(bob.sync.id), 0)
        await until(lambda: is_silent(ann, bob))
        ann.write("of ann", os.urandom(5000))
        bob.write("of bob", os.urandom(5000))
        # Over a restart, too. Ann goes on dialling, and is refused.
        await bob.restart()
        await until(lambda: ann.hub.peer_status()[0].last_error == "paused on the other device")
        assert is_silent(ann, bob)
        assert (bob.files().keys(), ann.files().keys()) == ({"before", "of bob"}, {"before", "of ann"})
        bob.hub.pauses.end_all()
        await settled(ann, bob)
        assert ann.files().keys() == {"before", "of ann", "of bob"}


async def test_with_a_paused_device_there_is_no_traffic_and_with_others_there_is(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cat") as (ann, bob, cat):
        await share(ann, bob, cat)
        await settled(ann, bob, cat)
        ann.hub.pauses.put(of_device(bob.id), 0)
        cat.hub.pauses.put(of_device(bob.id), 0)
        await until(lambda: not bob.sync.sessions)
        ann.write("file", b"1")
        await settled(ann, cat)
        assert bob.files() == {}
        await until(lambda: ann.hub.peers.connection(bob.id) is None)
        ann.hub.pauses.end([of_device(bob.id)])
        await settled(ann, bob, cat)


async def test_a_pause_of_one_volume_ends_what_is_being_sent_of_it(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        ann.hub.limits.up.set(200_000)
        ann.write("large", data)
        await until(lambda: bob.sync.fetcher._trips)
        ann.hub.pauses.put(of_volume(ann.sync.id), 0)
        await until(lambda: is_silent(ann, bob) and not bob.sync.fetcher._trips)
        ann.hub.limits.up.set(None)
        ann.hub.pauses.end_all()
        await settled(ann, bob)


async def test_a_read_of_what_is_not_here_fails_at_once_unless_the_pause_ends_in_time(tmp_path: Path) -> None:
    data = os.urandom(5000)
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        bob.hub.limits.background_waits = True
        ann.write("file", data)
        await until(lambda: bob.store.content.missing()[0] == 1)
        bob.hub.pauses.put(ALL_TRAFFIC, 0)
        with pytest.raises(ContentUnavailable, match="Everything is paused here: `holofsctl resume` ends that"):
            await bob.sync.fetch(hash_bytes(data), len(data), 10)
        bob.hub.pauses.put(ALL_TRAFFIC, bob.now_ms() + 15_000)
        reading = asyncio.create_task(bob.sync.fetch(hash_bytes(data), len(data), 40))
        await asyncio.sleep(0)
        # A longer pause that begins while a program waits is told, too.
        bob.hub.pauses.put(ALL_TRAFFIC, 0)
        with pytest.raises(ContentUnavailable, match="paused here"):
            await reading
        bob.hub.pauses.put(ALL_TRAFFIC, bob.now_ms() + 15_000)
        reading = asyncio.create_task(bob.sync.fetch(hash_bytes(data), len(data), 40))
        await asyncio.sleep(0)
        bob.clock_off_ms = 16_000
        bob.hub.pauses.expire()
        await reading
        assert bob.files() == {"file": data}
