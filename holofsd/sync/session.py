# SPDX-License-Identifier: GPL-3.0-or-later
"""One session: the conversation of two members about one volume, on one stream.

One task reads and acts, another one sends what `Outgoing` has to say; the reader never waits for the sender, so two
sides that both send a lot cannot block each other. What the other side breaks ends this session and nothing else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

import structlog

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.core.document import Credentials, Head, Mark
from holofsd.core.errors import ConnectionLost, ProtocolViolation
from holofsd.core.ids import AuthorId, DeviceId
from holofsd.net.api import CloseCode, Stream
from holofsd.sync import frames
from holofsd.sync.config import MAX_HEADS, SyncConfig
from holofsd.sync.ingest import Ingest
from holofsd.sync.outgoing import Outgoing
from holofsd.sync.pages import Page

log = structlog.get_logger(__name__)

FAREWELL = 2.0


class Host(Protocol):
    """What a session needs of its volume."""

    ingest: Ingest
    config: SyncConfig

    def now_ms(self) -> int: ...
    async def learn_credentials(self, offered: Credentials) -> None: ...
    def heads_shown(self, session: Session, heads: list[Head]) -> None: ...
    def folded_shown(self, heads: list[Head]) -> None: ...
    def first_have_done(self, session: Session) -> None: ...
    def marks_received(self, marks: list[Mark], session: Session) -> None: ...


@dataclass(slots=True)
class PeerClock:
    """How far the other side's clock is ahead of ours, in ms, with half the round trip taken off."""

    ahead_ms: int | None = None

    def measured(self, theirs_ms: int, sent_ms: int, received_ms: int) -> None:
        self.ahead_ms = theirs_ms - (sent_ms + received_ms) // 2


class Session:
    """`opened_here`: this side opened the stream. Run it once; it returns or raises when the session is over."""

    def __init__(self, host: Host, stream: Stream, outgoing: Outgoing, peer: DeviceId, opened_here: bool) -> None:
        self._host = host
        self.stream = stream
        self.peer = peer
        self.opened_here = opened_here
        self.outgoing = outgoing
        self.clock = PeerClock()
        self.shown: dict[AuthorId, Head] = {}
        """What the other side says that it holds. Heads beyond ours, of authors that we know, are verified."""
        self.ready = asyncio.Event()
        """The other side has told what it holds."""
        self.ended = asyncio.Event()
        self._wake = asyncio.Event()
        self._pings: dict[int, int] = {}
        self._next_ping = 1
        self._leaving = False
        self._last_words: bytes | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._ignored = 0
        self._ignored_since = 0.0

    # ---- from outside
    def wake(self) -> None:
        """There is something to say."""
        self._wake.set()

    def close(self, code: int) -> None:
        self.stream.abort(code)

    def expel(self) -> None:
        """Tells the other side why (the credentials say it) and ends, soon even if it does not listen."""
        if not self._leaving:
            self._leaving = True
            self._deadline = asyncio.get_running_loop().call_later(FAREWELL, self.close, CloseCode.REFUSED)
        self.wake()

    def part(self, frame: bytes) -> None:
        """Ends with this frame instead: this device leaves the volume."""
        self._last_words = frame
        self.expel()

    def consider(self) -> None:
        """Asks for what the other side holds beyond us, where nobody else sends it already."""
        for head in self.shown.values():
            claim = self._host.ingest.claim(head, self)
            if claim is not None:
                self.outgoing.ask(head.author, *claim)
                self.wake()

    # ---- life
    async def run(self) -> None:
        """Raises ConnectionLost or ProtocolViolation; returns when either side said goodbye."""
        sender = asyncio.get_running_loop().create_task(self._send_all(), name="session sender")
        reader = asyncio.get_running_loop().create_task(self._read_all(), name="session reader")
        try:
            done, _ = await asyncio.wait((sender, reader), return_when=asyncio.FIRST_COMPLETED)
            if sender in done and reader not in done and sender.exception() is None:
                await asyncio.wait((reader,), timeout=FAREWELL)
        finally:
            self.ended.set()
            if self._deadline is not None:
                self._deadline.cancel()
            for task in (sender, reader):
                task.cancel()
            results = await asyncio.gather(sender, reader, return_exceptions=True)
        for result in results:
            if isinstance(result, ProtocolViolation):
                raise result
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _send_all(self) -> None:
        self._ping()
        while True:
            self._wake.clear()
            while not self._leaving and (frame := self.outgoing.next_frame()) is not None:
                await self.stream.send(frame)
            if self._leaving:
                await self.stream.send(self._last_words or self.outgoing.farewell(self.peer))
                await self.stream.finish()
                return
            try:
                async with asyncio.timeout(self._host.config.ping_interval):
                    await self._wake.wait()
            except TimeoutError:
                self._ping()

    def _ping(self) -> None:
        number, now = self._next_ping, self._host.now_ms()
        self._next_ping += 1
        self._pings = {number: now}
        self.outgoing.small(frames.ping(number, now))

    async def _read_all(self) -> None:
        while True:
            data = await self.stream.receive()
            if data is None:
                return
            await self._act(frames.parse(data))

    async def _act(self, frame: pb.Frame) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "records":
            await self._records(frame.records)
        elif kind == "have":
            await self._have(frame.have)
        elif kind == "want":
            self._want(frame.want)
        elif kind == "confirm":
            self._confirm(frame.confirm)
        elif kind == "marks":
            self._host.marks_received(frames.read_marks(frame.marks), self)
        elif kind == "credentials":
            await self._host.learn_credentials(frames.read_credentials(frame.credentials))
        elif kind == "ping":
            self.outgoing.small(frames.pong(frame.ping.id, self._host.now_ms()))
            self.wake()
        elif kind == "pong":
            self._pong(frame.pong)
        elif kind is None:
            self._ignore()  # of a newer protocol
        else:
            raise ProtocolViolation(f"A device sent a {kind} frame in the middle of a session.")

    # ---- frames
    async def _records(self, message: pb.Records) -> None:
        envelopes, head = frames.read_records(message)
        author = AuthorId(message.author)
        if head is not None:
            await self._host.ingest.check_heads([head])
            self._note(head)
        page = Page(author, message.after, message.whole, envelopes, head)
        if not self._host.ingest.knows(author):
            self._ignore()
        advanced = await self._host.ingest.page(page, self)
        if advanced is not None:
            self.outgoing.confirm(advanced)
            self.wake()
        if head is not None:
            self.consider()

    async def _have(self, message: pb.Have) -> None:
        heads = frames.read_heads(message)
        await self._host.ingest.check_heads(heads)
        self._host.folded_shown(frames.read_folded(message))
        for head in heads:
            self._note(head)
        self._host.heads_shown(self, heads)
        if message.first and not self.ready.is_set():
            self.ready.set()
            self._host.first_have_done(self)
        self.consider()

    def _note(self, head: Head) -> None:
        known = self.shown.get(head.author)
        if known is None or (known.seq, known.set_hash) < (head.seq, head.set_hash):
            if known is None and len(self.shown) >= 2 * MAX_HEADS:
                raise ProtocolViolation("A device named more authors than any volume has.")
            self.shown[head.author] = head
            self.outgoing.peer_holds(head)

    def _want(self, message: pb.Want) -> None:
        if len(message.author) != 32:
            raise ProtocolViolation("A device asked for an author that is none.")
        self.outgoing.serve(AuthorId(message.author), message.after, message.whole)
        self.wake()

    def _confirm(self, message: pb.Confirm) -> None:
        author = AuthorId(message.author)
        head = self._host.ingest.held(author)
        if head is not None and message.seq == head.seq:
            self._note(head)

    def _pong(self, message: pb.Pong) -> None:
        sent = self._pings.pop(message.id, None)
        if sent is not None:
            self.clock.measured(message.clock_ms, sent, self._host.now_ms())

    def _ignore(self) -> None:
        """Counts what nobody asked for; too much of it is an attack or a defect over there."""
        now = asyncio.get_running_loop().time()
        if now - self._ignored_since > 60:
            self._ignored, self._ignored_since = 0, now
        self._ignored += 1
        if self._ignored > self._host.config.ignored_most:
            raise ProtocolViolation("A device keeps sending what nobody asked for.")


class Dismissed(ConnectionLost):
    """The other side says that this device is no member any more; these credentials are to show it."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__("This device is not a member of the volume any more.")
        self.credentials = credentials


async def open_stream(stream: Stream, hello: bytes, timeout: float) -> pb.Welcome:
    """Says hello and waits for the answer. Raises ConnectionLost if refused or silent, Dismissed if we were removed."""
    await stream.send(hello)
    try:
        async with asyncio.timeout(timeout):
            answer = await stream.receive()
    except TimeoutError:
        stream.abort(CloseCode.SILENT)
        raise ConnectionLost("The other device did not answer.") from None
    if answer is None:
        raise ConnectionLost("The other device closed the stream.")
    frame = frames.parse(answer)
    if frame.WhichOneof("frame") == "credentials":
        raise Dismissed(frames.read_credentials(frame.credentials))
    if frame.WhichOneof("frame") != "welcome":
        raise ProtocolViolation("A device answered a hello with something else than a welcome.")
    return frame.welcome
