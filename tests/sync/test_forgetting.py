# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of removed files go when everybody has heard of the removal, not before; nothing that lives goes too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from holofsd.codec.records import decode_state
from holofsd.codec.ticket import decode_ticket
from holofsd.core.edit import reasserted
from holofsd.core.ids import NodeId
from holofsd.core.node import is_alive
from holofsd.core.state import Place
from holofsd.net.fake import FakeNetwork
from holofsd.sync.config import KEY_DROPPED
from holofsd.sync.invites import redeem
from holofsd.tree.past import Past
from support.records import is_shrunk
from tests.sync.devices import QUICK, Device, devices, settled, share, until
from tests.sync.rawpeer import Author, RawPeer

FORGETFUL = replace(QUICK, forget_interval=0.05)


def purge(device: Device, *nodes: NodeId) -> None:
    """Empties the trash of these."""
    with device.store.db.transaction():
        for node in nodes:
            device.store.history.purge_node(node, device.now_ms())


def knows(device: Device, node: NodeId) -> int:
    """Number of records about it."""
    return len(device.store.documents.about(node))


def restore(device: Device, node: NodeId) -> None:
    with device.store.db.transaction():
        state = device.volume.tree.state(node)
        assert state is not None
        old = next(iter(state.versions.values()))
        version = device.volume.new_version(old.body, old.size, 0)
        device.volume.write([reasserted(state, version, version.stamp)])


async def test_a_removed_file_leaves_no_record_once_everybody_let_go_of_it(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", config=FORGETFUL) as (ann, bob, cid):
        await share(ann, bob)
        node = ann.write("gone", b"bytes that travel in the record")
        ann.write("stays", b"2")
        await settled(ann, bob)
        bob.write("gone", b"changed there")
        await settled(ann, bob)
        bob.remove("gone")
        await settled(ann, bob)
        assert knows(ann, node) == knows(bob, node) == 2
        purge(bob, node)
        await until(lambda: any(is_shrunk(decode_state(e.payload)) for e in ann.store.documents.about(node)))
        assert knows(ann, node) == 2  # bob's removal is still needed for ann's record
        purge(ann, node)
        await until(lambda: knows(ann, node) == knows(bob, node) == 0, "the records to go")
        await until(lambda: ann.volume.tree.state(node) is bob.volume.tree.state(node) is None, "the node to go")
        await settled(ann, bob)
        assert not ann.store.history.purged_count()
        assert not bob.store.history.purged_count()
        await share(ann, cid)
        await settled(ann, bob, cid)
        assert cid.files() == {"stays": b"2"}
        assert knows(cid, node) == 0


async def test_the_list_of_what_was_dropped_is_emptied_when_everybody_has_heard_it(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=FORGETFUL) as (ann, bob):
        await share(ann, bob)
        node = ann.write("gone", b"1")
        await settled(ann, bob)
        ann.remove("gone")
        await settled(ann, bob)
        purge(ann, node)
        await until(lambda: knows(bob, node) == 0)

        def said() -> int:
            envelope = bob.store.documents.envelope(ann.volume.author, KEY_DROPPED)
            return len(envelope.payload) if envelope is not None else 0

        await until(lambda: 0 < said() < 10, "the list to be empty")
        await settled(ann, bob)


async def test_nothing_goes_while_a_member_has_not_heard_of_the_removal(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", config=FORGETFUL) as (ann, bob, cid):
        await share(ann, bob, cid)
        node = ann.write("gone", b"1")
        await settled(ann, bob, cid)
        await cid.down()
        ann.remove("gone")
        await settled(ann, bob)
        for device in (ann, bob):
            purge(device, node)
            await device.sync.forgetter.look()
        assert knows(ann, node) == knows(bob, node) == 1
        state = ann.volume.tree.state(node)
        assert state is not None
        assert state.versions
        await cid.up()
        await until(lambda: knows(ann, node) == knows(bob, node) == knows(cid, node) == 0)
        assert cid.volume.tree.state(node) is not None  # its trash was not emptied
        purge(cid, node)
        await until(lambda: cid.volume.tree.state(node) is None)
        await settled(ann, bob, cid)


async def test_a_member_that_moved_it_without_knowing_keeps_it(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=FORGETFUL) as (ann, bob):
        await share(ann, bob)
        node = ann.write("file", b"1")
        await settled(ann, bob)
        ann.network.partition(ann.id, bob.id)
        ann.remove("file")
        purge(ann, node)
        bob.write("file", b"2")
        await until(lambda: ann.is_settled() and bob.is_settled())
        assert knows(ann, node) == 1
        ann.network.heal_all()
        await settled(ann, bob)
        assert ann.files() == {"file": b"2"}


async def test_what_is_in_the_trash_of_another_device_can_be_restored_there(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", config=FORGETFUL) as (ann, bob, cid):
        await share(ann, bob, cid)
        node = ann.write("file", b"precious")
        await settled(ann, bob, cid)
        ann.remove("file")
        await settled(ann, bob, cid)
        purge(ann, node)
        await until(lambda: knows(bob, node) == 0)
        await until(lambda: ann.volume.tree.state(node) is None)
        assert [item.node for page in Past(bob.volume.tree).trash() for item in page] == [node]
        restore(bob, node)
        await settled(ann, bob, cid)
        assert ann.files() == cid.files() == {"file": b"precious"}
        assert ann.volume.tree.state(node) == cid.volume.tree.state(node) == bob.volume.tree.state(node)


async def test_a_shrunk_removal_is_beaten_by_a_restoration_as_ever(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=FORGETFUL) as (ann, bob):
        await share(ann, bob)
        node = ann.write("file", b"precious")
        await settled(ann, bob)
        bob.remove("file")
        await settled(ann, bob)
        purge(bob, node)
        await until(lambda: any(is_shrunk(decode_state(e.payload)) for e in ann.store.documents.about(node)))
        state = ann.volume.tree.state(node)
        assert state is not None
        assert state.versions
        assert not is_alive(state)
        restore(ann, node)
        await settled(ann, bob)
        assert bob.files() == {"file": b"precious"}


async def test_a_folder_of_the_same_name_can_be_made_again(tmp_path: Path) -> None:
    """A new folder is another one, also where another device still has the one before in its trash."""
    async with devices(tmp_path, "ann", "bob", config=FORGETFUL) as (ann, bob):
        await share(ann, bob)
        node = ann.mkdir("folder")
        ann.write("folder/file", b"1")
        await settled(ann, bob)
        ann.remove("folder/file")
        ann.remove("folder")
        await settled(ann, bob)
        purge(ann, node)
        await until(lambda: ann.volume.tree.state(node) is None)
        assert bob.volume.tree.state(node) is not None
        again = ann.mkdir("folder")
        assert again != node
        ann.write("folder/new", b"2")
        await settled(ann, bob)
        assert bob.files() == {"folder/": b"", "folder/new": b"2"}
        assert ann.volume.tree.state(again) == bob.volume.tree.state(again)


async def test_a_device_from_an_old_backup_agrees_with_the_others(tmp_path: Path) -> None:
    """A restored device may bring a removed file back, for it knows nothing of the removal; nothing else happens."""
    async with devices(tmp_path, "ann", "bob", config=FORGETFUL) as (ann, bob):
        await share(ann, bob)
        node = bob.write("gone", b"1")
        other = ann.write("gone too", b"2")
        ann.write("stays", b"3")
        await settled(ann, bob)
        await ann.back_up(tmp_path / "backup")
        for name in ("gone", "gone too"):
            bob.remove(name)
        await settled(ann, bob)
        for device in (ann, bob):
            purge(device, node, other)
        await until(lambda: not any(knows(d, n) for d in (ann, bob) for n in (node, other)))
        await until(lambda: bob.store.documents.envelope(bob.volume.author, KEY_DROPPED) is not None)
        await ann.put_back(tmp_path / "backup")
        await ann.up()
        ann.write("new", b"4")
        await settled(ann, bob)
        assert {"stays": b"3", "new": b"4"}.items() <= ann.files().items()  # type: ignore[comparison-overlap]


async def test_a_removal_that_the_brake_holds_is_held_though_its_record_went(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=FORGETFUL) as (ann, bob):
        await share(ann, bob)
        nodes = [ann.write(f"file {number}", b"%d" % number) for number in range(12)]
        await settled(ann, bob)
        await until(lambda: not bob.sync.brake.catching_up)
        bob.sync.brake.set_limit(replace(bob.sync.brake.limit, files=5, percent=10))
        ann.network.partition(ann.id, bob.id)
        for number in range(12):
            ann.remove(f"file {number}")
        purge(ann, *nodes)
        ann.network.heal_all()
        await until(lambda: bob.sync.brake.holds)
        await until(lambda: not any(knows(bob, node) for node in nodes), "the records to go")
        assert len(bob.files()) == 12
        assert bob.is_settled()
        await bob.sync.brake.refuse()
        await settled(ann, bob)
        assert len(ann.files()) == 12


async def test_what_is_in_a_folder_that_nobody_knows_is_shown_in_lost_and_found(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", network=FakeNetwork(), config=FORGETFUL) as (ann, bob):
        await share(ann, bob)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(ann.ticket()), "raw")
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        nowhere = NodeId(b"no such folder..")
        state = author.file("orphan", b"of raw")
        (link,) = state.links
        orphan = replace(state, links={link: replace(state.links[link], place=Place(nowhere, b"orphan"))})
        await raw.push(author, author.say(orphan), after=0)
        await until(lambda: ann.files().get("lost+found/orphan") == b"of raw")
        await until(lambda: bob.files().get("lost+found/orphan") == b"of raw")
        await settled(ann, bob)
        assert set(ann.files()) == {"lost+found/", "lost+found/orphan"}
        heads = ann.heads()
        await until(lambda: not ann.store.outbox.count() and not bob.store.outbox.count(), "nothing to say")
        assert heads == ann.heads() == bob.heads(), "it is shown there, and nothing was written for that"
        await raw.endpoint.close()
