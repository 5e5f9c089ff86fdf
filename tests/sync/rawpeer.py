# SPDX-License-Identifier: GPL-3.0-or-later
"""A peer that sends whatever a test wants, frame by frame, over the fake network."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.content import hash_bytes
from holofsd.codec.records import encode_state
from holofsd.codec.signing import SigningKey, generate, make_certificate, sign_envelope, sign_head
from holofsd.core import edit, sethash
from holofsd.core.document import Credentials, Envelope, Head
from holofsd.core.errors import ConnectionLost
from holofsd.core.ids import ROOT_ID, AuthorId, DeviceId, Dot, Hlc, NodeId, VolumeId
from holofsd.core.state import Inline, Kind, NodeState, Place, Register, Version
from holofsd.net.api import SESSION_ALPN, CloseCode, Connection, Stream
from holofsd.net.fake import FakeNetwork
from holofsd.sync import frames
from holofsd.sync.invites import RedeemResult


@dataclass
class Author:
    """A key and what was said under it, with an honest set hash."""

    volume: VolumeId
    key: SigningKey = field(default_factory=generate)
    newest: dict[bytes, Envelope] = field(default_factory=dict)
    seq: int = 0
    dots: int = 0

    @property
    def id(self) -> AuthorId:
        return AuthorId(self.key.public)

    def file(self, name: str, data: bytes, wall_ms: int = 1_700_000_000_000) -> NodeState:
        self.dots += 1
        stamp = Hlc(wall_ms, self.dots, self.id)
        version = Version(Dot(self.id, self.dots), stamp, Inline(data), len(data), Register(0, stamp), "raw")
        node = NodeId(hash_bytes(name.encode())[:16])
        place = Place(ROOT_ID, name.encode())
        return edit.new_node(node, Kind.FILE, 0, place, edit.link_id(node), version, 0o644, stamp)

    def say(self, state: NodeState) -> Envelope:
        return self.say_bytes(state.id, encode_state(state))

    def say_bytes(self, key: bytes, payload: bytes) -> Envelope:
        self.seq += 1
        envelope = sign_envelope(self.key, self.volume, self.seq, key, payload)
        self.newest[key] = envelope
        return envelope

    def head(self) -> Head:
        total = sethash.EMPTY
        for envelope in self.newest.values():
            element = sethash.element(envelope.key, envelope.seq, hash_bytes(envelope.payload))
            total = sethash.add(total, element)
        return sign_head(self.key, self.volume, self.seq, self.dots, sethash.to_bytes(total))


class RawPeer:
    """A device key on the network. Frames that arrive are kept by kind."""

    def __init__(self, network: FakeNetwork, name: str) -> None:
        self.key = SigningKey(name.encode().ljust(32, b"."))
        self.id = DeviceId(self.key.public)
        self.network = network
        self.endpoint = network.endpoint(self.id)
        self.connection: Connection | None = None
        self.stream: Stream | None = None
        self.heard: list[pb.Frame] = []

    async def connect(self, other: DeviceId) -> Connection:
        address = self.network._endpoints[other].addresses()
        self.connection = await self.endpoint.connect(other, address, SESSION_ALPN)
        return self.connection

    async def session(self, other: DeviceId, joined: RedeemResult, *authors: Author) -> Stream:
        """Says hello as a member, and shows its credentials with certificates for these authors."""
        connection = self.connection or await self.connect(other)
        certificates = tuple(make_certificate(author.key, self.key, joined.volume) for author in authors)
        mine = Credentials(joined.credentials.grants, joined.credentials.removals, certificates)
        self.stream = await connection.open_stream()
        await self.stream.send(frames.hello(joined.volume, pb.PURPOSE_SESSION, mine, "raw", 0))
        await self.hear("welcome")
        await self.stream.send(frames.credentials(mine))
        await self.stream.send(frames.have([], first=True))
        await self.hear("have")
        return self.stream

    async def send(self, frame: bytes) -> None:
        assert self.stream is not None
        await self.stream.send(frame)

    async def push(self, author: Author, *envelopes: Envelope, after: int, head: Head | None = None) -> None:
        await self.send(frames.records(author.id, after, False, envelopes, head or author.head()))

    async def hear_any(self, limit: float = 30.0) -> pb.Frame:
        """The next frame, whatever it is."""
        assert self.stream is not None
        async with asyncio.timeout(limit):
            data = await self.stream.receive()
        assert data is not None, "the stream ended"
        frame = pb.Frame.FromString(data)
        self.heard.append(frame)
        return frame

    async def hear(self, kind: str, limit: float = 30.0) -> pb.Frame:
        """The next frame of that kind; others before it are kept in `heard`."""
        assert self.stream is not None
        async with asyncio.timeout(limit):
            while True:
                data = await self.stream.receive()
                assert data is not None, f"the stream ended while waiting for {kind}"
                frame = pb.Frame.FromString(data)
                self.heard.append(frame)
                if frame.WhichOneof("frame") == kind:
                    return frame

    async def is_thrown_out(self, limit: float = 30.0) -> bool:
        """The other side gives this stream up."""
        assert self.stream is not None
        async with asyncio.timeout(limit):
            try:
                while await self.stream.receive() is not None:
                    pass
            except ConnectionLost:
                return True
        return False


async def welcome(stream: Stream, hello: pb.Hello) -> None:
    """Answers a hello for content. Another session is refused: one of two is closed, and it may be the test's own."""
    if hello.purpose == pb.PURPOSE_SESSION:
        stream.abort(CloseCode.DUPLICATE)
    else:
        await stream.send(frames.welcome("raw", 0))


def credentials_of(frame: pb.Frame) -> Credentials:
    return wire.from_credentials(frame.credentials)
