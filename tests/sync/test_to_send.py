# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of what is still to be sent to each other device, by what that device says that it holds."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from holofsd.codec.signing import sign_mark
from holofsd.core.document import AuthorSeq
from holofsd.core.errors import NoSpace
from holofsd.store.lacking import Lacking
from holofsd.sync import to_send
from holofsd.sync.marks import Marks
from holofsd.sync.receiving import Receiver, Trip
from holofsd.sync.to_send import ToSendFigures
from tests.sync.devices import Device, devices, settled, share, until


async def lacks(device: Device, other: Device) -> Lacking | None:
    """Counted anew."""
    figures = ToSendFigures(device.store, device.sync.members, device.sync.marks, device.sync.dealings)
    await figures.refresh()
    return figures.of(other.id)


async def until_lacks(device: Device, other: Device, expected: Lacking) -> None:
    deadline = time.monotonic() + 60
    while (found := await lacks(device, other)) != expected:
        assert time.monotonic() < deadline, f"{other.name} lacks {found}, not {expected}"
        await asyncio.sleep(0.01)


async def test_a_device_that_has_everything_lacks_nothing(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("large", os.urandom(20_000))
        bob.write("from bob", b"1")
        await settled(ann, bob)
        await until_lacks(ann, bob, Lacking())
        await until_lacks(bob, ann, Lacking())


async def test_a_device_that_is_away_lacks_what_was_done_since_it_was_heard_of(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("old", b"to be removed")
        await settled(ann, bob)
        await until_lacks(ann, bob, Lacking())
        await bob.down()
        await until(lambda: not ann.sync.sessions)
        ann.write("large", os.urandom(10_000))
        ann.write("small", b"12345")
        ann.mkdir("folder")
        ann.remove("old")
        expected = Lacking(2, 10_005, 2)
        assert await lacks(ann, bob) == expected  # not published yet
        await until(ann.is_settled)
        assert await lacks(ann, bob) == expected
        await ann.restart()
        await until_lacks(ann, bob, expected)
        await bob.up()
        await until_lacks(ann, bob, Lacking())


async def test_what_came_from_a_third_device_counts_too(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        await settled(ann, bob, cid)
        await until_lacks(ann, bob, Lacking())
        await bob.down()
        cid.write("from cid", os.urandom(5_000))
        await settled(ann, cid)
        await until_lacks(ann, bob, Lacking(1, 5_000))


async def test_content_that_has_no_room_there_is_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Receiver, needed: int, trip: Trip) -> None:
        trip.needed = needed
        raise NoSpace("The disk is nearly full.")

    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        await until_lacks(ann, bob, Lacking())
        monkeypatch.setattr(Receiver, "_check_space", refuse)
        ann.write("file", os.urandom(10_000))
        await until(lambda: bob.sync.fetcher.counts.no_space)
        assert await lacks(ann, bob) == Lacking(1, 10_000)
        monkeypatch.undo()
        await until_lacks(ann, bob, Lacking())


async def test_of_a_device_that_never_said_what_it_holds_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def say_nothing(self: Marks) -> bool:
        return False

    monkeypatch.setattr(Marks, "_promise", say_nothing)
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("file", b"1")
        await settled(ann, bob)
        assert await lacks(ann, bob) is None


async def test_of_a_device_that_left_nothing_is_known(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        await until_lacks(ann, bob, Lacking())
        await bob.leave()
        await until(lambda: ann.sync.has_left(bob.id))
        assert await lacks(ann, bob) is None


async def test_a_device_that_says_it_holds_more_than_there_is_is_believed_up_to_what_there_is(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("file", b"12345")
        await settled(ann, bob)
        await until_lacks(ann, bob, Lacking())
        await bob.down()
        far = ann.now_ms() + 3_600_000
        none = bytes(32)
        ann.sync.marks.receive(
            [sign_mark(bob.key, ann.sync.id, far, [AuthorSeq(ann.volume.author, 2**62, none)])], None
        )
        found = await lacks(ann, bob)
        assert found is not None
        assert found.files == 0
        ann.write("new", b"1")
        assert ann.sync.copies() == 0, "what is not sent is safe nowhere, whatever is said"
        await until(ann.is_settled)
        ann.sync.marks.receive([sign_mark(bob.key, ann.sync.id, far + 1, [])], None)
        found = await lacks(ann, bob)
        assert found is not None
        assert (found.files, found.bytes) == (2, 6)


async def test_figures_are_kept_for_a_while_and_counted_once_for_devices_that_hold_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = 0
    real = to_send.lacking_counter

    class Watched:
        def __init__(self, *given: object) -> None:
            self.opened = real(*given)  # type: ignore[arg-type]

        def __enter__(self) -> Watched:
            self.counter = self.opened.__enter__()
            return self

        def __exit__(self, *error: object) -> None:
            self.opened.__exit__(None, None, None)

        def count(self, held: object) -> Lacking:
            nonlocal counted
            counted += 1
            return self.counter.count(held)  # type: ignore[arg-type]

    monkeypatch.setattr(to_send, "lacking_counter", Watched)
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        await settled(ann, bob, cid)
        await bob.down()
        await cid.down()
        far = ann.now_ms() + 3_600_000
        ann.sync.marks.receive([sign_mark(other.key, ann.sync.id, far, []) for other in (bob, cid)], None)
        now = 100.0
        figures = ToSendFigures(ann.store, ann.sync.members, ann.sync.marks, ann.sync.dealings, lambda: now)
        counted = 0

        def files() -> list[int]:
            return [found.files for other in (bob, cid) if (found := figures.of(other.id)) is not None]

        ann.write("one", b"1")
        await figures.refresh()
        assert (files(), counted) == ([1, 1], 1)
        ann.write("two", b"2")
        await figures.refresh()
        assert (files(), counted) == ([1, 1], 1)
        now += to_send.LEAST_REST_S
        await figures.refresh()
        assert (files(), counted) == ([2, 2], 2)


async def test_what_was_sent_of_a_content_counts_until_the_device_says_anew_what_it_holds(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        await until_lacks(ann, bob, Lacking())
        await bob.down()
        await until(lambda: not ann.sync.sessions)
        ann.write("large", os.urandom(100_000))
        ann.write("other", os.urandom(10_000))
        await until_lacks(ann, bob, Lacking(2, 110_000, 0))
        figures = ToSendFigures(ann.store, ann.sync.members, ann.sync.marks, ann.sync.dealings)
        await figures.refresh()
        large, other = [blob for blob, size in sorted(ann.store.content.after(b"", 9), key=lambda found: -found[1])][:2]
        dealings = ann.sync.dealings.of(bob.id)
        assert figures.sent_of(bob.id) == 0
        dealings.piece_wanted(other, 0, 10_000, 1.0)
        assert figures.sent_of(bob.id) == 0, "it was not seen on its way: the figures may be without it already"
        dealings.piece_wanted(large, 0, 40_000, 1.0)
        assert figures.sent_of(bob.id) == 40_000
        dealings.piece_wanted(large, 40_000, 100_000, 2.0)
        assert figures.sent_of(bob.id) == 100_000
        ann.sync.marks.receive([sign_mark(bob.key, ann.sync.id, ann.now_ms() + 3_600_000, [])], None)
        assert figures.sent_of(bob.id) == 0


async def test_without_its_index_nothing_is_known(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        await until_lacks(ann, bob, Lacking())
        now = 100.0
        figures = ToSendFigures(ann.store, ann.sync.members, ann.sync.marks, ann.sync.dealings, lambda: now)
        await figures.refresh()
        assert figures.of(bob.id) == Lacking()
        now += to_send.LEAST_REST_S
        index = ann.store.db.path
        ann.store.db.path = tmp_path / "not there"
        await figures.refresh()
        ann.store.db.path = index
        assert figures.of(bob.id) is None
