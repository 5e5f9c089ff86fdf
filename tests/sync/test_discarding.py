# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of a removed device that nothing needs go, and their room comes back; what it wrote stays."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from holofsd.check.fsck import FileCheck, examine
from holofsd.core.ids import AuthorId
from holofsd.sync import frames
from tests.sync.devices import QUICK, Device, devices, settled, share, until
from tests.sync.rawpeer import Author
from tests.sync.test_budgets import flood, stored_bytes
from tests.sync.test_hostile import scene

MIB = 1 << 20


def free_share(device: Device) -> float:
    return device.store.db.free_bytes() / device.store.db.bytes()


def sound(device: Device) -> None:
    """Check that fsck finds nothing in the directory."""
    assert device.volume_id is not None
    found = examine(
        device.volume_id, device.directory(device.volume_id), device.id, repair=False, files=FileCheck.IGNORED
    )
    assert not found.findings, found.findings


async def test_garbage_of_a_removed_device_goes_and_its_files_stay(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        await raw.push(author, author.say(author.file("by raw", b"kept")), after=0)
        await flood(raw, author, 30)
        await until(lambda: stored_bytes(bob, author) > 3_000_000, "all of it to be relayed")
        await settled(ann, bob)
        for device in (ann, bob):
            assert device.sync.status().quarantined == 300
        ann.sync.remove_member(raw.id)
        for device in (ann, bob):
            await until(lambda device=device: stored_bytes(device, author) == 0, "it to go")  # type: ignore[misc]
            await until(lambda device=device: device.sync.status().quarantined == 0)  # type: ignore[misc]
        await settled(ann, bob)
        assert ann.files() == {"by raw": b"kept"}
        # Whoever comes later has it from the others.
        ann.write("by raw", b"changed")
        await settled(ann, bob)
        versions = ann.store.db.number("SELECT count(*) FROM history")
        assert versions == 1, "what was replaced is in the history"


async def test_records_on_their_way_from_a_removed_device_go(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, _bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        records = [author.say(author.file(f"f{number}", os.urandom(9000))) for number in range(50)]
        await raw.push(author, *records[:10], after=0)
        shown = author.head()
        await raw.send(frames.have([shown], first=False))
        want = (await raw.hear("want")).want
        page = [record for record in records if record.seq > want.after][:20]
        await raw.send(frames.records(author.id, want.after, want.whole, page, None))
        await until(lambda: ann.store.documents.extent_of_incoming(author.id)[0] > 0)
        ann.sync.remove_member(raw.id)
        await until(lambda: ann.store.documents.extent_of_incoming(author.id)[0] == 0)
        assert ann.sync.ingest._under_way().get(author.id) is None


async def test_records_beyond_what_the_removal_accepts_go_once_they_are_said_by_others(tmp_path: Path) -> None:
    config = replace(QUICK, forget_interval=0.2)
    async with devices(tmp_path, "ann", "bob", "cid", config=config) as (ann, bob, cid):
        await share(ann, bob, cid)
        author = bob.volume.author
        await until(lambda: ann.store.documents.head(author) is not None)
        await settled(ann, bob, cid)
        ann.network.partition(ann.id, bob.id)
        ann.network.partition(ann.id, cid.id)
        ann.sync.remove_member(bob.id)  # of whom she knows that he is there
        for number in range(50):
            bob.write(f"file{number}", os.urandom(4000))
        await until(lambda: len(cid.files()) == 50)
        cid.network.partition(bob.id, cid.id)
        ann.network.heal(ann.id, cid.id)
        accepted = ann.store.documents.head(author)
        assert accepted is not None
        await until(lambda: cid.store.documents.head(author) == accepted, "his records to go, but for those that count")
        assert cid.store.documents.count_after(author, accepted.seq) == 0
        await settled(ann, cid)
        assert len(ann.files()) == 50
        await cid.down()
        sound(cid)
        await cid.up()
        ann.write("file1", b"changed")
        await settled(ann, cid)


async def test_what_was_let_go_halfway_goes_on_after_a_restart_and_nothing_comes_in_between(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        for number in range(1200):
            ann.write(f"file{number}", b"x")
        await settled(ann, bob)
        author = AuthorId(ann.volume.author)
        with bob.store.db.transaction():
            bob.store.documents.let_go_of(author)
        assert bob.store.documents.is_going(author)
        dots = bob.store.documents.dots_of(author)
        assert dots >= 1200
        await bob.restart()
        assert bob.store.documents.dots_of(author) == dots
        await until(lambda: not bob.store.documents.is_going(author), "the rest to go")
        # Of a member it is asked for again, from the beginning.
        await settled(ann, bob)
        assert bob.sync.ingest.counts.disagreements == 0
        assert bob.store.documents.count_after(author, 0) >= 1200


async def test_the_index_gives_the_room_back(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        for device in (ann, bob):
            device.sync.ingest.budgets.set_max(100 << 30)
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        for page in range(90):
            after = author.seq
            await raw.push(author, author.say_bytes(b"odd %d" % page, os.urandom(MIB - 100)), after=after)
        await until(lambda: stored_bytes(bob, author) > 89 * MIB, limit=60)
        index = ann.directory(ann.sync.id) / "index.db"
        ann.sync.remove_member(raw.id)
        await until(lambda: stored_bytes(ann, author) == 0, "it to go", limit=60)
        await until(lambda: index.stat().st_size < 20 * MIB, "the index to get smaller", limit=60)
