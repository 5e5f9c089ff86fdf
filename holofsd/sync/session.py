# SPDX-License-Identifier: GPL-3.0-or-later
"""One session: the conversation of two members about one volume, on one stream.

One task reads and acts, another one sends what `Outgoing` has to say; the reader never waits for the sender, so two
sides that both send a lot cannot block each other. What the other side breaks ends this session and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import structlog
from blake3 import blake3

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.core.document import Credentials, Head, Mark
from holofsd.core.errors import ConnectionLost, ProtocolViolation
from holofsd.core.ids import AuthorId, DeviceId
from holofsd.core.pacing import TrafficLane
from holofsd.net.api import CloseCode, Stream
from holofsd.sync import frames
from holofsd.sync.config import MAX_HEADS, SyncConfig
from holofsd.sync.dealings import AllDealings
from holofsd.sync.ingest import Ingest
from holofsd.sync.outgoing import Outgoing
from holofsd.sync.pacing import TrafficLimits

log = structlog.get_logger(__name__)

FAREWELL = 2.0
BYTES_OF_COST = 1500
"""So many bytes of a frame cost as much to parse, at worst, as a small frame to act on."""
BYTES_OF_FIELD = 15
"""A field that is looked at before a frame is parsed (`codec.shape`) takes as long as so many bytes, half a µs."""
OWN_MARK = 40
"""What a device's word of what it holds costs: what it lacked is asked of it again."""
ENVELOPE_BYTES = 300
"""Of a record beside its payload, at most."""


class Host(Protocol):
    """Interface of a session to its volume."""

    ingest: Ingest
    config: SyncConfig
    dealings: AllDealings
    limits: TrafficLimits

    def now_ms(self) -> int: ...
    async def learn_credentials(self, offered: Credentials) -> None: ...
    def heads_shown(self, session: Session, heads: list[Head]) -> None: ...
    def folded_shown(self, heads: list[Head]) -> None: ...
    def first_have_done(self, session: Session) -> None: ...
    def marks_received(self, marks: list[Mark], session: Session) -> None: ...


@dataclass(slots=True)
class PeerClock:
    """Clock of the other side: how far it is ahead of ours at least, in ms; less than zero where it is behind.

    A busy machine reads late, so what it said lies anywhere between the asking and the reading of the answer.
    """

    ahead_ms: int | None = None

    def measured(self, theirs_ms: int, sent_ms: int | None, received_ms: int) -> None:
        """`sent_ms`: our time at which it was asked; None: it said so unasked, and when is not known."""
        behind_ms = 0 if sent_ms is None else theirs_ms - sent_ms
        self.ahead_ms = max(theirs_ms - received_ms, min(behind_ms, 0))


class Session:
    """Conversation of two members about one volume, on one stream.

    `opened_here`: this side opened the stream. Run it once; it returns or raises when the session is over.
    """

    def __init__(self, host: Host, stream: Stream, outgoing: Outgoing, peer: DeviceId, opened_here: bool) -> None:
        self._host = host
        self.stream = stream
        self.peer = peer
        self.opened_here = opened_here
        self.outgoing = outgoing
        outgoing.under_limits = lambda most: host.limits.most_sent(stream, most)
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
        self._dealings = host.dealings.of(peer)
        self._ping_at = 0.0
        self._last_credentials = b""

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

    def end_with(self, frame: bytes) -> None:
        """Ends with this frame instead: this device leaves the volume."""
        self._last_words = frame
        self.expel()

    def consider(self, authors: Iterable[AuthorId] | None = None) -> None:
        """Asks for what the other side holds beyond us of these authors, else of all, where nobody else sends it
        already. Anybody can show heads of authors that there are not: those cost nothing here."""
        for author in self.shown if authors is None else authors:
            if self._host.ingest.knows(author) and (claim := self._host.ingest.claim(self.shown[author], self)):
                self.outgoing.ask(author, *claim)
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
                await self._host.limits.sending(self.stream, len(frame), TrafficLane.RECORDS)
                await self.stream.send(frame)
            if self._leaving:
                await self.stream.send(self._last_words or self.outgoing.farewell(self.peer))
                await self.stream.finish()
                return
            await self._wait_for_something_to_say()

    async def _wait_for_something_to_say(self) -> None:
        now = asyncio.get_running_loop().time()
        until = self._ping_at
        if (pause := self.outgoing.pause()) > 0:
            until = min(until, now + pause)
        try:
            async with asyncio.timeout(max(0.0, until - now)):
                await self._wake.wait()
        except TimeoutError:
            if until == self._ping_at:
                self._ping()

    def _ping(self) -> None:
        number, now = self._next_ping, self._host.now_ms()
        self._ping_at = asyncio.get_running_loop().time() + self._host.config.ping_interval
        self._next_ping += 1
        self._pings = {number: now}
        self.outgoing.small(frames.ping(number, now))

    async def _read_all(self) -> None:
        while True:
            data = await self.stream.receive()
            if data is None:
                return
            await self._host.limits.received(self.stream, len(data), TrafficLane.RECORDS)
            frame, fields = frames.parse_counted(data)
            cost = await self._act(frame, len(data) + BYTES_OF_FIELD * fields)
            wait = self._dealings.talked(cost, asyncio.get_running_loop().time()) if cost else 0.0
            if wait > 0:
                # Not read meanwhile, so that the other side has to wait too.
                await asyncio.sleep(wait)

    async def _act(self, frame: pb.Frame, size: int) -> float:
        """Acts on a frame; returns what it costs of the other side's allowance, in units of about 50 µs. Records that
        it was asked for cost nothing."""
        kind = frame.WhichOneof("frame")
        if kind == "records":
            return await self._records(frame.records, size)
        parsing = 1 + size / BYTES_OF_COST
        if kind == "have":
            return parsing + await self._have(frame.have)
        if kind == "credentials":
            return parsing + await self._credentials(frame.credentials)
        if kind == "marks":
            marks = frames.read_marks(frame.marks)
            self._host.marks_received(marks, self)
            about_itself = any(mark.device == self.peer for mark in marks)
            return parsing + 4 * len(marks) + OWN_MARK * about_itself
        if kind == "want":
            self._want(frame.want)
        elif kind == "confirm":
            self._confirm(frame.confirm)
        elif kind == "ping":
            self.outgoing.small(frames.pong(frame.ping.id, self._host.now_ms()))
            self.wake()
        elif kind == "pong":
            self._pong(frame.pong)
        elif kind is None:
            self._ignore()  # of a newer protocol
        else:
            raise ProtocolViolation(f"A device sent a {kind} frame in the middle of a session.")
        return parsing

    # ---- frames
    async def _records(self, message: pb.Records, size: int) -> float:
        page = frames.read_records(message)
        if page.head is not None:
            await self._host.ingest.check_heads([page.head])
            self._note(page.head)
        if not self._host.ingest.knows(page.author):
            self._ignore()
        is_asked_for = self._host.ingest.expects(page, self)
        advanced = await self._host.ingest.page(page, self)
        if advanced is not None:
            self.outgoing.confirm(advanced)
            self.wake()
        if page.head is not None:
            self.consider((page.author,))
        # What is neither a record nor around one was not asked for either.
        used = sum(len(envelope.payload) + ENVELOPE_BYTES for envelope in page.envelopes) if is_asked_for else 0
        around = max(0, size - used - ENVELOPE_BYTES) / BYTES_OF_COST
        return around if is_asked_for and page.envelopes else 1 + around + len(page.envelopes) / 4

    async def _credentials(self, message: pb.Credentials) -> float:
        shown = blake3(message.SerializeToString(deterministic=True)).digest()
        if shown == self._last_credentials:
            return 0
        known = frames.read_credentials(message)
        await self._host.learn_credentials(known)
        self._last_credentials = shown
        return known.size() / 4

    async def _have(self, message: pb.Have) -> float:
        heads, folded = frames.read_heads(message), frames.read_folded(message)
        widest = frames.read_widest(message)
        await self._host.ingest.check_heads((*heads, *widest))
        self._host.ingest.widest.take(head for head in widest if self._host.ingest.knows(head.author))
        self._host.folded_shown(folded)
        for head in heads:
            self._note(head)
        self._host.heads_shown(self, heads)
        if message.first and not self.ready.is_set():
            self.ready.set()
            self._host.first_have_done(self)
        # Of the others nothing changed, and there may be thousands: `Host` looks at them where something does.
        self.consider(dict.fromkeys(head.author for head in heads))
        return (len(heads) + len(folded) + len(widest)) / 4

    def _note(self, head: Head) -> None:
        known = self.shown.get(head.author)
        if known is None or (known.seq, known.set_hash, known.dots) < (head.seq, head.set_hash, head.dots):
            if known is None and len(self.shown) >= 2 * MAX_HEADS:
                raise ProtocolViolation("A device named more authors than any volume has.")
            self.shown[head.author] = head
            self.outgoing.peer_holds(head)

    def _want(self, message: pb.Want) -> None:
        wish = frames.read_want(message)
        self.outgoing.serve(wish.author, wish.after, wish.whole)
        self.wake()

    def _confirm(self, message: pb.Confirm) -> None:
        author, seq = frames.read_confirm(message)
        head = self._host.ingest.held(author)
        if head is not None and seq == head.seq:
            self._note(head)

    def _pong(self, message: pb.Pong) -> None:
        number, clock_ms = frames.read_pong(message)
        sent = self._pings.pop(number, None)
        if sent is not None:
            self.clock.measured(clock_ms, sent, self._host.now_ms())

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


async def open_stream(stream: Stream, hello: bytes, timeout: float) -> frames.Greeting:
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
    return frames.read_welcome(frame)
