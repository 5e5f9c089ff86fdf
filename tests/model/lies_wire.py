# SPDX-License-Identifier: GPL-3.0-or-later
"""Lies below and around the protocol, for strangers too: frames, silence, floods, clocks, hellos, the join protocol."""

from __future__ import annotations

import asyncio
import contextlib

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.content import hash_bytes
from holofsd.codec.signing import SigningKey
from holofsd.core.document import Certificate, Credentials, Grant, Role
from holofsd.core.errors import HoloError
from holofsd.core.ids import AuthorId, DeviceId
from holofsd.net.api import CONTENT_ALPN, JOIN_ALPN, SESSION_ALPN, Connection
from holofsd.net.framing import FramedStream
from model.liar import PATIENCE_S, Honest, Liar, Talk
from model.lies import lie
from model.looking import Numbers

LAST = (1 << 64) - 1
CLOCKS = (LAST, 1 << 62, 1 << 48, 1, 4_102_444_800_000_000)


async def _raw(stream: FramedStream, data: bytes) -> None:
    with contextlib.suppress(HoloError, TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            await stream._write(data)


# ---- frames
@lie("wire")
async def garbage_frames(liar: Liar, device: Honest, n: Numbers) -> None:
    talk = await liar.talk(device)
    if talk is None:
        return
    nested = b"\x1a\x02\x08\x01" * 50
    frames = (b"", b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", liar.random_bytes(5000), nested, b"\x08\x01")
    for _ in range(1 + n[0] % 30):
        await talk.say_bytes(frames[n[1] % len(frames)])


@lie("wire")
async def frames_out_of_place(liar: Liar, device: Honest, n: Numbers) -> None:
    """Well formed, and not for this stream or this moment."""
    talk = await liar.talk(device)
    if talk is None:
        return
    frames = (
        pb.Frame(hello=pb.Hello(protocol=1)),
        pb.Frame(welcome=pb.Welcome(clock_ms=LAST)),
        pb.Frame(blob=pb.Blob(id=LAST, size=LAST)),
        pb.Frame(held=pb.Held(id=1, held=[True] * 1000)),
        pb.Frame(get=pb.Get(id=1, hash=bytes(32), offset=LAST)),
        pb.Frame(bye=pb.Bye(code=1, reason="r" * 1000)),
        pb.Frame(want=pb.Want(author=b"short")),
        pb.Frame(have=pb.Have(heads=[pb.Head(author=bytes(32), seq=LAST, dots=LAST)])),
        pb.Frame(confirm=pb.Confirm(author=bytes(40), seq=LAST)),
        pb.Frame(pong=pb.Pong(id=LAST, clock_ms=LAST)),
        pb.Frame(marks=pb.Marks(marks=[pb.Mark(device=bytes(32), at_ms=LAST, signature=bytes(64))])),
    )
    for number in range(1 + n[0] % 4):
        await talk.say(frames[(n[1] + number) % len(frames)])


@lie("wire")
async def silence_inside_a_frame(liar: Liar, device: Honest, n: Numbers) -> None:
    """The beginning of a frame, and nothing more; the stream stays open."""
    talk = await liar.talk(device)
    if talk is not None:
        size = (4 << 20) - 1 if n[1] % 2 else 100_000
        await talk.raw(size.to_bytes(4, "big") + bytes(min(size // 2, 1_000_000)))


@lie("wire")
async def frames_cut_short(liar: Liar, device: Honest, n: Numbers) -> None:
    """The stream ends inside of a frame, or the connection does."""
    talk = await liar.talk(device)
    if talk is None:
        return
    await talk.raw((1000).to_bytes(4, "big") + bytes(n[1] % 999))
    if n[0] % 3 == 0:
        talk.stream.connection.close(n[1] % 10)
    elif n[0] % 3 == 1:
        with contextlib.suppress(HoloError):
            await talk.stream.finish()
    else:
        talk.stream.abort(n[1] % 10)


@lie("wire")
async def frames_above_the_limit(liar: Liar, device: Honest, n: Numbers) -> None:
    talk = await liar.talk(device)
    if talk is not None:
        await talk.raw(((1 << 32) - 1, (4 << 20) + 1)[n[1] % 2].to_bytes(4, "big") + bytes(100_000))


@lie("wire")
async def never_reads(liar: Liar, device: Honest, n: Numbers) -> None:
    """Asks for everything again and again and takes no answer."""
    stream = await liar.hello(device, pb.PURPOSE_SESSION)
    if stream is None:
        return
    liar.trash.append(stream)
    with contextlib.suppress(HoloError, TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            for number in range(50 + n[1] % 2000):
                author = sorted(liar.heads)[number % len(liar.heads)] if liar.heads else bytes(32)
                await stream.send(pb.Frame(want=pb.Want(author=author, whole=bool(n[0] % 2))).SerializeToString())


# ---- floods
@lie("wire")
async def floods_of_small_frames(liar: Liar, device: Honest, n: Numbers) -> None:
    talk = await liar.talk(device)
    if talk is None:
        return
    await _flood(talk, 50 + n[0] % 1500, n[1])


async def _flood(talk: Talk, count: int, number: int) -> None:
    author = hash_bytes(b"%d" % number)
    frames = (
        pb.Frame(ping=pb.Ping(id=number)),
        pb.Frame(want=pb.Want(author=author, whole=True)),
        pb.Frame(confirm=pb.Confirm(author=author, seq=1)),
        pb.Frame(records=pb.Records(author=author)),
        pb.Frame(),
        pb.Frame(marks=pb.Marks()),
        pb.Frame(credentials=pb.Credentials()),
        pb.Frame(have=pb.Have()),
    )
    data = frames[number % len(frames)].SerializeToString()
    for _ in range(count):
        if talk.over:
            return
        await talk.say_bytes(data)


@lie("wire")
async def wants_of_many_authors(liar: Liar, device: Honest, n: Numbers) -> None:
    """Each of which might be remembered until it is answered."""
    talk = await liar.talk(device)
    if talk is None:
        return
    for number in range(3000 if n[1] % 3 == 0 else 100):
        await talk.say(pb.Frame(want=pb.Want(author=hash_bytes(b"want %d %d" % (n[1], number)), after=LAST >> 3)))


@lie("wire")
async def streams_without_end(liar: Liar, device: Honest, n: Numbers) -> None:
    """Hundreds of streams on its connection, silent, with half a hello, or with a whole one."""
    talk = await liar.talk(device)
    connection = talk.stream.connection if talk is not None else await liar.connect(device)
    if connection is None:
        return
    for _ in range((20, 300)[n[1] % 3 == 0]):
        stream = await liar.opened(connection)
        if stream is None:
            return
        assert isinstance(stream, FramedStream)
        liar.trash.append(stream)
        await _raw(stream, (100_000).to_bytes(4, "big") + bytes((1, 40_000)[n[1] % 2]))


@lie("wire")
async def asks_for_content(liar: Liar, device: Honest, n: Numbers) -> None:
    """Ask for what this volume has and has not, from impossible places, and take no answer."""
    stream = await liar.hello(device, pb.PURPOSE_CONTENT)
    if stream is None:
        return
    liar.trash.append(stream)
    hashes = [liar.random_bytes(), b"short", bytes(32)]
    with contextlib.suppress(HoloError, TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            for number in range(n[0] % 200):
                get = pb.Get(id=LAST - number, hash=hashes[n[1] % 3], offset=(0, LAST)[n[2] % 2])
                await stream.send(pb.Frame(get=get).SerializeToString())
            hold = pb.Hold(id=1, hashes=[bytes(32)] * (10, 1024, 1025)[n[1] % 3])
            await stream.send(pb.Frame(hold=hold).SerializeToString())


# ---- hellos and clocks
@lie("wire")
async def clocks_at_the_end(liar: Liar, device: Honest, n: Numbers) -> None:
    """Lie about clocks in hellos, pings and answers to pings."""
    clock = liar.clock_off = CLOCKS[n[1] % len(CLOCKS)]

    def change(hello: pb.Hello) -> None:
        hello.clock_ms = hello.named_ms = clock
        hello.device_name = ("n" * 100_000, "\x1b[2J\u202e", "")[n[0] % 3]

    stream = await liar.hello(device, pb.PURPOSE_SESSION, change)
    if stream is not None and await liar._is_welcome(stream):
        talk = await liar._begin_talk(stream, device.id)
        await talk.say(pb.Frame(ping=pb.Ping(id=LAST, clock_ms=clock)))


@lie("wire")
async def says_that_two_run(liar: Liar, device: Honest, n: Numbers) -> None:
    """Another instance with each hello, and each time the claim that the receiver's key is used twice."""
    for number in range(2 + n[1] % 6):

        def change(hello: pb.Hello, number: int = number) -> None:
            hello.instance = hash_bytes(b"instance %d" % (number % 2 if n[0] % 2 else number))[: 16 + n[2] % 2]
            hello.doubled = True

        stream = await liar.hello(device, pb.PURPOSE_SESSION, change)
        if stream is not None:
            await liar._is_welcome(stream)
            stream.abort(0)


@lie("wire")
async def forged_hello(liar: Liar, device: Honest, n: Numbers) -> None:
    """A stranger with credentials that look right and are signed by nobody."""
    key = SigningKey(hash_bytes(b"stranger %d" % n[0]))
    me = DeviceId(key.public)
    grants = [Grant(me, Role.ADMIN, i + 1, liar.volume, "stranger", bytes(64)) for i in range((1, 1500)[n[1] % 3 == 0])]
    certificates = [Certificate(AuthorId(hash_bytes(b"%d" % i)), me, bytes(64), bytes(64)) for i in range(20)]
    hello = pb.Hello(
        protocol=1 + n[2] % 5 // 4,
        volume=liar.volume,
        purpose=pb.Purpose.ValueType(n[1] % 3),
        credentials=wire.to_credentials(Credentials(tuple(grants), (), tuple(certificates))),
        clock_ms=LAST,
    )
    for _ in range(1 + n[0] % 5):
        connection = await liar.connect(device, SESSION_ALPN, key)
        if connection is None:
            return
        liar.trash.append(connection)
        if n[0] % 3 != 2:
            await liar.opened(connection, pb.Frame(hello=hello).SerializeToString())


@lie("wire")
async def strangers_that_say_nothing(liar: Liar, device: Honest, n: Numbers) -> None:
    """Connections of many keys, silent, or with the beginning of a long first frame on each of many streams."""
    for number in range(2 + n[1] % 12):
        key = SigningKey(hash_bytes(b"silent %d %d" % (n[1], number)))
        connection = await liar.connect(device, (SESSION_ALPN, JOIN_ALPN)[n[0] % 2], key)
        if connection is None:
            return
        liar.trash.append(connection)
        await _half_frames(liar, connection, 1 + n[2] % 20)


async def _half_frames(liar: Liar, connection: Connection, streams: int) -> None:
    for _ in range(streams):
        stream = await liar.opened(connection)
        if stream is None:
            return
        assert isinstance(stream, FramedStream)
        await _raw(stream, (500_000).to_bytes(4, "big") + bytes(60_000))


@lie("wire")
async def many_connections_for_content(liar: Liar, device: Honest, n: Numbers) -> None:
    """More than anybody may have, by the member or by a stranger, with sessions, content or halves of frames."""
    key = SigningKey(hash_bytes(b"content %d" % n[0])) if n[0] % 4 == 0 else None
    hello = pb.Hello(
        protocol=1,
        volume=liar.volume,
        purpose=(pb.PURPOSE_SESSION, pb.PURPOSE_CONTENT)[n[2] % 2],
        credentials=wire.to_credentials(liar.shown_credentials()),
        device_name="mal",
        clock_ms=LAST,
    )
    for _ in range(2 + n[1] % 20):
        connection = await liar.connect(device, CONTENT_ALPN, key)
        if connection is None:
            return
        liar.trash.append(connection)
        if n[2] % 3 == 0:
            await _half_frames(liar, connection, 1 + n[2] % 5)
        else:
            await liar.opened(connection, pb.Frame(hello=hello).SerializeToString())


@lie("wire")
async def guesses_tickets(liar: Liar, device: Honest, n: Numbers) -> None:
    """The join protocol with secrets that nobody gave, and with what is no question at all."""
    key = SigningKey(hash_bytes(b"guesser %d" % (n[0] % 3)))
    questions = (
        pb.Redeem(protocol=1, volume=liar.volume, secret=liar.random_bytes(16), device_name="n" * 1000),
        pb.Redeem(protocol=99, volume=b"", secret=b""),
        pb.Redeem(protocol=1, volume=liar.volume, secret=bytes(16), confirm=True),
    )
    data = (questions[n[1] % 3].SerializeToString(), b"\xff" * 50)[n[2] % 4 == 0]
    for _ in range(1 + n[0] % 15):
        connection = await liar.connect(device, JOIN_ALPN, key)
        if connection is not None:
            await liar.opened(connection, data)


@lie("wire")
async def vanishes(liar: Liar, device: Honest, n: Numbers) -> None:
    """Go away, leave connections hanging, and come back."""
    await liar.vanish()
    if n[1] % 2:
        await liar.talk(device)


@lie("wire")
async def connects_again_and_again(liar: Liar, device: Honest, n: Numbers) -> None:
    for _ in range(2 + n[1] % 10):
        if n[0] % 2:
            connection = await liar.connect(device)
            if connection is not None and n[2] % 2:
                connection.close(n[2] % 10)
        elif (talk := await liar.talk(device)) is not None:
            talk.stream.abort(n[2] % 10)
            await asyncio.sleep(0.01)
