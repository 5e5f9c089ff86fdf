# SPDX-License-Identifier: GPL-3.0-or-later
"""Events and pings of whole devices on a fake network."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from holofsd.core.errors import BadArgument, DeviceUnknown, Unreachable
from holofsd.core.ids import ROOT_INO
from holofsd.daemon import pinging
from holofsd.daemon.device import Device
from holofsd.fs.api import Filesystem
from holofsd.fs.types import Attachment, AttachRequest, CommitRequest, CreateRequest
from holofsd.rpc.watching_api import Event
from tests.daemon.test_device import World, eventually, join, ticket_of


@pytest.fixture
def root() -> Iterator[Path]:
    # Short, because a Unix socket's path has 107 bytes.
    with tempfile.TemporaryDirectory(prefix="hfs-dev-") as folder:
        yield Path(folder)


@pytest.fixture
async def pair(root: Path) -> AsyncIterator[tuple[Device, Device]]:
    world = World(root)
    async with world.device("a") as a, world.device("b") as b:
        await a.create_volume("docs")
        await join(b, await ticket_of(a))
        await connected(a)
        await connected(b)
        yield a, b


async def connected(device: Device) -> None:
    await eventually(lambda: any(peer.online for peer in device._hub.peer_status()))


async def attached(device: Device) -> tuple[Filesystem, Attachment]:
    filesystem = await device.filesystem("docs")
    return filesystem, filesystem.attach(AttachRequest("test", "m", "/mnt", 1, False))


async def write(device: Device, name: bytes, data: bytes) -> None:
    filesystem, attachment = await attached(device)
    await filesystem.create(attachment, CreateRequest(ROOT_INO, name, 0o644, handle=1, truncate=True))
    await filesystem.commit(attachment, CommitRequest(1, data=data, release=True))
    filesystem.detach(attachment)


async def happened(device: Device, since: str = "") -> list[Event]:
    """Events that have happened, without waiting for more."""
    async with asyncio.timeout(60):
        return [event async for event in device.events(since, no_wait=True)]


async def until(device: Device, since: str, true: Callable[[list[Event]], bool]) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(60):
        while not true(found):
            found += await happened(device, found[-1].token if found else since)
            await asyncio.sleep(0.005)
    return found


async def test_what_changed_is_told_with_who_changed_it_on_both_devices(pair: tuple[Device, Device]) -> None:
    a, b = pair
    begins = [(await happened(device))[0] for device in pair]
    assert [event.kind for event in begins] == ["begin", "begin"]
    await write(a, b"plan", b"one")
    (mine,) = await happened(a, begins[0].token)
    assert (mine.kind, mine.volume, mine.path, mine.device) == ("changed", "docs", b"plan", "a")
    assert (mine.device_id, mine.elsewhere) == (a.identity().device_id, False)
    theirs = await until(b, begins[1].token, lambda found: any(event.path == b"plan" for event in found))
    assert {(event.kind, event.path, event.device, event.elsewhere) for event in theirs} == {
        ("changed", b"plan", "a", True)
    }

    filesystem, attachment = await attached(a)
    folder = await filesystem.make_dir(attachment, ROOT_INO, b"folder", 0o755)
    await filesystem.make_dir(attachment, folder.ino, b"below", 0o755)
    await filesystem.unlink(attachment, ROOT_INO, b"plan")
    told = [(event.kind, event.path, event.device) for event in await happened(a, mine.token)]
    assert told == [("changed", b"folder", "a"), ("changed", b"folder/below", "a"), ("removed", b"plan", "a")]
    gone = await until(b, theirs[-1].token, lambda found: any(event.kind == "removed" for event in found))
    (removed,) = (event for event in gone if event.kind == "removed")
    assert (removed.path, removed.device, removed.elsewhere) == (b"plan", "", True)


async def test_a_stream_goes_on_after_a_token_and_two_of_them_see_the_same(pair: tuple[Device, Device]) -> None:
    a, _ = pair
    (begin,) = await happened(a)
    for number in range(4):
        await write(a, b"file %d" % number, b"content")
    whole = await happened(a, begin.token)
    assert [event.path for event in whole] == [b"file %d" % number for number in range(4)]
    assert await happened(a, whole[1].token) == whole[2:]
    assert await happened(a, whole[-1].token) == []
    for wrong in ("nothing", "0-", "00000000-x", "-1", whole[0].token + "x"):
        with pytest.raises(BadArgument, match="no token"):
            await happened(a, wrong)


async def test_a_stream_that_waits_is_told_at_once_and_ends_with_the_daemon(root: Path) -> None:
    async with World(root).device("a") as a:
        await a.create_volume("docs")
        stream = a.events("", no_wait=False)
        assert (await anext(stream)).kind == "begin"
        await write(a, b"plan", b"one")
        async with asyncio.timeout(60):
            assert (await anext(stream)).path == b"plan"
        end = asyncio.ensure_future(anext(stream, None))
        await asyncio.sleep(0)
    async with asyncio.timeout(60):
        assert await end is None


async def test_events_that_are_not_kept_or_are_of_another_run_are_missed(root: Path) -> None:
    world = World(root)
    async with world.device("a") as a:
        await a.create_volume("docs")
        (begin,) = await happened(a)
        a.noted._events = type(a.noted._events)(maxlen=2)
        for number in range(4):
            await write(a, b"file %d" % number, b"content")
            await happened(a)
        found = await happened(a, begin.token)
        assert [(event.kind, event.path) for event in found] == [
            *(("missed", b""), ("changed", b"file 2"), ("changed", b"file 3")),
        ]
        assert await happened(a, found[0].token) == found[1:]
    async with world.device("a") as a:
        (missed,) = await happened(a, found[-1].token)
        assert missed.kind == "missed"
        assert await happened(a, missed.token) == []


async def test_nothing_is_noted_before_somebody_asks(pair: tuple[Device, Device]) -> None:
    a, _ = pair
    subscribers = a._volumes.find("docs").local._subscribers
    before = len(subscribers)
    await write(a, b"plan", b"one")
    assert len(subscribers) == before
    assert [event.kind for event in await happened(a)] == ["begin"]
    assert len(subscribers) == before + 1
    await happened(a)
    assert len(subscribers) == before + 1


async def test_devices_that_come_and_go_are_told(root: Path) -> None:
    world = World(root)
    world.network.discovery = True
    async with world.device("a") as a:
        async with world.device("b") as b:
            await a.create_volume("docs")
            await join(b, await ticket_of(a))
            await connected(a)
            (begin,) = await happened(a)
        down = await until(a, begin.token, lambda found: any(event.kind == "device-down" for event in found))
        async with world.device("b") as b:
            token = down[-1].token
            up = await until(a, token, lambda found: any(event.kind == "device-up" for event in found))
            for kind, found in (("device-down", down), ("device-up", up)):
                (event,) = (event for event in found if event.kind == kind)
                assert (event.device, event.device_id) == ("b", b.identity().device_id)


async def test_a_conflict_is_told_when_it_comes_and_when_it_is_settled(root: Path) -> None:
    world = World(root)
    world.network.discovery = True
    async with world.device("a") as a:
        await a.create_volume("docs")
        async with world.device("b") as b:
            await join(b, await ticket_of(a))
        await write(a, b"plan", b"of a")
        (begin,) = await happened(a)
    async with world.device("b") as b:
        await write(b, b"plan", b"of b")
    async with world.device("a") as a, world.device("b") as b:
        (missed,) = await happened(a, begin.token)
        assert missed.kind == "missed"
        found = await until(a, missed.token, lambda found: any(event.kind == "conflict" for event in found))
        (event,) = (event for event in found if event.kind == "conflict")
        assert (event.volume, event.path, event.device) == ("docs", b"plan", "a")
        (conflict,) = await a.conflicts("docs", b"")
        filesystem, attachment = await attached(a)
        await filesystem.unlink(attachment, ROOT_INO, conflict.path)
        settled = await until(a, found[-1].token, lambda found: any(event.kind == "settled" for event in found))
        assert [event.path for event in settled if event.kind == "settled"] == [b"plan"]


async def test_warnings_of_status_are_told_once(pair: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = pair
    standing = a.noted._standing
    sentences: list[str] = []
    monkeypatch.setattr(standing, "_warnings", lambda: sentences)
    (begin,) = await happened(a)
    sentences.append("The clock of b is 3 s ahead.")
    (event,) = await happened(a, begin.token)
    assert (event.kind, event.message) == ("warning", sentences[0])
    sentences[:] = ["The clock of b is 4 s ahead."]
    assert await happened(a, event.token) == []


async def test_what_the_brake_holds_is_told(pair: tuple[Device, Device], monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = pair
    brake = a._volumes.find("docs").sync.brake
    (begin,) = await happened(a)
    for held, kind in ((60, "held"), (0, "released")):
        report = replace(brake.report(), files=held, devices=("b",))
        with monkeypatch.context() as patch:
            patch.setattr(brake, "report", lambda report=report: report)
            (event,) = await happened(a, begin.token)
        assert (event.kind, event.volume, event.device, event.files) == (kind, "docs", "b", held)
        begin = event


async def test_a_ping_tells_the_path_and_the_round_trip(pair: tuple[Device, Device]) -> None:
    a, b = pair
    async with asyncio.timeout(60):
        answers = [answer async for answer in a.ping("b", 2, 1, False)]
    assert len(answers) == 2
    for answer in answers:
        assert (answer.name, answer.device_id, answer.answered) == ("b", b.identity().device_id, True)
        assert answer.path == "direct"
        assert answer.address == (await a.peers())[0].address
        assert (answer.throughput, answer.measured_bytes) == (0, 0)
    (again,) = [answer async for answer in a.ping(b.identity().device_id[:8], 1, 1, True)]
    assert (again.answered, again.throughput) == (True, 0)  # there is no content to measure with


async def test_the_throughput_is_that_of_content_which_both_have(pair: tuple[Device, Device]) -> None:
    a, _ = pair
    content = bytes(range(256)) * (8 << 10)
    for device in pair:
        store = device._volumes.find("docs").store
        with store.db.transaction():
            store.content.keep(content)
            store.content.add(store.content.keep(content), len(content), 1)
    (answer,) = [answer async for answer in a.ping("b", 1, 1, True)]
    assert answer.measured_bytes == len(content)
    assert answer.throughput > 0


async def test_a_ping_of_who_is_not_there_says_so(root: Path) -> None:
    world = World(root)
    async with world.device("a") as a:
        await a.create_volume("docs")
        with pytest.raises(DeviceUnknown, match="no other device"):
            await anext(a.ping("nobody", 1, 1, False))
        async with world.device("b") as b:
            await join(b, await ticket_of(a))
            await connected(a)
        await eventually(lambda: not a._hub.peer_status()[0].online)
        with pytest.raises(Unreachable, match="b is not connected"):
            await anext(a.ping("b", 1, 1, False))


def test_a_path_through_a_relay_is_told_with_its_url() -> None:
    answer = pinging._answer("aa", "b", "relay:https://relay.example/", 0.012, (1 << 20, 0.5))
    assert (answer.path, answer.address) == ("relay", "https://relay.example/")
    assert (answer.round_trip_us, answer.throughput) == (12_000, 2 << 20)
    silent = pinging._answer("aa", "b", "10.0.0.2:4433", None, (0, 0.0))
    assert (silent.path, silent.answered, silent.round_trip_us, silent.throughput) == ("direct", False, 0, 0)
