# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of devices: kept on the device, said to the others, and the newest name counts."""

from __future__ import annotations

from pathlib import Path

from holofsd.core.document import Role
from holofsd.core.ids import DeviceId
from holofsd.store.device import DeviceStore
from holofsd.sync.names import DeviceNames
from support.states import shown_version
from tests.sync.devices import Device, devices, settled, share, until

ME, OTHER = DeviceId(b"m" * 32), DeviceId(b"o" * 32)


def names(folder: Path, first: str, now_ms: int = 1000) -> tuple[DeviceStore, DeviceNames]:
    store = DeviceStore(folder)
    return store, DeviceNames(store, ME, first, lambda: now_ms)


def called(device: Device, other: Device) -> str:
    return device.sync.members.name_of(other.id)


def test_the_first_name_is_kept_whatever_the_host_is_called_later(tmp_path: Path) -> None:
    store, first = names(tmp_path, "old-host")
    assert first.own == first.of(ME) == "old-host"
    store.close()
    store, again = names(tmp_path, "new-host")
    assert (again.own, again.named_ms) == ("old-host", first.named_ms)
    again.rename("laptop")
    store.close()
    store, third = names(tmp_path, "new-host")
    assert third.own == "laptop"
    store.close()


def test_a_new_name_is_newer_than_the_one_before_though_the_clock_went_back(tmp_path: Path) -> None:
    store, mine = names(tmp_path, "a", now_ms=5000)
    before = mine.named_ms
    store.close()
    store, mine = names(tmp_path, "a", now_ms=10)
    mine.rename("b")
    assert mine.named_ms > before
    store.close()


def test_the_newest_name_of_another_device_counts_and_is_remembered(tmp_path: Path) -> None:
    store, mine = names(tmp_path, "me")
    assert mine.of(OTHER) == ""
    mine.heard(OTHER, "desk", 7)
    mine.heard(OTHER, "older", 6)
    mine.heard(OTHER, "", 8)
    mine.heard(OTHER, "of a program that does not say when", 0)
    mine.heard(OTHER, "of a clock that is mad", 2**63)
    mine.heard(ME, "not me", 9)
    assert (mine.of(OTHER), mine.of(ME)) == ("desk", "me")
    mine.heard(OTHER, "\ud800 \x1b", 9)
    store.close()
    store, again = names(tmp_path, "me")
    assert again.of(OTHER) == "_ _"
    store.close()


async def test_a_new_name_reaches_the_others_and_what_is_written_from_then_on(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        await settled(ann, bob, cid)
        assert called(ann, bob) == "bob"
        bob.hub.rename("bob's desk")
        await until(lambda: called(ann, bob) == called(cid, bob) == "bob's desk", "the others to hear of it")
        state = bob.volume.tree.state(bob.write("file", b"1"))
        assert state is not None
        version = shown_version(state)
        assert version is not None
        assert version.device_name == "bob's desk"
        await ann.restart()
        assert called(ann, bob) == "bob's desk"


async def test_a_new_name_passes_through_a_third_device(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        await settled(ann, bob, cid)
        await cid.down()
        bob.hub.rename("attic")
        await until(lambda: called(ann, bob) == "attic")
        await bob.down()
        await cid.up()
        await until(lambda: called(cid, bob) == "attic", "cid to hear it from ann")
        await bob.up()


async def test_a_reader_says_its_new_name_at_the_beginning_of_a_session(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        ann.create()
        await bob.join(ann.ticket(Role.READER))
        await until(lambda: ann.sync.is_connected(bob.id))
        bob.hub.rename("reading room")
        await until(lambda: called(ann, bob) == "reading room")


async def test_two_of_one_name_are_told_apart_in_sentences(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        told = ann.sync.members.told
        await until(lambda: [told(device.id) for device in (ann, bob, cid)] == ["ann", "bob", "cid"])
        cid.hub.rename("bob")
        shared = [f"bob ({device.id.hex()[:8]})" for device in (bob, cid)]
        await until(lambda: [told(device.id) for device in (bob, cid)] == shared, "ann to hear of it")
        assert told(ann.id) == "ann"
        assert told(OTHER) == OTHER.hex()[:8]
