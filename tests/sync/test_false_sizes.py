# SPDX-License-Identifier: GPL-3.0-or-later
"""The size of content is that of its bytes. What a record says of it can be a lie, and harms nobody but who said it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from holofsd.codec.content import hash_bytes
from holofsd.core.errors import ContentUnavailable
from holofsd.core.ids import AuthorId, Dot, Hlc, VolumeId
from holofsd.core.state import Blob, Register, Version
from holofsd.net.fake import FakeNetwork
from holofsd.store.volume import VolumeStore
from holofsd.sync import losses
from holofsd.sync.losses import IndexCache
from holofsd.sync.merging import SAID_SIZE as SAID_IMPOSSIBLE_SIZE
from holofsd.sync.unavailable import NOWHERE, TOO_LARGE
from holofsd.sync.volume import SAID_SIZE
from tests.sync.devices import QUICK, Device, devices, settled, share, until
from tests.sync.rawserver import RawServer, has_nothing, raw_server

PROMISES = replace(QUICK, partial_interval=0.1)


def size_shown(device: Device, name: str) -> int:
    entry = device.volume.tree.lookup(b"\0" * 16, name.encode())  # type: ignore[arg-type]
    assert entry is not None
    return entry.view.size


def lies_of(device: Device, server: RawServer) -> dict[str, int]:
    return {lie.what: lie.count for lie in device.sync.status().lies if lie.device == server.raw.id}


@pytest.mark.parametrize("said", [1, 5_000, 9_999, 10_001, 2_000_000, 1 << 42], ids=str)
@pytest.mark.parametrize("size", [10_000, 700_000], ids=["small", "large"])
@pytest.mark.parametrize("first", ["the lie", "the file", "the content"])
async def test_a_false_size_harms_neither_the_file_nor_its_source(
    tmp_path: Path, first: str, size: int, said: int
) -> None:
    data = os.urandom(size)
    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", network=network) as (ann, bob):
        await share(ann, bob)
        async with raw_server(network, has_nothing) as server:
            await server.meet(bob, ann)
            if first == "the lie":
                await server.say(server.names("lie", hash_bytes(data), said))
                await until(lambda: "lie" in bob.files())
                ann.write("real", data)
            else:
                if first == "the file":
                    network.partition(ann.id, bob.id)
                ann.write("real", data)
                if first == "the content":
                    await until(lambda: bob.files().get("real") == data)
                await server.say(server.names("lie", hash_bytes(data), said))
                await until(lambda: "lie" in bob.files())
                network.heal(ann.id, bob.id)
            await until(lambda: bob.files() == {"real": data, "lie": data}, "the content, under both names")
            assert size_shown(bob, "real") == size_shown(bob, "lie") == len(data)
            assert bob.store.content.size(hash_bytes(data)) == len(data)
            assert bob.store.content.missing() == (0, 0)
            assert ann.id not in bob.sync.fetcher.counts.wrong, "the honest source is not to blame"
            assert lies_of(bob, server) == {SAID_SIZE: 1}
            assert not any(lie.device == ann.id for lie in bob.sync.status().lies)
            assert not bob.sync.fetcher.counts.no_space


async def test_a_lie_about_bytes_that_are_nowhere_else_leaves_the_source_in_peace(tmp_path: Path) -> None:
    """A has the content in no file any more; the only file that names it says that it is smaller."""
    data = os.urandom(20_000)
    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", network=network) as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        with ann.store.db.transaction():
            ann.store.content.add(ann.store.content.keep(data), len(data), 0)
        async with raw_server(network, has_nothing) as server:
            await server.meet(bob, ann)
            await server.say(server.names("lie", hash_bytes(data), 10))
            await until(lambda: bob.sync.fetcher._jobs.get(hash_bytes(data)))
            await until(lambda: ann.id in bob.sync.fetcher._jobs.get(hash_bytes(data)).misses)  # type: ignore[union-attr]
            more = os.urandom(30_000)
            ann.write("more", more)
            await until(lambda: bob.files().get("more") == more)
            assert bob.files()["lie"] is None
            assert ann.id not in bob.sync.fetcher.counts.wrong


async def test_what_is_made_here_of_a_lie_says_the_truth(tmp_path: Path) -> None:
    data = os.urandom(10_000)
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        node = ann.write("file", data)
        with ann.store.db.transaction():
            state = ann.volume.tree.state(node)
            assert state is not None
            version = ann.volume.new_version(Blob(hash_bytes(data)), 77, 0)
            context = {**state.context, version.dot.author: version.dot.counter}
            ann.volume.write([replace(state, context=context, versions={version.dot: version})])
        await settled(ann, bob)
        told = bob.volume.tree.state(node)
        assert told is not None
        assert [version.size for version in told.versions.values()] == [len(data)]


@pytest.mark.parametrize("number", [1, 40])
async def test_content_that_is_larger_than_the_disk_parks_nothing_but_itself(tmp_path: Path, number: int) -> None:
    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", network=network, config=PROMISES) as (ann, bob):
        await share(ann, bob)
        async with raw_server(network, has_nothing) as server:
            await server.meet(bob, ann)
            lies = [server.names(f"huge {n}", hash_bytes(str(n).encode()), (1 << 43) - n) for n in range(number)]
            await server.say(*lies)
            await until(lambda: "huge 0" in bob.files())
            data = {f"file {n}": os.urandom(5000 + n * 20_000) for n in range(20)}
            for name, content in data.items():
                ann.write(name, content)
            await until(lambda: all(bob.files().get(name) == content for name, content in data.items()))
            status = bob.sync.status()
            assert not bob.sync.fetcher.counts.no_space
            assert not any("disk" in warning for warning in status.warnings)
            assert len(status.unavailable) == min(number, 20)
            assert all(told.why == TOO_LARGE and told.device == server.raw.id for told in status.unavailable)
            assert all(told.path.startswith(b"huge") for told in status.unavailable)
            assert len(bob.sync.fetcher._jobs) == 0, "it is not looked at again and again"


async def test_a_record_of_an_impossible_size_is_refused_and_its_file_is_named(tmp_path: Path) -> None:
    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", network=network) as (ann, bob):
        await share(ann, bob)
        async with raw_server(network, has_nothing) as server:
            await server.meet(bob, ann)
            await server.say(server.names("huge", hash_bytes(b"huge"), 1 << 61))
            await until(lambda: bob.sync.status().quarantined == 1)
            data = os.urandom(100_000)
            ann.write("file", data)
            await until(lambda: bob.files() == {"file": data})
            (lie,) = bob.sync.status().lies
            assert (lie.device, lie.what, lie.example) == (server.raw.id, SAID_IMPOSSIBLE_SIZE, "huge")
            assert not bob.sync.fetcher.counts.no_space


async def test_an_impossible_size_that_an_earlier_program_took_over_holds_up_nothing(tmp_path: Path) -> None:
    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", network=network, config=PROMISES) as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        async with raw_server(network, has_nothing) as server:
            await server.meet(bob, ann)
            huge = server.names("huge", hash_bytes(b"huge"), 1 << 61)
            with bob.store.db.transaction():
                bob.volume.merge([huge])
            await server.say(huge)
            data = os.urandom(100_000)
            ann.write("file", data)
            await until(lambda: bob.files() == {"huge": None, "file": data})
            (told,) = bob.sync.status().unavailable
            assert (told.path, told.why) == (b"huge", TOO_LARGE)
            assert not bob.sync.fetcher.counts.no_space
            assert bob.sync.status().quarantined == 0, "what passes it on makes nothing worse"
            with pytest.raises(ContentUnavailable):
                await bob.sync.fetch(hash_bytes(b"huge"), 1 << 61, 5.0)


async def test_content_that_no_device_has_stops_no_promise_of_others_and_is_named(tmp_path: Path) -> None:
    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", network=network, config=PROMISES) as (ann, bob):
        await share(ann, bob)
        async with raw_server(network, has_nothing) as server:
            await server.meet(bob, ann)
            await server.say(server.author.file("before", b"here"), server.names("nowhere", hash_bytes(b"no"), 50_000))
            await until(lambda: {"before", "nowhere"} <= bob.files().keys())
            ann.write("file", os.urandom(20_000))
            await until(lambda: ann.sync.copies() == 1, "bob to promise what ann wrote")
            await until(lambda: bob.sync.copies() == 1, "ann to promise what bob wrote")
            mark = next(mark for mark in ann.sync.marks.known() if mark.device == bob.id)
            held = {item.author: item.seq for item in mark.authors}
            assert held[server.author.id] == 1, "of who said that there is content: up to before that"
            await until(lambda: bob.sync.status().unavailable)
            (told,) = bob.sync.status().unavailable
            assert (told.path, told.device, told.size, told.why) == (b"nowhere", server.raw.id, 50_000, NOWHERE)


async def test_passing_on_what_nobody_has_is_no_hole_in_ones_own_promises(tmp_path: Path) -> None:
    """A changes the mode of the file, so its record names the content too: it is still the other's word."""
    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", network=network, config=PROMISES) as (ann, bob):
        await share(ann, bob)
        async with raw_server(network, has_nothing) as server:
            await server.meet(bob, ann)
            nowhere = server.names("nowhere", hash_bytes(b"no"), 50_000)
            await server.say(nowhere)
            await until(lambda: "nowhere" in ann.files())
            with ann.store.db.transaction():
                state = ann.volume.tree.state(nowhere.id)
                assert state is not None
                assert state.mode is not None
                stamp = ann.volume.stamp(state.mode.stamp)
                ann.volume.write([replace(state, mode=replace(state.mode, value=0o600, stamp=stamp))])
            await until(lambda: ann.sync.status().unpublished == 0)
            await until(lambda: ann.sync.copies() == 1, "bob to promise what ann wrote")


async def test_content_that_is_missing_of_ones_own_is_promised_by_nobody(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=PROMISES) as (ann, bob):
        await share(ann, bob)
        bob.sync.fetcher._config = replace(PROMISES, reserve_bytes=1 << 60)  # room for records, and none for content
        await settled(ann, bob)
        await until(lambda: ann.sync.copies() == 1)
        ann.write("before", b"inline")
        await until(lambda: ann.sync.status().unpublished == 0)  # numbers follow the order in which they are published
        ann.write("file", os.urandom(10_000))
        await until(lambda: bob.sync.fetcher.counts.no_space)

        def behind() -> int:
            return next(report for report in ann.sync.status().devices if report.device == bob.id).records_behind

        await until(lambda: behind() == 1, "what came before is promised")
        assert ann.sync.copies() == 0


def test_a_git_index_is_as_large_as_its_bytes_whatever_a_record_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The brake reads it into memory."""
    name = b"n" * 200
    entry = bytes(60) + len(name).to_bytes(2, "big") + name
    data = b"DIRC" + (2).to_bytes(4, "big") + (1).to_bytes(4, "big") + entry.ljust(len(entry) // 8 * 8 + 8, b"\0")
    store = VolumeStore(VolumeId(b"v" * 32), tmp_path / "volume")
    try:
        with store.db.transaction():
            blob = store.content.keep(data)
            store.content.add(blob, len(data), 0)
        stamp = Hlc(1, 0, AuthorId(b"l" * 32))
        version = Version(Dot(stamp.author, 1), stamp, Blob(blob), 10, Register(0, stamp), "liar")
        assert IndexCache(store.content).paths(version) == {name}
        monkeypatch.setattr(losses, "LARGEST_INDEX", 100)
        assert IndexCache(store.content).paths(version) == frozenset()
    finally:
        store.close()
