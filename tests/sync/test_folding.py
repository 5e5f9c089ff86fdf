# SPDX-License-Identifier: GPL-3.0-or-later
"""Authors that nobody uses any more go: what they said is said by who is still here, for everybody who comes later."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from holofsd.codec.letting_go import encode_folded
from holofsd.codec.ticket import decode_ticket
from holofsd.core.document import Role
from holofsd.core.errors import NoSpace
from holofsd.core.ids import AuthorId
from holofsd.net.fake import FakeNetwork
from holofsd.sync.config import KEY_FOLDED
from holofsd.sync.invites import redeem
from holofsd.sync.receiving import Receiver, Trip
from holofsd.sync.status import DeviceReport
from tests.sync.devices import QUICK, Device, devices, settled, share, until
from tests.sync.rawpeer import Author, RawPeer
from tests.sync.test_forgetting import purge
from tests.sync.test_taken_back import scene

FOLDING = replace(QUICK, forget_interval=0.05, fold_after=0.0)


def is_gone(author: AuthorId, *where: Device) -> bool:
    """Check that nothing of the author is left but where it ended."""
    documents = [device.store.documents for device in where]
    return all(
        known.head(author) is None and known.count_after(author, 0) == 0 and author in known.folded()
        for known in documents
    )


async def test_an_author_whose_device_took_a_new_one_is_folded(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "new", config=FOLDING) as (ann, bob, new):
        await share(ann, bob)
        ann.mkdir("folder")
        ann.write("folder/file", b"1")
        removed = ann.write("gone", b"2")
        bob.write("bob's", b"3")
        await settled(ann, bob)
        ann.write("bob's", b"3, changed by ann")
        bob.write("folder/file", b"1, changed by bob")
        await settled(ann, bob)
        ann.remove("gone")
        await settled(ann, bob)
        before, former = ann.files(), ann.volume.author
        ann.sync.rotate_author()
        await until(lambda: is_gone(former, ann, bob), "the former author to be folded")
        await settled(ann, bob)
        assert ann.files() == before
        await new.join(ann.ticket())
        await settled(ann, bob, new)
        assert new.files() == before
        state = new.volume.tree.state(removed)
        assert state is not None
        assert state.versions
        assert former in {dot.author for dot in state.versions}


async def test_edits_of_versions_by_a_folded_author_replace_them(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", config=FOLDING) as (ann, bob, cid):
        await share(ann, bob, cid)
        ann.write("file", b"1")
        await settled(ann, bob, cid)
        ann.network.partition(ann.id, cid.id)
        ann.network.partition(bob.id, cid.id)
        cid.write("file", b"2")
        former = ann.volume.author
        ann.sync.rotate_author()
        await until(lambda: is_gone(former, ann, bob))
        ann.network.heal_all()
        await settled(ann, bob, cid)
        assert ann.files() == {"file": b"2"}
        await until(lambda: is_gone(former, cid))


async def test_the_records_of_a_removed_device_are_said_by_another(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", "new", config=FOLDING) as (ann, bob, cid, new):
        await share(ann, bob, cid)
        bob.write("bob's", b"1")
        ann.write("changed", b"2")
        await settled(ann, bob, cid)
        bob.write("changed", b"2, by bob")
        await settled(ann, bob, cid)
        former = bob.volume.author
        ann.sync.remove_member(bob.id)
        await until(lambda: is_gone(former, ann, cid), "the records of the removed device to go")
        await new.join(ann.ticket())
        await settled(ann, cid, new)
        assert new.files() == {"bob's": b"1", "changed": b"2, by bob"}


async def test_whoever_joins_after_a_removed_device_was_let_in_again_sees_what_it_had_written(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "new", config=FOLDING) as (ann, bob, new):
        await share(ann, bob)
        bob.write("bob's", b"1")
        await settled(ann, bob)
        former = bob.volume.author
        ann.sync.remove_member(bob.id)
        await until(lambda: is_gone(former, ann), "ann to say what bob had said")
        await bob.down()
        shutil.rmtree(bob.directory(ann.sync.id))
        bob.volume_id = None
        await bob.up()
        await bob.join(ann.ticket())
        await new.join(ann.ticket())
        await settled(ann, bob, new)
        assert new.files() == bob.files() == {"bob's": b"1"}
        # Removed once more: its first author is named still.
        ann.sync.remove_member(bob.id)
        await new.down()
        shutil.rmtree(new.directory(ann.sync.id))
        new.volume_id = None
        await new.up()
        await new.join(ann.ticket())
        await until(lambda: new.files() == {"bob's": b"1"}, "the newcomer to see it")


async def test_a_removed_device_that_is_let_in_again_goes_on_with_its_author(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=FOLDING) as (ann, bob):
        await share(ann, bob)
        bob.write("bob's", b"1")
        await settled(ann, bob)
        former = bob.volume.author
        ann.sync.remove_member(bob.id)
        await until(lambda: is_gone(former, ann))
        await until(lambda: bob.sync.role is None)
        bob.write("meanwhile", b"2")
        ticket = ann.ticket()
        await bob.hub.remove(bob.sync.id)
        bob.store.close()
        await bob.join(ticket)
        await settled(ann, bob)
        assert bob.volume.author == former
        assert ann.files() == {"bob's": b"1", "meanwhile": b"2"}
        bob.write("bob's", b"1, changed")
        await settled(ann, bob)
        assert ann.files() == {"bob's": b"1, changed", "meanwhile": b"2"}


async def test_a_writer_that_was_a_reader_for_a_while_goes_on_with_its_author(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=FOLDING) as (ann, bob):
        await share(ann, bob)
        bob.write("bob's", b"1")
        await settled(ann, bob)
        former = bob.volume.author
        ann.sync.set_member(bob.id, Role.READER)
        await until(lambda: is_gone(former, ann))
        ann.write("bob's", b"1, changed by ann")
        await until(lambda: bob.files() == {"bob's": b"1, changed by ann"})
        ann.sync.set_member(bob.id, Role.WRITER)
        bob.write("again", b"2")
        await settled(ann, bob)
        assert bob.volume.author == former
        assert ann.files() == {"bob's": b"1, changed by ann", "again": b"2"}


async def test_a_backup_from_before_an_author_was_folded_takes_a_new_one(tmp_path: Path) -> None:
    """Copy of a folded author: no device holds a record of it any more, so only its last head can tell that numbers
    were given twice."""
    async with devices(tmp_path, "ann", "bob", config=FOLDING) as (ann, bob):
        await share(ann, bob)
        ann.write("file", b"1")
        await settled(ann, bob)
        await ann.back_up(tmp_path / "backup")
        ann.write("file", b"2")
        former = ann.volume.author
        await settled(ann, bob)
        ann.sync.rotate_author()
        await until(lambda: is_gone(former, ann, bob))
        await settled(ann, bob)
        await ann.put_back(tmp_path / "backup")
        ann.network.partition(ann.id, bob.id)
        await ann.up()
        assert ann.volume.author == former
        ann.write("from the backup", b"3")
        ann.network.heal_all()
        await settled(ann, bob)
        assert ann.volume.author != former
        assert bob.files() == {"file": b"2", "from the backup": b"3"}


async def test_a_reader_lets_go_of_a_folded_author_too(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=FOLDING) as (ann, bob):
        await share(ann, bob, role=Role.READER)
        node = ann.write("gone", b"1")
        ann.write("file", b"2")
        await settled(ann, bob)
        ann.remove("gone")
        purge(ann, node)
        former = ann.volume.author
        ann.sync.rotate_author()
        await until(lambda: is_gone(former, ann, bob))
        await settled(ann, bob)
        assert bob.files() == {"file": b"2"}


async def test_nobody_can_have_the_author_of_another_member_folded(tmp_path: Path) -> None:
    async with scene(tmp_path, FOLDING) as at:
        at.ann.write("ann's", b"1")
        await until(at.ann.is_settled)
        victim = at.ann.store.documents.head(at.ann.volume.author)
        assert victim is not None
        other = Author(at.joined.volume)
        await at.say(at.author.say_bytes(KEY_FOLDED, encode_folded([victim, other.head()])))
        await at.ann.sync.folder.look()
        assert at.ann.store.documents.folded() == {}
        await at.all_show({"ann's": b"1"})


async def test_an_author_that_its_device_names_though_it_said_more_loses_nothing(tmp_path: Path) -> None:
    """A device that heard it says it again before it lets go of it."""
    async with lying(tmp_path) as (ann, new, raw, liar, other):
        await raw.push(liar, liar.say(liar.file("said", b"1")), after=0)
        await until(lambda: ann.files() == {"said": b"1"})
        await raw.push(other, other.say_bytes(KEY_FOLDED, encode_folded([liar.head()])), after=0)
        await until(lambda: is_gone(liar.id, ann))
        await new.join(ann.ticket())
        await settled(ann, new)
        assert new.files() == {"said": b"1"}


@asynccontextmanager
async def lying(folder: Path) -> AsyncIterator[tuple[Device, Device, RawPeer, Author, Author]]:
    """A member with two authors of its own."""
    async with devices(folder, "ann", "new", network=FakeNetwork(), config=FOLDING) as (ann, new):
        await share(ann)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
        liar, other = Author(joined.volume), Author(joined.volume)
        await raw.session(ann.id, joined, liar, other)
        try:
            yield ann, new, raw, liar, other
        finally:
            await raw.endpoint.close()


@pytest.mark.parametrize("gone", ["took a new author", "was removed"])
async def test_content_that_a_folded_author_had_written_is_promised_by_no_device_that_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """The folded author's versions have no record of their author any more, and are needed as before."""
    config = replace(FOLDING, partial_interval=0.1)
    async with devices(tmp_path, "ann", "bob", "cid", "new", config=config) as (ann, bob, cid, new):
        await share(ann, bob, cid)
        node = cid.write("file", os.urandom(10_000))
        await settled(ann, bob, cid)
        former = cid.volume.author
        if gone == "was removed":
            ann.sync.remove_member(cid.id)
        else:
            cid.sync.rotate_author()
        await until(lambda: is_gone(former, ann, bob))
        await until(lambda: not any(device.sync.status().unpublished for device in (ann, bob)))

        def says_it(device: Device) -> bool:
            return device.store.documents.envelope(device.volume.author, node) is not None

        says = next(device for device in ((ann, bob) if gone == "was removed" else (cid,)) if says_it(device))

        def refuse(self: Receiver, needed: int, trip: Trip) -> None:
            raise NoSpace("The disk is nearly full.")

        monkeypatch.setattr(Receiver, "_check_space", refuse)
        await new.join(ann.ticket())

        await until(lambda: new.heads() == says.heads())
        other = next(device for device in (ann, bob) if device is not says)
        other.write("after all that", b"inline")
        await until(lambda: not other.sync.status().unpublished)
        author, seq = other.volume.author, other.heads()[other.volume.author][0]

        def is_promised() -> bool:
            marks = [mark for mark in says.sync.marks.known() if mark.device == new.id]
            return any(item.author == author and item.seq >= seq for mark in marks for item in mark.authors)

        await until(is_promised, "the new device to promise what it has")

        def report() -> DeviceReport:
            return next(report for report in says.sync.status().devices if report.device == new.id)

        assert not report().complete
        assert report().records_behind
        monkeypatch.undo()
        await until(lambda: report().complete)
        assert new.files() == says.files()
