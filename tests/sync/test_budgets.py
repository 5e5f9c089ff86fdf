# SPDX-License-Identifier: GPL-3.0-or-later
"""Budgets of what the records of one device may take here: enough for any honest one, and not the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from holofsd.core.document import Envelope
from holofsd.core.errors import NoSpace
from holofsd.core.record_budget import WEIGHT, Weight, strange_budget
from holofsd.sync import frames
from holofsd.sync.budgets import BudgetReport, Excess
from holofsd.sync.promised_room import PromisedRoom
from holofsd.sync.publication import weigh
from support.full import full
from tests.sync.devices import QUICK, Device, devices, settled, share, until
from tests.sync.rawpeer import Author, RawPeer
from tests.sync.test_hostile import scene


def strange(author: Author, number: int, size: int = 10_000) -> Envelope:
    return author.say_bytes(b"odd %d" % number, os.urandom(size))


def large(author: Author, number: int, size: int = 10_000) -> Envelope:
    return author.say(author.file(f"file{number}", os.urandom(size)))


def report_of(device: Device, other: bytes) -> BudgetReport:
    return next(one for one in device.sync.ingest.budgets.reports() if one.device == other)


def stored_bytes(device: Device, author: Author) -> int:
    """Bytes of that author in the index, by the rows themselves."""
    sql = "SELECT coalesce(sum(length(key)+length(payload)+256),0) FROM {} WHERE author=?"
    return sum(device.store.db.number(sql.format(table), (author.id,)) for table in ("envelopes", "incoming"))


async def flood(raw: RawPeer, author: Author, pages: int, odd: bool = True) -> None:
    """Each page is a publication of its own."""
    for page in range(pages):
        after = author.seq
        make = strange if odd else large
        made = [make(author, page * 10 + number) for number in range(10)]
        await raw.push(author, *made, after=after)


@contextmanager
def free_bytes(free: int) -> Iterator[None]:
    """Let the disk of every device seem to have so much left."""
    real = os.statvfs

    def fake(path: object) -> os.statvfs_result:
        found = real(path)  # type: ignore[arg-type]
        values = list(found)
        values[4] = free // found.f_frsize  # f_bavail
        return os.statvfs_result((*values, found.f_fsid))

    os.statvfs = fake  # type: ignore[assignment]
    try:
        yield
    finally:
        os.statvfs = real


# ---- counting
async def test_what_records_take_is_counted_as_they_come_are_replaced_and_go(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        await raw.push(author, large(author, 1), large(author, 2), after=0)
        await raw.push(author, large(author, 1, 20_000), strange(author, 1), after=2)
        await until(lambda: (head := ann.store.documents.head(author.id)) is not None and head.seq == 4)
        expected = sum((weigh(envelope) for envelope in author.newest.values()), Weight())
        assert ann.store.documents.weights()[author.id] == expected
        assert expected.strange == len(b"odd 1") + 10_000 + WEIGHT
        assert report_of(ann, raw.id).records == expected
        await until(lambda: bob.store.documents.weights().get(author.id) == expected, "in one page or in several")


async def test_honest_devices_count_their_own_records_as_others_do(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        for number in range(300):
            ann.write(f"file{number}", os.urandom(100))
        for number in range(30):
            ann.remove(f"file{number}")
        await settled(ann, bob)
        author = ann.volume.author
        own, theirs = ann.store.documents.weights()[author], bob.store.documents.weights()[author]
        assert own == theirs
        counted = bob.store.db.number(
            "SELECT sum(length(key)+length(payload)+256) FROM envelopes WHERE author=?", (author,)
        )
        assert theirs == Weight(counted, 0)


# ---- the budget
async def test_records_that_nobody_understands_end_at_their_part_of_the_budget_and_nobody_is_blamed(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        for device in (ann, bob):
            device.sync.ingest.budgets.set_max(200 << 20)
        most = strange_budget(200 << 20)
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        await flood(raw, author, 40)  # 4 MB
        await raw.push(author, after=author.seq)
        await until(lambda: report_of(ann, raw.id).excess is Excess.STRANGE)
        assert most * 0.8 < stored_bytes(ann, author) <= most
        assert stored_bytes(bob, author) <= most
        assert ann.sync.is_connected(raw.id), "its session goes on"
        assert not ann.sync.violations
        assert not bob.sync.violations


async def test_records_end_at_the_budget_of_the_device_over_all_its_authors(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        for device in (ann, bob):
            device.sync.ingest.budgets.set_max(1 << 20)
        one, two = Author(joined.volume), Author(joined.volume)
        await raw.session(ann.id, joined, one, two)
        await flood(raw, one, 7, odd=False)
        await flood(raw, two, 7, odd=False)
        await until(lambda: report_of(ann, raw.id).excess is Excess.RECORDS)
        assert stored_bytes(ann, one) + stored_bytes(ann, two) > 0.8 * (1 << 20)
        for device in (ann, bob):
            assert stored_bytes(device, one) + stored_bytes(device, two) <= 1 << 20


async def test_what_waited_comes_when_the_budget_is_raised(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        bob.sync.ingest.budgets.set_max(100_000)
        for number in range(100):
            ann.write(f"file{number}", os.urandom(3000))
        cid.write("by cid", b"not concerned")
        await until(lambda: report_of(bob, ann.id).excess is Excess.RECORDS)
        await settled(ann, cid)
        await until(lambda: bob.files().get("by cid") == b"not concerned", "the other device to be heard")
        assert report_of(bob, ann.id).records.bytes <= 100_000
        assert bob.sync.is_connected(ann.id)
        assert bob.sync.is_connected(cid.id)
        bob.sync.ingest.budgets.set_max(None)
        bob.sync.ingest.budgets_changed()
        await settled(ann, bob, cid)
        await until(lambda: report_of(bob, ann.id).excess is None)


async def test_records_that_take_less_than_before_are_taken_beyond_the_budget(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        for number in range(20):
            ann.write(f"file{number}", os.urandom(4000))
        await settled(ann, bob)
        bob.sync.ingest.budgets.set_max(1000)
        for number in range(20):
            ann.write(f"file{number}", b"small")
        await settled(ann, bob)


async def test_a_run_that_had_to_wait_goes_on_where_it_stopped_after_a_restart(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        ann.create()
        for number in range(400):
            ann.write(f"file{number}", os.urandom(4000))
        await until(lambda: ann.store.outbox.count() == 0)
        ticket = ann.ticket()
        ann.network.partition(ann.id, bob.id)
        ann.network.heal(ann.id, bob.id)
        await bob.join(ticket)
        bob.sync.ingest.budgets.set_max(900_000)
        bob.sync.ingest.budgets_changed()
        await until(lambda: report_of(bob, ann.id).excess is Excess.RECORDS or len(bob.files()) == 400)
        if not bob.files():
            weighed = report_of(bob, ann.id).records
            received = bob.store.documents.extent_of_incoming(ann.volume.author)
            assert received[0] > 0
            await bob.restart()
            await until(lambda: report_of(bob, ann.id).excess is Excess.RECORDS)
            assert report_of(bob, ann.id).records == weighed
            assert bob.store.documents.extent_of_incoming(ann.volume.author) == received
        bob.sync.ingest.budgets.set_max(None)
        bob.sync.ingest.budgets_changed()
        await settled(ann, bob)


# ---- the disk
async def test_on_a_full_disk_no_record_is_stored_and_all_come_when_there_is_room(tmp_path: Path) -> None:
    config = replace(QUICK, reserve_bytes=64 << 20)
    async with devices(tmp_path, "ann", "bob", config=config) as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        wanted: list[int] = []
        bob.sync.on_no_space(wanted.append)
        with free_bytes(60 << 20):
            ann.write("a", b"1")
            await until(lambda: report_of(bob, ann.id).excess is Excess.DISK)
            assert "a" not in bob.files()
            assert bob.store.db.number("SELECT count(*) FROM incoming") == 0
            assert wanted[0] > 0
            assert any("disk is nearly full" in warning for warning in bob.sync.status().warnings)
        await settled(ann, bob)
        await until(lambda: report_of(bob, ann.id).excess is None)


async def test_records_need_room_for_what_becomes_of_them(tmp_path: Path) -> None:
    """The log of the index counts as taken twice: what is in it goes into the index too."""
    config = replace(QUICK, reserve_bytes=64 << 20)
    async with devices(tmp_path, "ann", config=config) as (ann,):
        ann.create()
        budgets = ann.sync.ingest.budgets
        log = ann.directory(ann.sync.id) / "index.db-wal"
        with free_bytes((64 << 20) + log.stat().st_size + (1 << 20)):
            assert budgets.missing_room(100_000) == 0
            assert budgets.missing_room(1 << 20) > 0


async def test_a_full_disk_is_no_fault_of_a_record(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("a", b"1")
        await settled(ann, bob)
        with bob.store.db.transaction():
            bob.store.db.run("INSERT INTO merge_queue (author, key, seq) SELECT author, key, seq FROM envelopes")
        with full(bob.store.db), pytest.raises(NoSpace):
            bob.sync.merger._slice()
        assert bob.sync.merger.backlog() > 0
        assert bob.store.documents.quarantined() == {}
        bob.sync.merger.kick()
        await settled(ann, bob)


def test_content_counts_on_no_room_that_other_content_on_its_way_counts_on(tmp_path: Path) -> None:
    one, two = (PromisedRoom(tmp_path, 64 << 20) for _ in range(2))
    with free_bytes(74 << 20):
        one.claim(6 << 20)
        with pytest.raises(NoSpace):
            two.claim(6 << 20)
        two.claim(3 << 20)
        one.give_up()
        two.claim(6 << 20)
        one.claim(3 << 20)
        del one
        two.claim(9 << 20)


def test_content_that_two_devices_send_into_one_file_takes_room_once(tmp_path: Path) -> None:
    one, two, other = (PromisedRoom(tmp_path, 64 << 20) for _ in range(3))
    one.file = two.file = object()
    with free_bytes(74 << 20):
        one.claim(6 << 20)
        two.claim(6 << 20)
        with pytest.raises(NoSpace):
            other.claim(6 << 20)


# ---- waiting
async def test_a_record_that_names_thousands_of_authors_waits_with_one_row(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        await until(lambda: bob.volume.author in ann.sync.membership.authors)
        state = author.file("many", b"x")
        context = {**state.context, **{os.urandom(32): 7 for _ in range(3000)}, bob.volume.author: 1 << 40}
        await raw.push(author, author.say(replace(state, context=context)), after=0)  # type: ignore[arg-type]
        await until(lambda: ann.files().get("many") == b"x")
        rows = ann.store.db.all("SELECT waits_for FROM waiting WHERE author=?", (author.id,))
        assert sorted(row[0] for row in rows) == sorted([b"", bob.volume.author])


async def test_reasons_of_quarantine_are_few_and_short(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann") as (ann,):
        ann.create()
        with ann.store.db.transaction():
            for number in range(100):
                ann.store.documents.quarantine(ann.volume.author, b"%d" % number, 1, f"reason {number}", 0, 1)
        reasons = ann.store.documents.quarantined()
        assert len(reasons) == 21
        assert sum(reasons.values()) == 100


async def test_a_request_for_records_is_taken_back(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("a", b"1")
        await settled(ann, bob)
        outgoing = ann.sync.sessions[bob.id].outgoing
        outgoing.serve(ann.volume.author, 0, True)
        bob_side = bob.sync.sessions[ann.id].outgoing
        bob_side.ask_no_more(ann.volume.author)
        frame = frames.parse(bob_side.next_frame() or b"")
        outgoing.serve(ann.volume.author, frame.want.after, frame.want.whole)
        assert outgoing._next_page() is None
