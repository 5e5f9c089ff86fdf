# SPDX-License-Identifier: GPL-3.0-or-later
"""The device that lies: a key on the fake network, its conversations with the honest ones, and what it has heard.

It speaks the protocol of docs/protocol.md by itself, frame by frame, and uses nothing of the product's judgement. Asked
for nothing, it behaves: it takes what it is shown, serves what it published, answers pings. What it says beyond that
are the functions of `model.lies`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.content import hash_bytes
from holofsd.codec.records import decode_state
from holofsd.codec.signing import SigningKey, make_certificate, sign_envelope, sign_head
from holofsd.codec.ticket import decode_ticket
from holofsd.core import sethash
from holofsd.core.document import Credentials, Envelope, Head, Mark
from holofsd.core.errors import ConnectionLost, HoloError, Refused, Unreachable
from holofsd.core.ids import AuthorId, DeviceId, Dot, Hlc, NodeId, VolumeId
from holofsd.core.join import join
from holofsd.core.state import Kind, NodeState
from holofsd.net.api import JOIN_ALPN, SESSION_ALPN, Connection, Endpoint, Stream
from holofsd.net.framing import FramedStream
from holofsd.sync.invites import redeem
from model.liar_chunks import LiarChunks

NAME = "mal"
PATIENCE_S = 3.0
"""Virtual seconds that the liar waits for an answer, or for a frame to be taken."""
PAGE = 1000
PAGE_BYTES = 1 << 20
REQUEST = 1 << 16

Record = tuple[bytes, bytes]
"""Key and payload."""


def key_below(others: Iterable[bytes], seed: int) -> SigningKey:
    """A node key below those of all the others: of two connections the one that the liar dialled stays."""
    least, number = min(others), 0
    while (key := SigningKey(hash_bytes(f"{NAME} {seed} {number}".encode()))).public >= least:
        number += 1
    return key


@dataclass
class LiarAuthor:
    """A signing key with what was published under it. `serve` may show another history to some devices."""

    key: SigningKey
    volume: VolumeId
    seq: int = 0
    dots: int = 0
    newest: dict[bytes, Envelope] = field(default_factory=dict)

    @property
    def id(self) -> AuthorId:
        return AuthorId(self.key.public)

    def dot(self) -> Dot:
        self.dots += 1
        return Dot(self.id, self.dots)

    def publish(self, records: Sequence[Record]) -> list[Envelope]:
        made = []
        for key, payload in records:
            self.seq += 1
            made.append(sign_envelope(self.key, self.volume, self.seq, key, payload))
            self.newest[key] = made[-1]
        return made

    def head(self, **changed: int) -> Head:
        """Honest, but for what is given."""
        seq, dots = changed.get("seq", self.seq), changed.get("dots", self.dots)
        return sign_head(self.key, self.volume, seq, dots, self.set_hash())

    def set_hash(self) -> bytes:
        total = sethash.EMPTY
        for envelope in self.newest.values():
            element = sethash.element(envelope.key, envelope.seq, hash_bytes(envelope.payload))
            total = sethash.add(total, element)
        return sethash.to_bytes(total)

    def copy(self) -> LiarAuthor:
        return replace(self, newest=dict(self.newest))


class Honest(Protocol):
    """An honest device, as the liar knows it."""

    id: DeviceId
    name: str
    is_up: bool

    def addresses(self) -> list[str]: ...


class Place(Protocol):
    """World of the liar: a network, a volume, a clock."""

    @property
    def volume(self) -> VolumeId: ...

    @property
    def seed(self) -> int: ...

    def now_ms(self) -> int: ...

    async def endpoint(self, key: SigningKey) -> Endpoint:
        """Endpoint of a device with this key. A former one of the same key is gone without a word."""


class Talk:
    """One session with one honest device. Runs until either side ends it."""

    def __init__(self, liar: Liar, stream: Stream, device: DeviceId) -> None:
        self.liar, self.stream, self.device = liar, stream, device
        self.over = False
        self.task = asyncio.create_task(self._read())

    async def say(self, frame: pb.Frame) -> None:
        """Gives up where the other side does not take it, or is gone."""
        await self.say_bytes(frame.SerializeToString())

    async def say_bytes(self, frame: bytes) -> None:
        with contextlib.suppress(HoloError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self.stream.send(frame)

    async def raw(self, data: bytes) -> None:
        """Bytes that are no frame, or a part of one."""
        assert isinstance(self.stream, FramedStream)
        with contextlib.suppress(HoloError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self.stream._write(data)

    async def show(self, *heads: Head, first: bool = False) -> None:
        await self.say(pb.Frame(have=pb.Have(heads=[wire.to_head(head) for head in heads], first=first)))

    async def records(
        self, author: bytes, after: int, envelopes: Sequence[Envelope], head: Head | None, whole: bool = False
    ) -> None:
        page = pb.Records(author=author, after=after, whole=whole, envelopes=map(wire.to_envelope, envelopes))
        if head is not None:
            page.head.CopyFrom(wire.to_head(head))
        await self.say(pb.Frame(records=page))

    async def _read(self) -> None:
        try:
            while (data := await self.stream.receive()) is not None:
                await self._act(pb.Frame.FromString(data))
        except HoloError:
            pass
        finally:
            self.over = True

    async def _act(self, frame: pb.Frame) -> None:
        if self.liar.is_silenced:
            return
        kind = frame.WhichOneof("frame")
        if kind == "ping":
            await self.say(pb.Frame(pong=pb.Pong(id=frame.ping.id, clock_ms=self.liar.clock_ms())))
        elif kind == "have":
            for head in frame.have.heads:
                await self._ask(wire.from_head(head))
        elif kind == "records":
            self.liar.heard_records(frame.records)
            if frame.records.HasField("head"):
                confirm = pb.Confirm(author=frame.records.author, seq=frame.records.head.seq)
                await self.say(pb.Frame(confirm=confirm))
        elif kind == "want":
            await self._serve(frame.want)
        elif kind == "credentials":
            with contextlib.suppress(Refused):
                self.liar.heard_credentials(wire.from_credentials(frame.credentials))
        elif kind == "marks":
            for mark in frame.marks.marks:
                self.liar.marks[DeviceId(mark.device)] = wire.from_mark(mark)

    async def _ask(self, head: Head) -> None:
        held = self.liar.heads.get(head.author)
        if head.author not in self.liar.authors and (held is None or held.seq < head.seq):
            await self.say(pb.Frame(want=pb.Want(author=head.author, after=held.seq if held else 0)))

    async def _serve(self, want: pb.Want) -> None:
        author = self.liar.history_for(AuthorId(want.author), self.device)
        if author is None or self.liar.is_mute:
            return
        after = last = 0 if want.whole else want.after
        wanted = sorted((e for e in author.newest.values() if e.seq > after), key=lambda e: e.seq)
        pages: list[list[Envelope]] = [[]]
        size = 0
        for envelope in wanted:
            if len(pages[-1]) >= PAGE or size > PAGE_BYTES:
                pages.append([])
                size = 0
            pages[-1].append(envelope)
            size += len(envelope.payload)
        for page in pages:
            head = self.liar.lied_head(author) if page is pages[-1] else None
            await self.records(author.id, last, page, head, want.whole)
            last = page[-1].seq if page else last


class Liar:
    """`devices`: the honest ones. Call `begin` inside of the loop, and `end`."""

    def __init__(self, place: Place, devices: Sequence[Honest], made: Callable[[bytes], bytes]) -> None:
        self.place, self.devices = place, devices
        self.made = made
        """Told of every content that the liar makes up; gives its hash."""
        self.key = key_below([device.id for device in devices], place.seed)
        self.id = DeviceId(self.key.public)
        self.credentials = Credentials()
        self.authors: dict[AuthorId, LiarAuthor] = {}
        self.apart: dict[tuple[AuthorId, DeviceId], LiarAuthor] = {}
        """Other histories of an author, for some devices."""
        self.false_heads: dict[AuthorId, Head] = {}
        """What is shown as the head of an author instead of a true one."""
        self.heads: dict[AuthorId, Head] = {}
        """What the honest published, as it was heard..."""
        self.heard: dict[AuthorId, dict[bytes, Envelope]] = {}
        self.log: list[tuple[Head, tuple[Envelope, ...], int]] = []
        """... and each page of it, for whoever says it again: head, envelopes, after."""
        self.marks: dict[DeviceId, Mark] = {}
        self.blobs: dict[bytes, bytes] = {}
        """Content to serve by hash, true or not."""
        self.chunks = LiarChunks(self.random_bytes, made)
        self.content_manner = ""
        """How content is served: as it is, or `wrong`, `short`, `long`, `silent`, `drip`, `other id`."""
        self.pages_manner = ""
        """How records are served: as they are, or `mute`."""
        self.clock_off = 0
        self.held: list[Record] = []
        """Records that go out together with the next ones."""
        self.talks: dict[DeviceId, Talk] = {}
        self.trash: list[Stream | Connection] = []
        """What is left open on purpose."""
        self.was_member = False
        self.is_silenced = False
        """Nothing is answered any more."""
        self._tasks: list[asyncio.Task[None]] = []
        self._served: list[Connection] = []
        self._strangers: list[Endpoint] = []
        self._made = 0

    # ---- life
    async def begin(self) -> None:
        self.endpoint = await self.place.endpoint(self.key)
        self._tasks.append(asyncio.create_task(self._accept()))
        self.new_author()

    async def end(self) -> None:
        for talk in self.talks.values():
            talk.task.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *(talk.task for talk in self.talks.values()), return_exceptions=True)
        for endpoint in (*self._strangers, self.endpoint):
            await endpoint.close()

    async def vanish(self) -> None:
        """Gone without a word, and back at once: its connections hang."""
        for talk in self.talks.values():
            talk.task.cancel()
        self.talks.clear()
        self.endpoint = await self.place.endpoint(self.key)
        self._tasks.append(asyncio.create_task(self._accept()))

    @property
    def volume(self) -> VolumeId:
        return self.place.volume

    def now_ms(self) -> int:
        return self.place.now_ms()

    def clock_ms(self) -> int:
        return self.clock_off or self.now_ms()

    def silence(self) -> None:
        self.is_silenced = True

    @property
    def is_mute(self) -> bool:
        return self.pages_manner == "mute"

    # ---- membership, through an honest admin
    async def join(self, ticket: str) -> None:
        with contextlib.suppress(HoloError):
            found = await redeem(self.endpoint, decode_ticket(ticket), NAME)
            self.heard_credentials(found.credentials)
            self.was_member = True

    def heard_credentials(self, offered: Credentials) -> None:
        known = self.credentials
        self.credentials = Credentials(
            tuple({*known.grants, *offered.grants}),
            tuple({*known.removals, *offered.removals}),
            tuple({*known.certificates, *offered.certificates}),
        )

    def shown_credentials(self) -> Credentials:
        """Credentials that prove the liar's membership as well as can be, and is in the limits of a hello."""
        known = self.credentials
        mine = [c for c in known.certificates if c.author in self.authors]
        order = sorted(known.grants, key=lambda g: g.signature)[:600]
        return Credentials(tuple(order), tuple(sorted(known.removals, key=lambda r: r.signature))[:200], tuple(mine))

    # ---- authors and records
    def new_author(self) -> LiarAuthor:
        seed = hash_bytes(f"{NAME} author {len(self.authors)} {self.place.seed}".encode())
        author = LiarAuthor(SigningKey(seed), self.volume)
        self.authors[author.id] = author
        self.author = author
        certificate = make_certificate(author.key, self.key, self.volume)
        self.heard_credentials(Credentials(certificates=(certificate,)))
        return author

    def history_for(self, author: AuthorId, device: DeviceId) -> LiarAuthor | None:
        return self.apart.get((author, device)) or self.authors.get(author)

    def lied_head(self, author: LiarAuthor) -> Head:
        false = self.false_heads.get(author.id)
        return false if false is not None and false.seq >= author.seq else author.head()

    def stamp(self, ahead_ms: int = 0) -> Hlc:
        self._made += 1
        return Hlc(self.now_ms() + ahead_ms, self._made % 4096, self.author.id)

    def fresh(self, what: str = "lie", size: int = 24) -> bytes:
        """Content that nothing else has."""
        self._made += 1
        mark = f"<{what} {self._made}>".encode()
        data = mark * max(1, size // len(mark))
        self.made(data)
        return data

    def random_bytes(self, size: int = 32) -> bytes:
        self._made += 1
        return hash_bytes(f"random {self._made}".encode()) * (size // 32) + bytes(
            hash_bytes(f"rest {self._made}".encode())[: size % 32]
        )

    def hold_back(self, *records: Record) -> None:
        self.held += records

    async def publish(self, *records: Record) -> None:
        """Publish to all devices that the liar talks with; the others ask for it later."""
        said, self.held = [*self.held, *records], []
        if not said:
            return
        after = self.author.seq
        envelopes = self.author.publish(said)
        head = self.author.head()
        for talk in self.talking():
            if len(envelopes) <= PAGE and sum(len(e.payload) for e in envelopes) <= PAGE_BYTES:
                await talk.records(self.author.id, after, envelopes, head)
            await talk.show(head)

    # ---- what was heard
    def heard_records(self, page: pb.Records) -> None:
        author = AuthorId(page.author)
        envelopes = tuple(wire.from_envelope(e) for e in page.envelopes)
        known = self.heard.setdefault(author, {})
        known.update((e.key, e) for e in envelopes)
        if page.HasField("head"):
            head = self.heads[author] = wire.from_head(page.head)
            self.log.append((head, envelopes, page.after))
            del self.log[:-64]

    def nodes(self, *kinds: Kind) -> list[NodeState]:
        """States of nodes as the honest told them, in an order that does not depend on chance."""
        states: dict[NodeId, NodeState] = {}
        for author in sorted(self.heard):
            for key, envelope in self.heard[author].items():
                if len(key) != 16:
                    continue
                with contextlib.suppress(HoloError):
                    state = decode_state(envelope.payload)
                    known = states.get(state.id)
                    states[state.id] = state if known is None else join(known, state)
        found = [states[node] for node in sorted(states)]
        return [state for state in found if not kinds or state.kind in kinds]

    def pick(self, number: int, *kinds: Kind) -> NodeState | None:
        found = self.nodes(*kinds)
        return found[number % len(found)] if found else None

    # ---- talking
    def talking(self) -> list[Talk]:
        return [talk for device, talk in sorted(self.talks.items()) if not talk.over]

    async def talk(self, device: Honest) -> Talk | None:
        """The session with that device, a new one if there is none. None where it refuses."""
        talk = self.talks.get(device.id)
        if talk is not None and not talk.over and not talk.stream.connection.closed:
            return talk
        stream = await self.hello(device, pb.PURPOSE_SESSION)
        if stream is None or not await self._is_welcome(stream):
            return None
        return await self._begin_talk(stream, device.id)

    async def _begin_talk(self, stream: Stream, device: DeviceId) -> Talk:
        former = self.talks.get(device)
        if former is not None:
            former.task.cancel()
        talk = self.talks[device] = Talk(self, stream, device)
        await talk.say(pb.Frame(credentials=wire.to_credentials(self.shown_credentials())))
        heads = [self.lied_head(self.history_for(a, device) or author) for a, author in self.authors.items()]
        await talk.show(*(head for head in heads if head.seq), first=True)
        return talk

    async def connect(
        self, device: Honest, alpn: bytes = SESSION_ALPN, key: SigningKey | None = None
    ) -> Connection | None:
        """`key`: of a stranger of whom nobody ever heard."""
        endpoint = self.endpoint
        if key is not None:
            endpoint = await self.place.endpoint(key)
            self._strangers.append(endpoint)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await endpoint.connect(device.id, device.addresses(), alpn)
        except (TimeoutError, Unreachable, ConnectionLost):
            return None

    async def hello(
        self, device: Honest, purpose: int, change: Callable[[pb.Hello], None] | None = None
    ) -> Stream | None:
        if not device.is_up:
            return None
        talk = self.talks.get(device.id)
        connection: Connection | None = None
        if talk is not None and not talk.stream.connection.closed:
            connection = talk.stream.connection
        else:
            connection = await self.connect(device)
        if connection is None:
            return None
        self._serve(connection)
        hello = pb.Hello(
            protocol=1,
            volume=self.volume,
            purpose=pb.Purpose.ValueType(purpose),
            credentials=wire.to_credentials(self.shown_credentials()),
            device_name=NAME,
            program="mal 1",
            clock_ms=min(self.clock_ms(), (1 << 64) - 1),
            instance=hash_bytes(b"mal")[:16],
        )
        if change is not None:
            change(hello)
        return await self.opened(connection, pb.Frame(hello=hello).SerializeToString())

    async def opened(self, connection: Connection, first: bytes | None = None) -> Stream | None:
        with contextlib.suppress(HoloError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                stream = await connection.open_stream()
                if first is not None:
                    await stream.send(first)
                return stream
        return None

    @staticmethod
    async def _is_welcome(stream: Stream) -> bool:
        with contextlib.suppress(HoloError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                data = await stream.receive()
            return data is not None and pb.Frame.FromString(data).WhichOneof("frame") == "welcome"
        return False

    # ---- being asked
    async def _accept(self) -> None:
        endpoint = self.endpoint
        with contextlib.suppress(HoloError):
            while True:
                connection = await endpoint.accept()
                if connection.alpn == JOIN_ALPN:
                    connection.close(0)
                else:
                    self._serve(connection)

    def _serve(self, connection: Connection) -> None:
        """Once for each connection."""
        self._served = [served for served in self._served if not served.closed]
        if connection not in self._served:
            self._served.append(connection)
            self._spawn(self._serve_streams(connection))

    def _spawn(self, work: Awaitable[None]) -> None:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.ensure_future(work))

    async def _serve_streams(self, connection: Connection) -> None:
        with contextlib.suppress(HoloError):
            while True:
                stream = await connection.accept_stream()
                self._spawn(self._serve_stream(connection, stream))

    async def _serve_stream(self, connection: Connection, stream: Stream) -> None:
        with contextlib.suppress(HoloError):
            data = await stream.receive()
            hello = pb.Frame.FromString(data or b"").hello
            welcome = pb.Welcome(protocol=1, device_name=NAME, program="mal 1", clock_ms=self.clock_ms())
            if hello.purpose == pb.PURPOSE_SESSION:
                talk = self.talks.get(connection.peer)
                if talk is not None and not talk.over:
                    stream.abort(1)
                    return
                await stream.send(pb.Frame(welcome=welcome).SerializeToString())
                await self._begin_talk(stream, connection.peer)
            elif hello.purpose == pb.PURPOSE_CONTENT:
                await stream.send(pb.Frame(welcome=welcome).SerializeToString())
                await self._serve_content(stream)

    async def _serve_content(self, stream: Stream) -> None:
        while (data := await stream.receive(REQUEST)) is not None:
            frame = pb.Frame.FromString(data)
            if frame.WhichOneof("frame") == "get":
                await self._give(stream, frame.get)
            else:
                await self.chunks.serve(stream, frame)

    async def _give(self, stream: Stream, get: pb.Get) -> None:
        manner = self.content_manner
        held = self.blobs.get(get.hash)
        if manner == "silent":
            await asyncio.get_running_loop().create_future()
        if held is None and not manner:
            await self._answer(stream, pb.Blob(id=get.id, missing=True, end=True))
        elif manner == "drip":
            for _ in range(200):
                await self._answer(stream, pb.Blob(id=get.id, data=self.random_bytes(1024), size=1 << 20))
                await asyncio.sleep(3.0)
        elif manner == "other id":
            await self._answer(stream, pb.Blob(id=get.id + 7, data=b"x", end=True, size=1))
        else:
            data = {"wrong": b"wrong" * 9, "short": b"", "long": self.random_bytes(300_000)}.get(manner, held or b"")
            data = data[get.offset :]
            for start in range(0, max(len(data), 1), 40_000):
                piece = data[start : start + 40_000]
                end = start + 40_000 >= len(data)
                await self._answer(stream, pb.Blob(id=get.id, data=piece, end=end, size=len(data)))

    @staticmethod
    async def _answer(stream: Stream, blob: pb.Blob) -> None:
        await stream.send(pb.Frame(blob=blob).SerializeToString())
