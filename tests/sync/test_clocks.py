# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong clocks decide at most which of two changes is shown, never whether and when they arrive."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from holofsd.core import edit
from holofsd.core.ids import ROOT_ID, NodeId
from holofsd.core.state import Inline, Kind, Place
from holofsd.sync.session import PeerClock
from tests.sync.devices import Device, devices, settled, share, until

SECOND = 1000
HOUR = 3600 * SECOND
YEAR = 365 * 24 * HOUR


@pytest.mark.parametrize("off", [90 * SECOND, -90 * SECOND, 3 * HOUR, -10 * YEAR, 10 * YEAR])
async def test_devices_with_different_clocks_converge_at_once(tmp_path: Path, off: int) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        bob.clock_off_ms = off
        await share(ann, bob)
        for turn in range(6):
            writer = (ann, bob)[turn % 2]
            writer.write("file", b"turn %d" % turn)
            await settled(ann, bob, limit=60.0)  # less than any clock is off: it delays nothing
            assert ann.files() == bob.files() == {"file": b"turn %d" % turn}, "who had seen the other's write wins"


async def test_what_both_wrote_at_once_is_kept_whoever_is_ahead(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        bob.clock_off_ms = 90 * SECOND
        await share(ann, bob)
        ann.write("file", b"first")
        await settled(ann, bob)
        ann.network.partition(ann.id, bob.id)
        bob.write("file", b"bob's, said to be later")
        ann.write("file", b"ann's, really later")
        ann.network.heal(ann.id, bob.id)
        await settled(ann, bob)
        assert ann.files()["file"] == b"bob's, said to be later"
        assert sorted(filter(None, ann.files().values())) == [b"ann's, really later", b"bob's, said to be later"]


@pytest.mark.parametrize("restart", [False, True])
async def test_a_clock_that_is_set_back_stops_nothing(tmp_path: Path, restart: bool) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("file", b"before")
        await settled(ann, bob)
        ann.clock_off_ms = -HOUR
        if restart:
            await ann.restart()
        ann.write("file", b"after")
        ann.write("new", b"made in the past")
        await settled(ann, bob)
        assert bob.files() == {"file": b"after", "new": b"made in the past"}
        await asyncio.wait_for(ann.wait_copies(1), 30)
        ann.clock_off_ms = HOUR
        ann.write("file", b"and forth")
        await settled(ann, bob)
        ann.clock_off_ms = 0
        bob.write("file", b"bob's last")
        await settled(ann, bob)
        ann.remove("file")
        await settled(ann, bob)
        assert bob.files() == {"new": b"made in the past"}


async def test_a_file_held_while_it_is_open_is_sent_although_the_clock_was_set_back(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        _write_held(ann, "held", ann.now_ms() + 5 * SECOND)
        ann.clock_off_ms = -HOUR
        await until(lambda: bob.files() == {"held": b"open for long"})


def _write_held(device: Device, name: str, publication_hold_ms: int) -> None:
    with device.store.db.transaction():
        node = NodeId(b"n" * 16)
        version = device.volume.new_version(Inline(b"open for long"), 13, time.time_ns())
        place = Place(ROOT_ID, name.encode())
        state = edit.new_node(node, Kind.FILE, 0, place, edit.link_id(node), version, 0o644, version.stamp)
        device.volume.write([state], publication_hold_ms=publication_hold_ms)


async def test_how_far_clocks_are_apart_is_measured(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        ann.clock_off_ms = -90 * SECOND
        await share(ann, bob, cid)
        # An answer that was long on its way counts for less, until another one has come sooner.
        await until(lambda: all(abs((r.clock_ahead_ms or 0) - 90_000) < 5_000 for r in ann.sync.status().devices))
        assert len(ann.sync.status().devices) == 2


@pytest.mark.parametrize(
    ("theirs", "asked", "read", "ahead"),
    [
        (1_000, 1_000, 1_000, 0),
        (6_000, 1_000, 1_020, 4_980),
        (1_000, 6_000, 6_020, -5_000),
        (11_000, 1_000, 11_000, 0),
        (1_000, 1_000, 11_000, 0),
        (13_000, 1_000, 11_000, 2_000),
        (1_000, None, 11_000, 0),
        (13_000, None, 11_000, 2_000),
    ],
)
def test_a_machine_that_is_busy_takes_no_clock_for_a_wrong_one(
    theirs: int, asked: int | None, read: int, ahead: int
) -> None:
    """Only what no delay explains counts, of an answer that was ten seconds on its way as of one that came at once."""
    clock = PeerClock()
    clock.measured(theirs, asked, read)
    assert clock.ahead_ms == ahead
