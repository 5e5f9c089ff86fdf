# SPDX-License-Identifier: GPL-3.0-or-later
"""A node is of one kind, whatever a member says, in whatever order it is heard."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from holofsd.codec.node_ids import new_node_id
from holofsd.codec.ticket import decode_ticket
from holofsd.core import edit
from holofsd.core.document import Role
from holofsd.core.ids import ROOT_ID, AuthorId, Dot, NodeId
from holofsd.core.kinds import kind_of
from holofsd.core.state import Inline, Kind, NodeState, Place
from holofsd.net.fake import FakeNetwork
from holofsd.sync.invites import redeem
from holofsd.sync.vetting import OTHER_KIND
from tests.sync.devices import Device, devices, settled, share, until
from tests.sync.forging import lies, said
from tests.sync.rawpeer import Author, RawPeer
from tests.sync.test_hostile import scene


# ---- kinds
def as_directory(state: NodeState) -> NodeState:
    return NodeState(state.id, Kind.DIRECTORY, state.created_ns)


@pytest.mark.parametrize("flip", [as_directory, lambda s: replace(as_directory(s), links=s.links)])
async def test_a_file_stays_a_file(tmp_path: Path, flip: Callable[[NodeState], NodeState]) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        nodes = [ann.write(f"file {number}", b"by ann") for number in range(30)]
        await settled(ann, bob)
        await raw.push(author, *(author.say(flip(said(ann, node))) for node in nodes), after=0)
        await until(lambda: lies(bob) and lies(ann))
        await settled(ann, bob)
        for device in (ann, bob):
            assert device.files() == {f"file {number}": b"by ann" for number in range(30)}
            assert lies(device) == {("raw", OTHER_KIND): 30}
            assert device.sync.status().quarantined == 30
        ann.write("file 1", b"edited")
        await settled(ann, bob)
        assert bob.files()["file 1"] == b"edited"


async def test_a_folder_stays_a_folder(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        git = ann.mkdir(".git")
        ann.write(".git/index", b"by ann")
        await settled(ann, bob)
        stolen = replace(author.file("x", b"forged"), id=git)
        link = next(iter(said(ann, git).links))
        stolen = replace(stolen, links={link: next(iter(stolen.links.values()))})
        await raw.push(author, author.say(stolen), after=0)
        await until(lambda: lies(bob) and lies(ann))
        assert bob.files() == ann.files() == {".git/": b"", ".git/index": b"by ann"}


async def test_a_kind_that_was_heard_first_is_no_better(tmp_path: Path) -> None:
    """A newcomer hears the liar alone, before it hears of the file."""
    async with devices(tmp_path, "ann", "bob", "new", network=FakeNetwork()) as (ann, bob, new):
        await share(ann, bob)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
        node = ann.write("file", b"by ann")
        await settled(ann, bob)
        await new.join(ann.ticket(Role.WRITER))
        new.network.partition(new.id, ann.id)
        new.network.partition(new.id, bob.id)
        author = Author(joined.volume)
        await raw.session(new.id, joined, author)
        await raw.push(author, author.say(as_directory(said(ann, node))), after=0)
        await raw.hear("confirm")
        new.network.heal_all()
        await until(lambda: new.files() == {"file": b"by ann"})
        assert lies(new) == {("raw", OTHER_KIND): 1}
        await raw.endpoint.close()


def put_old_file(device: Device, name: bytes, data: bytes) -> NodeId:
    """Put a file as earlier programs made it: the id says nothing of the kind."""
    node = NodeId(os.urandom(16))
    with device.store.db.transaction():
        version = device.volume.new_version(Inline(data), len(data), 0)
        place = Place(ROOT_ID, name)
        made = edit.new_node(node, Kind.FILE, 0, place, edit.link_id(node), version, 0o644, version.stamp)
        device.volume.write([made])
    return node


async def test_a_file_of_an_earlier_program_stays_a_file(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "new", network=FakeNetwork()) as (ann, bob, new):
        await share(ann, bob)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        node = put_old_file(ann, b"file", b"by ann")
        await settled(ann, bob)
        await raw.push(author, author.say(as_directory(said(ann, node))), after=0)
        await raw.hear("confirm")
        await settled(ann, bob)
        assert ann.files() == bob.files() == {"file": b"by ann"}
        assert lies(bob) == lies(ann) == {("", OTHER_KIND): 1}
        await new.join(ann.ticket())
        await settled(ann, bob, new)
        assert new.files() == {"file": b"by ann"}
        await raw.endpoint.close()


async def test_what_a_newcomer_heard_first_of_an_old_file_gives_way_to_what_more_devices_say(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "new", network=FakeNetwork()) as (ann, bob, new):
        await share(ann, bob)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
        node = put_old_file(ann, b"file", b"by ann")
        await settled(ann, bob)
        bob.sync.volume.say_again([node])
        await settled(ann, bob)
        await new.join(ann.ticket())
        for other in (ann, bob):
            new.network.partition(new.id, other.id)
        author = Author(joined.volume)
        await raw.session(new.id, joined, author)
        await raw.push(author, author.say(as_directory(said(ann, node))), after=0)
        await raw.hear("confirm")
        new.network.heal_all()
        await until(lambda: new.files() == {"file": b"by ann"})
        await until(lambda: bob.files() == ann.files() == new.files())
        assert lies(new) == {("", OTHER_KIND): 1}
        await raw.endpoint.close()


async def test_nobody_is_blamed_for_what_was_said_of_an_old_file_first(tmp_path: Path) -> None:
    """A member that takes back what it said of a file, and has a higher role, blames nobody who repeated it."""
    async with devices(tmp_path, "ann", "bob", network=FakeNetwork()) as (ann, bob):
        await share(ann, bob)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket(Role.ADMIN)), "raw")
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        made = replace(author.file("file", b"by raw"), id=NodeId(os.urandom(16)))
        await raw.push(author, author.say(made), after=0)
        await settled(ann, bob)
        bob.sync.volume.say_again([made.id])
        await settled(ann, bob)
        await raw.push(author, author.say(as_directory(made)), after=1)
        await raw.hear("confirm")
        await settled(ann, bob)
        await until(lambda: lies(ann) == {("", OTHER_KIND): 1})
        assert not any(name for name, _what in lies(bob))
        assert ann.files() == bob.files() == {}
        await raw.endpoint.close()


async def test_what_was_written_into_an_old_file_outlives_its_change_of_kind(tmp_path: Path) -> None:
    """All devices choose one kind, whoever wrote what; and nothing that an honest one wrote is lost by that."""
    async with devices(tmp_path, "ann", "bob", network=FakeNetwork()) as (ann, bob):
        await share(ann, bob)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket(Role.ADMIN)), "raw")
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        made = replace(author.file("file", b"by raw"), id=NodeId(os.urandom(16)))
        await raw.push(author, author.say(made), after=0)
        await settled(ann, bob)
        bob.write("file", b"by bob")
        await settled(ann, bob)
        assert ann.files() == {"file": b"by bob"}
        await raw.push(author, author.say(as_directory(made)), after=1)
        await raw.hear("confirm")
        await settled(ann, bob)
        await until(lambda: ann.files() == bob.files() == {"file": b"by bob"})
        assert not any(name for device in (ann, bob) for name, _what in lies(device))
        await raw.endpoint.close()


def test_a_kind_is_read_from_every_id_that_has_one() -> None:
    for kind in Kind:
        node = new_node_id(kind)
        assert len(node) == 16
        assert kind_of(node) is kind
        assert kind_of(edit.split_id(node, Dot(AuthorId(b"a" * 32), 1))) is kind
        assert kind_of(NodeId(b"n" * 16)) is None
    assert kind_of(ROOT_ID) is None
    assert kind_of(edit.directory_id(ROOT_ID, b"lost+found", 0)) is Kind.DIRECTORY
