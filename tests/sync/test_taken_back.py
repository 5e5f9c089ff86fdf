# SPDX-License-Identifier: GPL-3.0-or-later
"""A writer with a program of its own takes back what it said: who heard it says it again, so that all show the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from holofsd.codec.letting_go import encode_dropped
from holofsd.codec.ticket import decode_ticket
from holofsd.core import edit
from holofsd.core.document import Dropped, Envelope, Role
from holofsd.net.fake import FakeNetwork
from holofsd.sync.config import KEY_DROPPED
from holofsd.sync.invites import RedeemResult, redeem
from holofsd.tree.local import LocalVolume
from tests.sync.devices import QUICK, Device, devices, settled, share, until
from tests.sync.rawpeer import Author, RawPeer

BY_QUEUE = replace(QUICK, merge_slice=1)
"""Pages of more than one record are merged from the queue."""


@dataclass
class Scene:
    ann: Device
    newcomer: Device
    raw: RawPeer
    joined: RedeemResult
    author: Author

    async def say(self, *envelopes: Envelope) -> None:
        """Publish as one publication; returns when ann has taken it over."""
        after = envelopes[0].seq - 1
        await self.raw.push(self.author, *envelopes, after=after)
        await until(lambda: self.ann.heads().get(self.author.id, (0, b""))[0] == self.author.seq)
        await until(self.ann.is_settled)

    async def all_show(self, files: dict[str, bytes]) -> None:
        await until(self.ann.is_settled)
        assert self.ann.files() == files
        await self.newcomer.join(self.ann.ticket())
        await settled(self.ann, self.newcomer)
        assert self.newcomer.files() == files


@asynccontextmanager
async def scene(folder: Path, config: object = QUICK, role: Role = Role.WRITER) -> AsyncIterator[Scene]:
    async with devices(folder, "ann", "new", network=FakeNetwork(), config=config) as (ann, new):  # type: ignore[arg-type]
        await share(ann)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket(role)), "raw")
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        try:
            yield Scene(ann, new, raw, joined, author)
        finally:
            await raw.endpoint.close()


@pytest.mark.parametrize("config", [QUICK, BY_QUEUE], ids=["at once", "by the queue"])
async def test_an_earlier_record_in_the_place_of_a_later_one(tmp_path: Path, config: object) -> None:
    async with scene(tmp_path, config) as at:
        author = at.author
        first = author.file("file", b"first")
        await at.say(author.say(first), author.say(author.file("other", b"x")))
        author.dots += 1
        (version,) = first.versions.values()
        dot = replace(version.dot, counter=author.dots)
        stamp = replace(version.stamp, counter=author.dots)
        body = author.file("unused", b"second").versions.popitem()[1].body  # type: ignore[attr-defined]
        second = edit.with_version(first, replace(version, dot=dot, stamp=stamp, body=body, size=6), [version.dot])
        await at.say(author.say(second), author.say(author.file("other 2", b"x")))
        assert at.ann.files()["file"] == b"second"
        assert not at.ann.store.documents.envelope(at.ann.volume.author, first.id)
        await at.say(author.say(first), author.say(author.file("other 3", b"x")))
        await at.all_show({"file": b"second", "other": b"x", "other 2": b"x", "other 3": b"x"})


@pytest.mark.parametrize("config", [QUICK, BY_QUEUE], ids=["at once", "by the queue"])
async def test_a_record_that_is_dropped_although_nobody_removed_the_file(tmp_path: Path, config: object) -> None:
    async with scene(tmp_path, config) as at:
        author = at.author
        state = author.file("file", b"said")
        envelope = author.say(state)
        await at.say(envelope)
        del author.newest[state.id]
        dropped = encode_dropped([Dropped(state.id, envelope.seq)])
        await at.say(author.say_bytes(KEY_DROPPED, dropped), author.say(author.file("other", b"x")))
        await at.all_show({"file": b"said", "other": b"x"})


async def test_a_removal_that_is_taken_back_is_none(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        author = at.author
        state = author.file("file", b"said")
        await at.say(author.say(state))
        await at.say(author.say(edit.removed(state)))
        assert at.ann.files() == {}
        await at.say(author.say(state))
        await at.all_show({"file": b"said"})


async def test_a_removal_whose_record_is_dropped_too_early_brings_the_file_back_everywhere(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        at.ann.write("file", b"ann's")
        await until(at.ann.is_settled)
        node = at.ann.volume.tree.at_slot(at.ann._place("file")[0], b"file")[0]
        state = at.ann.volume.tree.state(node)
        assert state is not None
        author = at.author
        removal = author.say(edit.removed(state))
        await at.say(removal)
        assert at.ann.files() == {}
        del author.newest[node]
        await at.say(author.say_bytes(KEY_DROPPED, encode_dropped([Dropped(node, removal.seq)])))
        await at.all_show({"file": b"ann's"})


async def test_a_list_of_dropped_records_that_lies_ends_in_a_disagreement_and_no_loss(tmp_path: Path) -> None:
    async with scene(tmp_path) as at:
        author = at.author
        state = author.file("file", b"said")
        envelope = author.say(state)
        await at.say(envelope)
        lie = author.say_bytes(KEY_DROPPED, encode_dropped([Dropped(state.id, envelope.seq)]))
        await at.raw.push(author, lie, after=1)  # its head still counts the record
        want = (await at.raw.hear("want")).want
        assert want.whole
        assert at.ann.files() == {"file": b"said"}


async def test_honest_changes_on_several_devices_are_not_said_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[object] = []
    monkeypatch.setattr(LocalVolume, "say_again", lambda _self, nodes: said.append(nodes))
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        ann.write("file", b"1")
        await settled(ann, bob, cid)
        ann.network.partition(ann.id, bob.id)
        for number in range(3):
            ann.write("file", b"ann %d" % number)
            bob.write("file", b"bob %d" % number)
            await until(lambda: ann.is_settled() and bob.is_settled())
        ann.network.heal_all()
        await settled(ann, bob, cid)
        cid.write("file", b"cid")
        await settled(ann, bob, cid)
    assert said == []
