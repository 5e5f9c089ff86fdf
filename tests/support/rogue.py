# SPDX-License-Identifier: GPL-3.0-or-later
"""A device that does not play by the rules: it speaks the protocol of docs/protocol.md frame by frame, in the test.

It uses the product's network adapter and signatures, and none of its judgement: it says whatever a test wants.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from blake3 import blake3

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.records import encode_state
from holofsd.codec.signing import SigningKey, generate, make_certificate, sign_envelope, sign_head
from holofsd.codec.ticket import Invite, decode_ticket
from holofsd.core import sethash
from holofsd.core.document import Credentials, Envelope, Head
from holofsd.core.edit import link_id, new_node
from holofsd.core.errors import ConnectionLost
from holofsd.core.ids import ROOT_ID, AuthorId, Dot, Hlc, NodeId, VolumeId
from holofsd.core.state import Blob, Body, Inline, Kind, Marker, NodeState, Place, Register, Version
from holofsd.net.api import JOIN_ALPN, SESSION_ALPN, Connection, Discovery, NetConfig, Stream
from holofsd.net.iroh_endpoint import IrohEndpoint, bind_iroh

PROTOCOL = 1
ANSWER_S = 45.0
PAGE_BYTES = 1 << 20
# Far above what the product accepts, so that a test can send what is too large.
CONFIG = NetConfig(bind="127.0.0.1:0", discovery=Discovery.NONE, max_frame=64 << 20)


class Refusal(Exception):
    """The other side closed, or answered that it will not. `how` is all that it let be known."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


@dataclass
class Author:
    """A signing key with what was published under it; the set hash is honest unless a test makes it not so."""

    key: SigningKey = field(default_factory=generate)
    seq: int = 0
    dots: int = 0
    newest: dict[bytes, Envelope] = field(default_factory=dict)

    @property
    def id(self) -> AuthorId:
        return AuthorId(self.key.public)

    def dot(self) -> Dot:
        self.dots += 1
        return Dot(self.id, self.dots)

    def stamp(self, ahead_ms: int = 0) -> Hlc:
        return Hlc(int(time.time() * 1000) + ahead_ms, 0, self.id)

    def publish(self, volume: VolumeId, records: Sequence[tuple[bytes, bytes]]) -> tuple[list[Envelope], Head]:
        """Numbers and signs (key, payload) pairs; the envelopes and the head they lead to."""
        made = []
        for key, payload in records:
            self.seq += 1
            made.append(sign_envelope(self.key, volume, self.seq, key, payload))
            self.newest[key] = made[-1]
        return made, self.head(volume)

    def head(self, volume: VolumeId) -> Head:
        total = sethash.EMPTY
        for envelope in self.newest.values():
            element = sethash.element(envelope.key, envelope.seq, blake3(envelope.payload).digest())
            total = sethash.add(total, element)
        return sign_head(self.key, volume, self.seq, self.dots, sethash.to_bytes(total))


class Session:
    """A session with an honest device. Takes everything it is offered into `records`, and serves what is in there."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.records: dict[bytes, dict[bytes, Envelope]] = {}
        self.heads: dict[bytes, Head] = {}
        self.credentials = Credentials()
        self.serve: dict[bytes, tuple[list[Envelope], Head]] = {}
        """Records and head that are sent to a device that asks, by author."""
        self.confirmed: dict[bytes, int] = {}
        self.over: str = ""
        self._pings = self._ponged = 0
        self._reader = asyncio.get_running_loop().create_task(self._read())

    async def send(self, frame: pb.Frame) -> None:
        await self.stream.send(frame.SerializeToString())

    async def send_raw(self, data: bytes) -> None:
        await self.stream.send(data)

    async def send_records(self, after: int, envelopes: Sequence[Envelope], head: Head | None) -> None:
        author = envelopes[0].author if envelopes else (head.author if head else b"")
        page = pb.Records(author=author, after=after, envelopes=[wire.to_envelope(e) for e in envelopes])
        if head is not None:
            page.head.CopyFrom(wire.to_head(head))
        await self.send(pb.Frame(records=page))

    async def show(self, heads: Sequence[Head]) -> None:
        await self.send(pb.Frame(have=pb.Have(heads=[wire.to_head(head) for head in heads])))

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + ANSWER_S
        while not condition():
            assert time.monotonic() < deadline, f"waited for {what}; the session is {self.over or 'up'}"
            await asyncio.sleep(0.01)

    async def in_step(self) -> None:
        """Returns when the other side has acted on everything sent so far, or has ended the session."""
        self._pings += 1
        number = self._pings
        with contextlib.suppress(ConnectionLost):
            await self.send(pb.Frame(ping=pb.Ping(id=number, clock_ms=int(time.time() * 1000))))
        await self.until(lambda: self._ponged >= number or bool(self.over), "an answer to a ping")

    async def until_over(self) -> None:
        await self.until(lambda: bool(self.over), "the other side to end the session")

    async def close(self) -> None:
        self.stream.abort(0)
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def _read(self) -> None:
        try:
            while (data := await self.stream.receive()) is not None:
                await self._act(pb.Frame.FromString(data))
            self.over = "finished"
        except ConnectionLost as error:
            self.over = str(error) or "lost"

    async def _act(self, frame: pb.Frame) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "ping":
            await self.send(pb.Frame(pong=pb.Pong(id=frame.ping.id, clock_ms=int(time.time() * 1000))))
        elif kind == "pong":
            self._ponged = frame.pong.id
        elif kind == "credentials":
            self.credentials = wire.from_credentials(frame.credentials)
        elif kind == "have":
            for shown in frame.have.heads:
                if shown.author not in self.serve:
                    await self.send(pb.Frame(want=pb.Want(author=shown.author, after=self._seq(shown.author))))
        elif kind == "records":
            await self._take(frame.records)
        elif kind == "want" and frame.want.author in self.serve:
            envelopes, head = self.serve[frame.want.author]
            after = 0 if frame.want.whole else frame.want.after
            if after > head.seq:
                return  # the request before is taken back
            pages: list[list[Envelope]] = [[]]
            for envelope in envelopes:
                if envelope.seq > after:
                    if sum(len(e.payload) for e in pages[-1]) > PAGE_BYTES:
                        pages.append([])
                    pages[-1].append(envelope)
            for number, part in enumerate(pages, 1):
                page = pb.Records(author=frame.want.author, after=after, whole=frame.want.whole)
                page.envelopes.extend(map(wire.to_envelope, part))
                if number == len(pages):
                    page.head.CopyFrom(wire.to_head(head))
                await self.send(pb.Frame(records=page))
                after = part[-1].seq if part else after
        elif kind == "confirm":
            self.confirmed[frame.confirm.author] = frame.confirm.seq

    def _seq(self, author: bytes) -> int:
        head = self.heads.get(author)
        return head.seq if head else 0

    async def _take(self, page: pb.Records) -> None:
        known = self.records.setdefault(page.author, {})
        for message in page.envelopes:
            envelope = wire.from_envelope(message)
            known[envelope.key] = envelope
        if page.HasField("head"):
            self.heads[page.author] = wire.from_head(page.head)
            await self.send(pb.Frame(confirm=pb.Confirm(author=page.author, seq=page.head.seq)))


class Rogue:
    """A device of its own, on the same machine. Use `rogue()`."""

    def __init__(self, key: SigningKey, endpoint: IrohEndpoint) -> None:
        self.key = key
        self.endpoint = endpoint
        self.author = Author()
        self.credentials = Credentials()
        self.blobs: dict[bytes, bytes] = {}
        """Content that is served, true or not, by hash."""
        self.answer: Callable[[Stream, pb.Get], Awaitable[None]] | None = None
        """Answers questions for content in another way than with `blobs`."""
        self.asked: list[bytes] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._sessions: list[Session] = []

    # ---- coming in
    async def redeem(self, ticket: str, change: Callable[[Invite], Invite] = lambda invite: invite) -> Credentials:
        """Becomes a member; raises Refusal with the code of the refusal."""
        invite = change(decode_ticket(ticket))
        connection = await self.endpoint.connect(invite.issuer, invite.addresses, JOIN_ALPN)
        try:
            stream = await connection.open_stream()
            ask = pb.Redeem(protocol=PROTOCOL, volume=invite.volume, secret=invite.secret, device_name="rogue")
            await stream.send(ask.SerializeToString())
            answer = await _answer(stream)
            told = pb.Redeemed.FromString(answer)
            if told.WhichOneof("answer") != "credentials":
                raise Refusal(told.refused)
            ask.confirm = True
            await stream.send(ask.SerializeToString())
            with contextlib.suppress(Refusal):
                await _answer(stream)
        finally:
            connection.close(0)
        self.credentials = wire.from_credentials(told.credentials)
        return self.credentials

    def certify(self, volume: VolumeId, author: Author | None = None) -> None:
        certificate = make_certificate((author or self.author).key, self.key, volume)
        known = self.credentials
        self.credentials = replace(known, certificates=(*known.certificates, certificate))

    async def connect(self, invite: Invite) -> Connection:
        connection = await self.endpoint.connect(invite.issuer, invite.addresses, SESSION_ALPN)
        self._tasks.append(asyncio.get_running_loop().create_task(self._serve_content(connection)))
        return connection

    async def session(self, connection: Connection, volume: VolumeId) -> Session:
        """Raises Refusal if the other side does not say welcome."""
        stream = await self.hello(connection, volume, pb.PURPOSE_SESSION)
        await _welcomed(stream)
        session = Session(stream)
        self._sessions.append(session)
        await session.send(pb.Frame(credentials=wire.to_credentials(self.credentials)))
        await session.send(pb.Frame(have=pb.Have(first=True)))
        return session

    async def hello(self, connection: Connection, volume: VolumeId, purpose: pb.Purpose.ValueType) -> Stream:
        stream = await connection.open_stream()
        hello = pb.Hello(
            protocol=PROTOCOL,
            volume=volume,
            purpose=purpose,
            credentials=wire.to_credentials(self.credentials),
            device_name="rogue",
            program="rogue 1",
            clock_ms=int(time.time() * 1000),
        )
        await stream.send(pb.Frame(hello=hello).SerializeToString())
        return stream

    async def welcome(self, connection: Connection, volume: VolumeId, purpose: pb.Purpose.ValueType) -> None:
        """Says hello; raises Refusal unless the other side says welcome."""
        await _welcomed(await self.hello(connection, volume, purpose))

    async def close_code(self, connection: Connection) -> int | None:
        """Code with which the other side closed the connection; None if it is still up."""
        try:
            return (await asyncio.wait_for(connection.wait_closed(), ANSWER_S)).code
        except TimeoutError:
            return None

    async def get(self, connection: Connection, volume: VolumeId, blob: bytes) -> bytes:
        """Content as served to us; raises Refusal."""
        stream = await self.hello(connection, volume, pb.PURPOSE_CONTENT)
        await _welcomed(stream)
        await stream.send(pb.Frame(get=pb.Get(id=1, hash=blob)).SerializeToString())
        found = b""
        while True:
            frame = pb.Frame.FromString(await _answer(stream))
            if frame.blob.missing:
                raise Refusal("missing")
            found += frame.blob.data
            if frame.blob.end:
                return found

    # ---- being asked
    async def _serve_content(self, connection: Connection) -> None:
        with contextlib.suppress(ConnectionLost):
            while True:
                stream = await connection.accept_stream()
                self._tasks.append(asyncio.get_running_loop().create_task(self._serve_stream(stream)))

    async def _serve_stream(self, stream: Stream) -> None:
        with contextlib.suppress(ConnectionLost):
            while (data := await stream.receive()) is not None:
                frame = pb.Frame.FromString(data)
                kind = frame.WhichOneof("frame")
                if kind == "hello":
                    if frame.hello.purpose != pb.PURPOSE_CONTENT:
                        stream.abort(3)  # one session is enough, and it is ours
                        return
                    welcome = pb.Welcome(protocol=PROTOCOL, device_name="rogue", program="rogue 1")
                    await stream.send(pb.Frame(welcome=welcome).SerializeToString())
                elif kind == "get":
                    self.asked.append(frame.get.hash)
                    if self.answer is not None:
                        await self.answer(stream, frame.get)
                        continue
                    data = self.blobs.get(frame.get.hash, b"")
                    missing = frame.get.hash not in self.blobs
                    blob = pb.Blob(id=frame.get.id, data=data, end=True, missing=missing, size=len(data))
                    await stream.send(pb.Frame(blob=blob).SerializeToString())
                elif kind == "hold":
                    held = pb.Held(id=frame.hold.id, held=[hash in self.blobs for hash in frame.hold.hashes])
                    await stream.send(pb.Frame(held=held).SerializeToString())

    async def close(self) -> None:
        for session in self._sessions:
            await session.close()
        await self.endpoint.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- making things up
    def file(
        self, name: bytes, content: bytes, parent: NodeId = ROOT_ID, author: Author | None = None, blob: bytes = b""
    ) -> NodeState:
        author = author or self.author
        node = NodeId(blake3(name + content + parent).digest(16))
        body: Body = Blob(blob) if blob else Inline(content)  # type: ignore[arg-type]
        return _node(author, node, Kind.FILE, name, parent, body, len(content))

    def directory(self, node: NodeId, name: bytes, parent: NodeId) -> NodeState:
        return _node(self.author, node, Kind.DIRECTORY, name, parent, Marker(), 0)


def _node(author: Author, node: NodeId, kind: Kind, name: bytes, parent: NodeId, body: Body, size: int) -> NodeState:
    dot, stamp = author.dot(), author.stamp()
    version = Version(dot, stamp, body, size, Register(time.time_ns(), stamp), "rogue")
    place = Place(parent, name)
    return new_node(node, kind, time.time_ns(), place, link_id(node, name), version, 0o644, stamp)


def record(state: NodeState) -> tuple[bytes, bytes]:
    return state.id, encode_state(state)


async def _answer(stream: Stream) -> bytes:
    try:
        async with asyncio.timeout(ANSWER_S):
            answer = await stream.receive()
    except TimeoutError:
        raise AssertionError("the other side neither answers nor refuses") from None
    except ConnectionLost:
        closed = await asyncio.wait_for(stream.connection.wait_closed(), 1) if stream.connection.closed else None
        raise Refusal(f"lost {closed.code if closed else 'stream'}") from None
    if answer is None:
        raise Refusal("finished")
    return answer


async def _welcomed(stream: Stream) -> None:
    frame = pb.Frame.FromString(await _answer(stream))
    if frame.WhichOneof("frame") != "welcome":
        raise Refusal(str(frame.WhichOneof("frame")))


@contextlib.asynccontextmanager
async def rogue() -> AsyncIterator[Rogue]:
    """A stranger with a key of its own; takes everything down at the end."""
    # Of two connections between two devices the one dialled by the lower key stays: ours, so that tests need not look.
    key = generate()
    while key.public[:2] > b"\x00\x0f":
        key = generate()
    endpoint = await bind_iroh(key.seed, CONFIG)
    made = Rogue(key, endpoint)
    try:
        yield made
    finally:
        await made.close()
