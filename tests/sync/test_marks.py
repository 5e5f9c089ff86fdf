# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices that say that they hold everything: what `status` shows and `wait` waits for."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from holofsd.check.fsck import FileCheck, examine
from holofsd.codec.content import hash_bytes
from holofsd.codec.signing import sign_mark
from holofsd.core.errors import NoSpace, ProtocolViolation
from holofsd.core.ids import DeviceId
from holofsd.sync.receiving import Receiver, Trip
from holofsd.sync.status import DeviceReport
from tests.sync.devices import Device, devices, settled, share, until


def report(device: Device, about: Device) -> DeviceReport:
    return next(report for report in device.sync.status().devices if report.device == about.id)


async def test_another_device_is_complete_once_it_holds_records_and_content(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("large", os.urandom(300_000))
        await asyncio.wait_for(ann.wait_copies(1), 30)
        assert bob.store.content.missing() == (0, 0)
        assert report(ann, bob).complete
        assert report(ann, bob).records_behind == 0
        assert ann.sync.status().copies == ann.sync.copies() == 1


async def test_what_is_not_published_is_nowhere_safe(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await asyncio.wait_for(ann.wait_copies(1), 30)
        await bob.down()
        await until(lambda: not ann.sync.sessions)
        ann.write("new", b"1")
        assert ann.sync.copies() == 0
        await until(lambda: ann.sync.status().unpublished == 0)
        assert ann.sync.copies() == 0
        assert report(ann, bob).records_behind >= 1
        await bob.up()
        await asyncio.wait_for(ann.wait_copies(1), 30)


async def test_marks_are_passed_on_by_others(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        ann.network.partition(ann.id, cid.id)
        ann.write("file", b"1")
        await asyncio.wait_for(ann.wait_copies(2), 30)
        assert report(ann, cid).complete
        assert not report(ann, cid).connected


@pytest.fixture
def no_room_for_content(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Receiver, needed: int, trip: Trip) -> None:
        trip.needed = needed
        raise NoSpace("The disk is nearly full.")

    monkeypatch.setattr(Receiver, "_check_space", refuse)


@pytest.mark.usefixtures("no_room_for_content")
async def test_without_its_content_a_device_does_not_say_that_it_is_complete(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        await asyncio.wait_for(ann.wait_copies(1), 30)
        ann.write("file", os.urandom(10_000))
        await until(lambda: bob.sync.fetcher.counts.no_space)
        ann.write("more", b"1")
        await until(lambda: "more" in bob.files())
        assert ann.sync.copies() == 0


def promised(device: Device) -> dict[DeviceId, dict[bytes, tuple[int, bytes]]]:
    """Heads that each device has said it holds, as this one knows of it."""
    return {
        mark.device: {entry.author: (entry.seq, entry.set_hash) for entry in mark.authors}
        for mark in device.sync.marks.known()
    }


async def test_agreeing_makes_nothing_new_to_agree_about(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("file", b"1")
        await asyncio.wait_for(ann.wait_copies(1), 30)
        await asyncio.wait_for(bob.wait_copies(1), 30)
        await until(lambda: promised(ann) == promised(bob) == {device.id: device.heads() for device in (ann, bob)})
        heads = ann.heads()
        marks = [mark.at_ms for mark in ann.sync.marks.known()]
        for _ in range(20):
            ann.sync.marks.notify()
            bob.sync.marks.notify()
            await asyncio.sleep(0.01)
        assert ann.heads() == bob.heads() == heads
        assert [mark.at_ms for mark in ann.sync.marks.known()] == marks


async def test_a_mark_with_a_false_signature_is_refused_and_one_of_a_stranger_is_not_kept(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob)
        await asyncio.wait_for(ann.wait_copies(1), 30)
        await asyncio.wait_for(bob.wait_copies(1), 30)
        mark = next(mark for mark in ann.sync.marks.known() if mark.device == bob.id)
        with pytest.raises(ProtocolViolation):
            ann.sync.marks.receive([replace(mark, at_ms=mark.at_ms + 1)], None)
        ann.sync.marks.receive([sign_mark(cid.key, ann.sync.id, 1, ())], None)
        assert {known.device for known in ann.sync.marks.known()} == {ann.id, bob.id}


async def test_a_clock_that_is_wrong_is_measured(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        bob.clock_off_ms = 3_600_000
        await share(ann, bob)
        await until(lambda: (report(ann, bob).clock_ahead_ms or 0) > 3_500_000)
        await until(lambda: (report(bob, ann).clock_ahead_ms or 0) < -3_500_000)
        bob.write("from the future", b"1")
        await settled(ann, bob)
        ann.write("from the future", b"2")
        await settled(ann, bob)
        assert bob.files() == {"from the future": b"2"}


def lose(device: Device, data: bytes) -> None:
    device.store.content.path(hash_bytes(data)).unlink()


@pytest.mark.parametrize("noticed_by", ["scrub", "read"])
async def test_who_lost_what_it_had_says_so_until_it_is_back(tmp_path: Path, noticed_by: str) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        data = os.urandom(20_000)
        ann.write("before", b"inline")
        await settled(ann, bob)
        await asyncio.wait_for(ann.wait_copies(1), 30)
        node = ann.write("file", data)
        await settled(ann, bob)
        await asyncio.wait_for(ann.wait_copies(1), 30)
        # Nobody has it any more, so it cannot come back at once.
        lose(ann, data)
        lose(bob, data)
        if noticed_by == "scrub":
            async for _step in bob.sync.care.scrub(False):
                pass
        else:
            assert not bob.sync.care.looks_whole(hash_bytes(data), node)
        await until(lambda: ann.sync.copies() == 0, "bob to take back what it said")
        assert not report(ann, bob).complete
        assert report(ann, bob).records_behind == 1, "what came before is held"
        ann.write("again", data)
        await asyncio.wait_for(ann.wait_copies(1), 30)
        assert bob.files() == ann.files()


async def test_what_was_lost_while_a_device_was_down_is_taken_back_when_it_is_up(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        data = os.urandom(20_000)
        ann.write("file", data)
        await settled(ann, bob)
        await asyncio.wait_for(ann.wait_copies(1), 30)
        lose(ann, data)
        lose(bob, data)
        await bob.down()
        assert bob.volume_id is not None
        told = examine(bob.volume_id, bob.directory(bob.volume_id), bob.id, repair=True, files=FileCheck.SIZES)
        assert told.findings
        await bob.up()
        await until(lambda: ann.sync.copies() == 0, "bob to take back what it said")


@pytest.mark.usefixtures("no_room_for_content")
async def test_content_that_is_on_its_way_takes_nothing_back(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("file", b"inline")
        await settled(ann, bob)
        await asyncio.wait_for(ann.wait_copies(1), 30)
        said = bob.store.marks()
        ann.write("file", os.urandom(10_000))
        await until(lambda: bob.store.content.is_any_missing())
        bob.sync.marks.doubt()
        await bob.restart()
        ann.write("more", b"1")
        await until(lambda: "more" in bob.files())
        assert [row for row in bob.store.marks() if row[0] == bob.id] == [row for row in said if row[0] == bob.id]
