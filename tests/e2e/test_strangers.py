# SPDX-License-Identifier: GPL-3.0-or-later
"""Strangers and members with a program of their own: they cost a real daemon little, and members never notice."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import zip_longest
from pathlib import Path

import pytest

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.signing import sign_head, sign_mark
from holofsd.codec.ticket import Invite, decode_ticket
from holofsd.core.document import AuthorSeq, Grant, Role
from holofsd.core.errors import ConnectionLost
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.net.api import JOIN_ALPN, SESSION_ALPN, Connection, Stream
from support.device import Device, World
from support.extremes import HOSTILE_TEXT, base, extremes
from support.rogue import Refusal, Rogue, Session, record, rogue
from support.wait import until

MEGABYTE = 1 << 20
ALLOWED = [
    r"refused|forged|signature|violat|protocol|quarantin|disagree|frame|record|member|two histories|invite|author",
    r"second daemon with our key",  # so says the rogue, and `status` tells who said it
    r"is said again by us",  # the rogue takes back what it said of a file, again and again
]


def _peak_memory(device: Device) -> int:
    """Bytes of the daemon, at most so far."""
    told = Path(f"/proc/{device.daemon_pid()}/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+) kB", told)
    assert match is not None
    return int(match[1]) * 1024


def _shared(world: World) -> tuple[Device, Device, Path, Path, Invite]:
    a, b = world.running("a", "b")
    for device in (a, b):
        device.allowed += ALLOWED
    a.create()
    b.join(a.share())
    return a, b, a.mount(), b.mount(), decode_ticket(a.share())


async def _works(here: Path, there: Path, name: str) -> None:
    def work() -> None:
        here.joinpath(name).write_text(name)
        until(lambda: there.joinpath(name).exists() and there.joinpath(name).read_text() == name, "honest work")

    await asyncio.to_thread(work)


# ---- memory
async def _unfinished_frames(one: Rogue, invite: Invite, alpn: bytes) -> None:
    """A connection with a hundred streams, each with most of a megabyte of a frame that never ends."""
    with contextlib.suppress(ConnectionLost, Refusal):
        connection = await one.endpoint.connect(invite.issuer, invite.addresses, alpn)
        streams = [await connection.open_stream() for _ in range(100)]
        beginning = (3 * MEGABYTE).to_bytes(4, "big") + bytes(MEGABYTE)
        writing = [asyncio.create_task(_write(stream, beginning)) for stream in streams]
        await asyncio.gather(*writing)


async def _write(stream: Stream, data: bytes) -> None:
    with contextlib.suppress(ConnectionLost, TimeoutError):
        async with asyncio.timeout(10):
            await stream._raw.write_all(data)  # type: ignore[attr-defined]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("alpn", [JOIN_ALPN, SESSION_ALPN], ids=["tickets", "sessions"])
async def test_frames_that_never_end_take_little_memory_and_members_find_room(world: World, alpn: bytes) -> None:
    a, b, here, there, invite = await asyncio.to_thread(_shared, world)
    await _works(here, there, "before")
    before = _peak_memory(a)
    async with contextlib.AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(rogue()) for _ in range(12)]
        flood = asyncio.gather(*(_unfinished_frames(one, invite, alpn) for one in crowd))
        await _works(here, there, "meanwhile")
        await asyncio.to_thread(b.stop_daemon)
        await asyncio.to_thread(b.start_daemon)
        await _works(here, there, "after b came back")
        await flood
    c = world.device("c")
    await asyncio.to_thread(c.up)
    await asyncio.to_thread(c.join, await asyncio.to_thread(a.share))
    assert _peak_memory(a) - before < 300 * MEGABYTE, "without limits it is more than a gigabyte"


async def test_hellos_with_forged_credentials_are_refused_and_the_mount_goes_on(world: World) -> None:
    a, _b, here, there, invite = await asyncio.to_thread(_shared, world)
    async with rogue() as stranger:
        me = DeviceId(stranger.key.public)
        for count in (250, 500, 2000):
            grants = [Grant(me, Role.ADMIN, 1 + number, invite.volume, "forged", b"f" * 64) for number in range(count)]
            shown = pb.Credentials(grants=map(wire.to_grant, grants))
            hello = pb.Hello(protocol=1, volume=invite.volume, purpose=pb.PURPOSE_SESSION, credentials=shown)
            for _ in range(5):
                with contextlib.suppress(ConnectionLost):
                    connection = await stranger.connect(invite)
                    stream = await connection.open_stream()
                    await stream.send(pb.Frame(hello=hello).SerializeToString())
                    assert (await connection.wait_closed()).code in (3, 8)
            await _works(here, there, f"after {count}")
        assert len(await asyncio.to_thread(a.json, "members", "docs")) == 2


# ---- every extreme of every field
FRAMES = [field.name for field in pb.Frame.DESCRIPTOR.fields if field.name not in ("hello", "welcome")]
IN_CONTENT = ("get", "hold")


@asynccontextmanager
async def _honest(world: World) -> AsyncIterator[tuple[Device, Device, Path, Path, VolumeId]]:
    """Two honest devices, which work and answer afterwards as before."""
    a, b, here, there, invite = await asyncio.to_thread(_shared, world)
    yield a, b, here, there, invite.volume
    await _works(here, there, "after all")
    for device in (a, b):
        await asyncio.to_thread(_answers, device)


@asynccontextmanager
async def _writer(a: Device) -> AsyncIterator[tuple[Rogue, Invite]]:
    """One more member that may write, and means harm."""
    ticket = await asyncio.to_thread(a.share)
    async with rogue() as writer:
        await writer.redeem(ticket)
        invite = decode_ticket(ticket)
        writer.certify(invite.volume)
        yield writer, invite


def _answers(device: Device) -> None:
    """Check that everything which shows what others say works, and hides nothing."""
    for arguments in (("status",), ("status", "docs"), ("peers",), ("members", "docs"), ("conflicts", "docs")):
        device.json(*arguments)
        shown = device.ctl(*arguments).out
        assert all(character.isprintable() or character in "\n\t" for character in shown), arguments
    for member in device.json("members", "docs"):
        assert member["name"].isprintable()
        assert len(member["name"]) <= 200


class Talker:
    """Says one thing after the other to a daemon, in a new session wherever the last one ended for it."""

    def __init__(self, writer: Rogue, invite: Invite) -> None:
        self.writer = writer
        self.invite = invite
        self.connection: Connection | None = None
        self.session: Session | None = None

    async def say(self, frame: bytes) -> None:
        session = await self.ready()
        with contextlib.suppress(ConnectionLost):
            await session.send_raw(frame)
            await session.in_step()

    async def ask(self, frame: bytes) -> None:
        """Ask on a content stream of its own."""
        await self.ready()
        assert self.connection is not None
        with contextlib.suppress(ConnectionLost, Refusal):
            stream = await self.writer.hello(self.connection, self.invite.volume, pb.PURPOSE_CONTENT)
            await stream.receive()
            await stream.send(frame)
            await stream.finish()
            async with asyncio.timeout(45):
                while await stream.receive() is not None:
                    pass

    async def greet(self, hello: pb.Hello) -> None:
        connection = await self._connected()
        with contextlib.suppress(ConnectionLost):
            stream = await connection.open_stream()
            await stream.send(pb.Frame(hello=hello).SerializeToString())
            async with asyncio.timeout(45):
                await stream.receive()
            stream.abort(0)

    async def _connected(self) -> Connection:
        if self.connection is None or self.connection.closed:
            self.connection = await self.writer.connect(self.invite)
            self.session = None
        return self.connection

    async def ready(self) -> Session:
        for _ in range(50):
            connection = await self._connected()
            if self.session is not None and not self.session.over:
                return self.session
            try:
                self.session = await self.writer.session(connection, self.invite.volume)
            except (Refusal, ConnectionLost):
                connection.close(0)
        raise AssertionError("no session with the honest device any more")


@pytest.mark.timeout(400)
async def test_every_extreme_of_every_frame_of_a_session_leaves_a_daemon_as_it_was(world: World) -> None:
    async with _honest(world) as (a, _b, here, there, _volume):
        for kind in FRAMES:  # by a member each: one alone would have to wait for its allowance of sessions
            async with _writer(a) as (writer, invite):
                talker = Talker(writer, invite)
                inner = getattr(base(pb.Frame.DESCRIPTOR, {"Frame.frame": kind}), kind)
                for _what, made in extremes(inner, many=5000, large=100_000, thorough=False):
                    data = pb.Frame(**{kind: made}).SerializeToString()  # type: ignore[arg-type]
                    if len(data) > 3 * MEGABYTE:
                        continue  # above what a frame may be: tests/sync/test_hostile.py
                    await (talker.ask(data) if kind in IN_CONTENT else talker.say(data))
        await _works(here, there, "meanwhile")


@pytest.mark.timeout(300)
async def test_every_extreme_of_a_hello_leaves_a_daemon_as_it_was(world: World) -> None:
    async with _honest(world) as (a, _b, _here, _there, volume), _writer(a) as (writer, invite):
        talker = Talker(writer, invite)
        good = pb.Hello(protocol=1, volume=volume, purpose=pb.PURPOSE_SESSION, instance=b"i" * 16, doubled=True)
        good.device_name, good.program, good.clock_ms, good.named_ms = HOSTILE_TEXT, "rogue", 1, 1
        good.credentials.CopyFrom(wire.to_credentials(writer.credentials))
        for _what, made in extremes(good, many=1000, large=100_000, thorough=False):
            await talker.greet(made)  # type: ignore[arg-type]
        good.clock_ms = good.named_ms = 2**64 - 1
        await talker.greet(good)
        await asyncio.to_thread(_answers, a)


@pytest.mark.timeout(300)
async def test_every_extreme_that_a_writer_signs_leaves_the_others_as_they_were(world: World) -> None:
    """Records of nodes, devices and volumes with one field at an extreme each, under a true signature."""
    async with _honest(world) as (a, _b, _here, _there, volume), _writer(a) as (writer, invite):
        talker = Talker(writer, invite)
        session = await talker.ready()
        node = pb.NodeRecord.FromString(record(writer.file(b"by the rogue", b"data"))[1])
        device = pb.DeviceRecord(format=1, node_key=writer.key.public, name="rogue", addresses=["127.0.0.1:1"])
        about = {b"device": device, b"volume": pb.VolumeRecord(format=1, name="docs"), bytes(node.id): node}
        said = [[(key, made) for _what, made in extremes(good, 70, 2000)] for key, good in about.items()]
        for together in zip_longest(*said):  # one record under each key in a publication
            after = writer.author.seq
            records = [(key, made.SerializeToString()) for key, made in filter(None, together)]
            envelopes, head = writer.author.publish(volume, records)
            await session.send_records(after, envelopes, head)
            await session.until(
                lambda: session.confirmed.get(writer.author.id) == writer.author.seq or bool(session.over),
                "the records to be taken",
            )
            assert not session.over
        for at_ms in (0, 2**62 - 1):
            entry = AuthorSeq(writer.author.id, 2**62 - 1, b"h" * 32)
            mark = sign_mark(writer.key, volume, at_ms, [entry])
            await talker.say(pb.Frame(marks=pb.Marks(marks=[wire.to_mark(mark)])).SerializeToString())
        far = sign_head(writer.author.key, volume, 2**62 - 1, 2**62 - 1, b"h" * 32)
        await talker.say(pb.Frame(have=pb.Have(heads=[wire.to_head(far)])).SerializeToString())


# ---- amplification
@pytest.mark.timeout(240)
async def test_a_member_that_asks_for_all_again_and_again_keeps_nobody_from_working(world: World) -> None:
    async with _honest(world) as (a, _b, here, there, volume), _writer(a) as (writer, invite):
        for number in range(200):
            here.joinpath(f"file {number}").write_text("x" * 2000)
        connection = await writer.connect(invite)
        session = await writer.session(connection, volume)
        await session.until(lambda: bool(session.heads), "what a has written")
        for _ in range(300):
            for author in list(session.heads):
                with contextlib.suppress(ConnectionLost):
                    await session.send(pb.Frame(want=pb.Want(author=author, whole=True)))
        await _works(here, there, "meanwhile")
        for _ in range(40):
            with contextlib.suppress(ConnectionLost, Refusal):
                await writer.session(await writer.connect(invite), volume)
        await _works(here, there, "and still")
