# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes become publications: when, and how."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from holofsd.codec.content import hash_bytes
from holofsd.core import edit, sethash
from holofsd.core.document import Head
from holofsd.core.ids import ROOT_ID, NodeId
from holofsd.core.state import Inline, Kind, NodeState, Pending, Place
from support.states import shown_version
from tests.sync.devices import QUICK, Device, devices, settled, share, until


def head_of(device: Device) -> Head:
    head = device.store.documents.head(device.volume.author)
    assert head is not None
    return head


def new_file(device: Device, name: str, body: Inline | Pending) -> NodeState:
    node = NodeId(name.encode().ljust(16, b"."))
    version = device.volume.new_version(body, 4, time.time_ns())
    place = Place(ROOT_ID, name.encode())
    return edit.new_node(node, Kind.FILE, 0, place, edit.link_id(node), version, 0o644, version.stamp)


async def test_a_publication_holds_a_bounded_number_of_records_and_all_of_them_come(tmp_path: Path) -> None:
    config = replace(QUICK, publish_records=50)
    async with devices(tmp_path, "ann", config=config) as (ann,):
        ann.create()
        sent: list[int] = []
        ann.sync.publisher._send = lambda publication: sent.append(len(publication.envelopes))
        with ann.store.db.transaction():
            for number in range(230):
                ann.write(f"file{number}", b"x")
        await until(lambda: sum(sent) == 230 + 1, "all of them and the device record")
        assert max(sent) <= 50
        assert head_of(ann).seq == 230 + 1 + 1  # and the volume record, from its creation


async def test_a_publication_is_bounded_in_bytes(tmp_path: Path) -> None:
    config = replace(QUICK, publish_bytes=20_000)
    async with devices(tmp_path, "ann", config=config) as (ann,):
        ann.create()
        sizes: list[int] = []
        ann.sync.publisher._send = lambda p: sizes.append(sum(len(e.payload) for e in p.envelopes))
        with ann.store.db.transaction():
            for number in range(40):
                ann.write(f"file{number}", b"x" * 4000)
        await until(lambda: sum(sizes) > 160_000)
        assert max(sizes) < 26_000


async def test_the_set_hash_of_a_head_is_that_of_its_records(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann") as (ann,):
        ann.create()
        for number in range(30):
            ann.write(f"file{number % 7}", b"%d" % number)
            if number % 5 == 0:
                await until(lambda: ann.store.outbox.count() == 0)
        await until(lambda: ann.store.outbox.count() == 0)
        total = ann.store.documents.set_sum(ann.volume.author, hash_bytes)
        assert head_of(ann).set_hash == sethash.to_bytes(total)


async def test_a_file_that_is_held_goes_out_when_it_is_released_or_its_time_is_up(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        with ann.store.db.transaction():
            released, timed = new_file(ann, "released", Inline(b"1234")), new_file(ann, "timed", Inline(b"1234"))
            ann.volume.write([released], publication_hold_ms=ann.now_ms() + 50_000)
            ann.volume.write([timed], publication_hold_ms=ann.now_ms() + 300)
        ann.write("other", b"at once")
        await until(lambda: bob.files() == {"other": b"at once"})
        await until(lambda: set(bob.files()) == {"other", "timed"})
        with ann.store.db.transaction():
            ann.volume.release(released.id)
        await until(lambda: set(bob.files()) == {"other", "timed", "released"})


async def test_content_that_is_not_hashed_yet_holds_up_nobody_else(tmp_path: Path) -> None:
    config = replace(QUICK, publish_records=5)
    async with devices(tmp_path, "ann", "bob", config=config) as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        with ann.store.db.transaction():
            waiting = [new_file(ann, f"waiting{n}", Pending(f"staging{n}")) for n in range(20)]
            ann.volume.write(waiting)
        ann.write("other", b"at once")
        await until(lambda: bob.files() == {"other": b"at once"})
        assert ann.sync.status().unpublished == 20
        state = waiting[3]
        version = shown_version(state)
        assert version is not None
        with ann.store.db.transaction():
            ann.volume.body_known(state.id, version.dot, Inline(b"1234"))
        await until(lambda: bob.files() == {"other": b"at once", "waiting3": b"1234"})


async def test_an_address_that_changes_is_told_to_the_others(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        ann.network.change_network(ann.id)
        address = ann.endpoint.addresses()[0]
        ann.hub._rewire.set()
        await until(lambda: address in bob.devices.addresses(ann.id))
