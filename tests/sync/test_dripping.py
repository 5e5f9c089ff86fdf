# SPDX-License-Identifier: GPL-3.0-or-later
"""Members that are slow on purpose, or send what is wrong in part: whoever is faster wins, and they are asked last."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.content import hash_bytes
from holofsd.core.errors import ContentTimeout, ContentUnavailable
from holofsd.net.api import Stream
from holofsd.net.fake import FakeNetwork
from holofsd.sync import content, frames, jobs
from tests.sync.devices import QUICK, Device, devices, settled, share, until
from tests.sync.rawserver import Answer, RawServer, has_nothing, raw_server, serves

LARGE, SMALL = 3_000_000, 60_000
# A device that did not have something is not asked again while a test lasts, so what is asked twice shows.
CONFIG = replace(QUICK, missing_retry=1.0, streams_per_peer=2)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings with which seconds become fractions of them."""
    monkeypatch.setattr(jobs, "HEDGE", 0.2)
    monkeypatch.setattr(content, "HEDGE", 0.2)
    monkeypatch.setattr(jobs, "HEDGE_REST", 0.5)


def drips(data: bytes) -> Answer:
    """A little at a time, enough not to be taken for dead: it would take hours."""
    return serves(data, piece=300, pause=0.05)


@asynccontextmanager
async def scene(tmp_path: Path, data: bytes, answer: Answer) -> AsyncIterator[tuple[Device, Device, RawServer]]:
    """B is being sent the content of "file" by the rogue, and knows of A, which has the same and is not reached yet."""
    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", network=network, config=CONFIG) as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        async with raw_server(network, answer) as server:
            await server.meet(bob, ann)
            network.partition(ann.id, bob.id)
            await server.say(server.names("file", hash_bytes(data), len(data)))
            await until(lambda: server.asked, "the rogue to be asked")
            ann.write("same", data)
            network.heal(ann.id, bob.id)
            yield ann, bob, server


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("waiting", [True, False], ids=["a reader waits", "in the background"])
async def test_who_drips_does_not_keep_content_from_anybody(
    tmp_path: Path, hasty: None, waiting: bool, size: int
) -> None:
    data = os.urandom(size)
    async with scene(tmp_path, data, drips(data)) as (_ann, bob, server):
        if waiting:
            await until(lambda: len(bob.sync.sessions) == 2)
            await bob.sync.fetch(hash_bytes(data), size, 30.0)
        await until(lambda: bob.files().get("file") == data, "the content, from ann")
        await until(lambda: set(server.lost) == {hash_bytes(data)}, "the slow stream to be given up")
        assert bob.sync.fetcher.counts.wrong == {}, "slow is not wrong"
        await until(lambda: not list((bob.directory(bob.sync.id) / "incoming").iterdir()), "nothing to be left of it")


async def test_who_was_slow_is_asked_last_and_still_asked_for_what_only_it_has(
    tmp_path: Path, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, only = os.urandom(SMALL), os.urandom(5000)
    slow = drips(data)

    async def answer(stream: Stream, get: pb.Get) -> None:
        await (serves(only) if get.hash == hash_bytes(only) else slow)(stream, get)

    async with scene(tmp_path, data, answer) as (ann, bob, server):
        await until(lambda: bob.files().get("file") == data)
        # On a busy machine ann takes long, too, and then others are asked as well.
        monkeypatch.setattr(jobs, "HEDGE_REST", 600.0)
        monkeypatch.setattr(content, "HEDGE", 600.0)
        more = {f"more{n}": os.urandom(SMALL) for n in range(20)}
        for name, body in more.items():
            ann.write(name, body)
        await until(lambda: all(bob.files().get(name) == body for name, body in more.items()))
        assert set(server.asked) == {hash_bytes(data)}
        await server.say(server.names("only", hash_bytes(only), len(only)))
        await until(lambda: bob.files().get("only") == only)


async def test_a_slow_device_that_alone_has_something_is_given_the_time(tmp_path: Path, hasty: None) -> None:
    data = os.urandom(SMALL)
    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", network=network, config=CONFIG) as (ann, bob):
        await share(ann, bob)
        async with raw_server(network, serves(data, piece=2000, pause=0.05)) as server:
            await server.meet(bob, ann)
            await server.say(server.names("file", hash_bytes(data), len(data)))
            await until(lambda: bob.files().get("file") == data, "the content, slowly")
            assert server.lost == []
            assert server.asked == [hash_bytes(data)]


async def test_content_that_a_program_waits_for_finds_a_free_stream(tmp_path: Path) -> None:
    """All streams for the rest are busy with files of somebody slow."""
    data = os.urandom(SMALL)

    async def answer(stream: Stream, get: pb.Get) -> None:
        await (serves(data) if get.hash == hash_bytes(data) else drips(os.urandom(LARGE)))(stream, get)

    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", network=network, config=CONFIG) as (ann, bob):
        await share(ann, bob)
        async with raw_server(network, answer) as server:
            await server.meet(bob, ann)
            films = [server.names(f"film {n}", hash_bytes(b"%d" % n), LARGE) for n in range(CONFIG.streams_per_peer)]
            await server.say(*films)
            await until(lambda: len(server.asked) == len(films), "all streams to be busy")
            await server.say(server.names("file", hash_bytes(data), len(data)))
            await until(lambda: "file" in bob.files())
            await bob.sync.fetch(hash_bytes(data), len(data), 45.0)


# ---- wrong in part
async def test_a_beginning_that_somebody_made_up_is_found_out(tmp_path: Path, hasty: None) -> None:
    """One device sends most of the file wrong and goes; the one that sends the rest in good faith is not to blame."""
    data = os.urandom(LARGE)
    junk = os.urandom(2_500_000)

    async def answer(stream: Stream, get: pb.Get) -> None:
        if get.offset:
            await stream.send(frames.blob_missing(get.id))
            return
        for start in range(0, len(junk), 1 << 18):
            await stream.send(frames.blob(get.id, junk[start : start + (1 << 18)], False, LARGE))
        stream.abort(0)

    async with scene(tmp_path, data, answer) as (ann, bob, server):
        await until(lambda: bob.files().get("file") == data, "the content, from ann")
        assert server.raw.id in bob.sync.fetcher.counts.wrong
        assert ann.id not in bob.sync.fetcher.counts.wrong
        await until(lambda: not list((bob.directory(bob.sync.id) / "incoming").iterdir()), "nothing to be left of it")


async def test_a_beginning_longer_than_the_file_is_found_out(tmp_path: Path, hasty: None) -> None:
    """Another lie says that the file is larger: so much was taken, and the honest source has nothing behind it."""
    data, junk = os.urandom(1_200_000), os.urandom(2_500_000)

    async def answer(stream: Stream, get: pb.Get) -> None:
        for start in range(get.offset, len(junk), 1 << 18):
            await stream.send(frames.blob(get.id, junk[start : start + (1 << 18)], False, LARGE))
        stream.abort(0)

    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", network=network, config=CONFIG) as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        async with raw_server(network, answer) as server:
            await server.meet(bob, ann)
            network.partition(ann.id, bob.id)
            await server.say(server.names("file", hash_bytes(data), LARGE))
            part = bob.directory(bob.sync.id) / "incoming" / f"{hash_bytes(data).hex()}.part"
            await until(lambda: part.exists() and part.stat().st_size > len(data))
            ann.write("same", data)
            network.heal(ann.id, bob.id)
            await until(lambda: bob.files() == {"file": data, "same": data})
            assert ann.id not in bob.sync.fetcher.counts.wrong


@pytest.mark.parametrize("said", [SMALL - 1, SMALL + 1, LARGE, 1 << 62, 0])
async def test_a_false_size_from_who_sends_costs_nothing(tmp_path: Path, hasty: None, said: int) -> None:
    data = os.urandom(SMALL)
    async with scene(tmp_path, data, serves(data, piece=1000, pause=0.02, size=said)) as (ann, bob, _server):
        await until(lambda: bob.files().get("file") == data)
        assert ann.id not in bob.sync.fetcher.counts.wrong


async def test_half_an_answer_is_wrong(tmp_path: Path, hasty: None) -> None:
    data = os.urandom(LARGE)

    async def answer(stream: Stream, get: pb.Get) -> None:
        await stream.send(frames.blob(get.id, data[get.offset : get.offset + 1000], True, LARGE))

    async with scene(tmp_path, data, answer) as (ann, bob, server):
        await until(lambda: bob.files().get("file") == data)
        assert server.raw.id in bob.sync.fetcher.counts.wrong
        assert ann.id not in bob.sync.fetcher.counts.wrong


async def test_two_devices_that_are_both_wrong_keep_nothing_from_a_third_that_is_right(
    tmp_path: Path, hasty: None
) -> None:
    data, junk = os.urandom(LARGE), os.urandom(LARGE)
    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", network=network, config=CONFIG) as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        async with raw_server(network, serves(junk), "one") as one, raw_server(network, serves(junk), "two") as two:
            for server in (one, two):
                await server.meet(bob, ann)
            network.partition(ann.id, bob.id)
            await one.say(one.names("file", hash_bytes(data), LARGE))
            await until(lambda: {one.raw.id, two.raw.id} <= bob.sync.fetcher.counts.wrong.keys())
            ann.write("same", data)
            network.heal(ann.id, bob.id)
            await until(lambda: bob.files() == {"file": data, "same": data})
            assert ann.id not in bob.sync.fetcher.counts.wrong


@pytest.mark.parametrize("missing_retry", [1.0, 100.0])
async def test_very_much_that_nobody_has_holds_up_no_other_author(
    tmp_path: Path, hasty: None, monkeypatch: pytest.MonkeyPatch, missing_retry: float
) -> None:
    monkeypatch.setattr(content, "BLOCKED_MOST", 200)
    monkeypatch.setattr(content, "LOOK_AHEAD", 128)
    # Two authors at most: what may be asked for, what is taken on at once beside what is blocked, and that.
    bound = 2 * (128 + 2 * 128 + 200)
    network = FakeNetwork()
    config = replace(CONFIG, missing_retry=missing_retry)
    async with devices(tmp_path, "ann", "bob", network=network, config=config) as (ann, bob):
        await share(ann, bob)
        async with raw_server(network, has_nothing) as server:
            await server.meet(bob, ann)
            for first in range(0, 1500, 500):
                lies = [server.names(f"lie {n}", hash_bytes(b"%d" % n), 9000) for n in range(first, first + 500)]
                await server.say(*lies)
            await until(lambda: bob.store.content.missing()[0] == 1500, limit=60)
            await until(lambda: len(set(server.asked)) > 600)
            data = {f"file {n}": os.urandom(9000) for n in range(50)}
            for name, body in data.items():
                ann.write(name, body)
            await until(lambda: all(bob.store.content.has(hash_bytes(body)) for body in data.values()))
            assert len(bob.sync.fetcher._jobs) < bound < 1500, "what nobody has takes no memory without bound"
            assert bob.store.content.missing()[0] == 1500


async def test_what_cannot_exist_is_not_waited_for(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        with pytest.raises(ContentUnavailable):
            await asyncio.wait_for(bob.sync.fetch(hash_bytes(b"x"), 1 << 61, 60.0), 30)


async def test_a_reader_waits_for_what_keeps_coming_and_not_for_what_stopped(tmp_path: Path) -> None:
    """A large file over a bad line takes longer than a program would wait for nothing."""
    data = os.urandom(LARGE)
    async with scene(tmp_path, data, serves(data, piece=150_000, pause=0.05)) as (_ann, bob, _server):
        bob.network.partition(bob.id, _ann.id, notice=True)
        await bob.sync.fetch(hash_bytes(data), len(data), 0.3)
        assert bob.files()["file"] == data


async def test_a_reader_is_let_go_when_nothing_comes_any_more(tmp_path: Path) -> None:
    data = os.urandom(LARGE)

    async def stops(stream: Stream, get: pb.Get) -> None:
        await stream.send(frames.blob(get.id, data[get.offset : get.offset + 150_000], False, len(data)))

    async with scene(tmp_path, data, stops) as (ann, bob, _server):
        bob.network.partition(bob.id, ann.id, notice=True)
        with pytest.raises((ContentTimeout, ContentUnavailable)):
            await bob.sync.fetch(hash_bytes(data), len(data), 0.3)
