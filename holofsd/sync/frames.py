# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of sessions and content streams, to and from bytes. Whatever cannot be read is a ProtocolViolation.

This is the border: each `read_*` takes a message as another device sent it and returns values in range, with keys and
hashes of the right length, texts that can be shown and lists of bounded length. Nothing behind it looks at a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.checks import KEY, at_most, clock, number, sized
from holofsd.codec.shape import check_parts
from holofsd.core.document import Credentials, Envelope, Head, Mark
from holofsd.core.errors import ProtocolViolation, Refused
from holofsd.core.ids import AuthorId, BlobHash, VolumeId
from holofsd.core.text import device_name
from holofsd.sync.config import MAX_HASHES, MAX_HEADS, MAX_NAME, PAGE_RECORDS, PROGRAM, PROTOCOL
from holofsd.sync.features import features_in
from holofsd.sync.pages import Page
from holofsd.sync.twins import INSTANCE_BYTES

MAX_PARTS = 65_536
"""Heads, records, marks with their authors, credentials and the like in one frame."""
HELLO_PARTS = 4096
SMALL_FRAME = 4096
"""Bytes in which there is no room for many parts."""

T = TypeVar("T")
M = TypeVar("M")


def parse(data: bytes, most_parts: int = MAX_PARTS) -> pb.Frame:
    """`most_parts`: of lists and messages inside it."""
    return parse_counted(data, most_parts)[0]


def parse_counted(data: bytes, most_parts: int = MAX_PARTS) -> tuple[pb.Frame, int]:
    """The frame, and how many fields had to be looked at before it could be parsed."""
    frame, fields = pb.Frame(), 0
    try:
        if len(data) > SMALL_FRAME:
            fields = check_parts(data, pb.Frame.DESCRIPTOR, most_parts)
        frame.ParseFromString(data)
    except Refused as error:
        raise ProtocolViolation(f"A device sent a frame that is not read: {error.message}.") from error
    except (DecodeError, ValueError, RecursionError) as error:
        raise ProtocolViolation("A device sent a frame that cannot be read.") from error
    return frame, fields


def checked(read: Callable[[M], T], message: M) -> T:
    try:
        return read(message)
    except Refused as error:
        raise ProtocolViolation(f"A device sent a malformed frame: {error.message}") from error


# ---- beginning of a stream


@dataclass(frozen=True, slots=True)
class Greeting:
    """Statement of a device about itself at the beginning of a stream."""

    name: str
    clock_ms: int
    named_ms: int
    """When it got its name; 0 where it does not say, or names a time that no clock shows."""
    instance: bytes
    """Empty where it does not say."""
    doubled: bool
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StreamHello:
    """A hello: what the opener of a stream wants. `credentials` are as they came: see `read_shown`."""

    volume: VolumeId
    purpose: int
    credentials: pb.Credentials
    greeting: Greeting


def _greeting(message: pb.Hello | pb.Welcome) -> Greeting:
    return Greeting(
        device_name(message.device_name, MAX_NAME),
        clock(message.clock_ms),
        message.named_ms if message.named_ms == clock(message.named_ms) else 0,
        message.instance if len(message.instance) == INSTANCE_BYTES else b"",
        message.doubled,
        features_in(message.features),
    )


def read_hello(data: bytes) -> StreamHello:
    """Raises ProtocolViolation for whatever is no hello of a protocol that this program speaks."""
    frame = parse(data, HELLO_PARTS)
    hello = frame.hello
    if frame.WhichOneof("frame") != "hello" or hello.protocol != PROTOCOL:
        raise ProtocolViolation("A device began a stream with something else than a hello.")
    volume = checked(lambda message: sized(message.volume, KEY, "volume id"), hello)
    return StreamHello(VolumeId(volume), hello.purpose, hello.credentials, _greeting(hello))


def read_welcome(frame: pb.Frame) -> Greeting:
    if frame.WhichOneof("frame") != "welcome":
        raise ProtocolViolation("A device answered a hello with something else than a welcome.")
    return _greeting(frame.welcome)


def hello(
    volume: VolumeId,
    purpose: int,
    credentials: Credentials,
    name: str,
    clock_ms: int,
    named_ms: int = 0,
    instance: bytes = b"",
    doubled: bool = False,
    features: Iterable[str] = (),
) -> bytes:
    message = pb.Hello(
        protocol=PROTOCOL,
        volume=volume,
        purpose=pb.Purpose.ValueType(purpose),
        credentials=wire.to_credentials(credentials),
        device_name=name[:MAX_NAME],
        program=PROGRAM,
        clock_ms=clock_ms,
        named_ms=named_ms,
        instance=instance,
        doubled=doubled,
        features=features,
    )
    return pb.Frame(hello=message).SerializeToString()


def welcome(
    name: str,
    clock_ms: int,
    named_ms: int = 0,
    instance: bytes = b"",
    doubled: bool = False,
    features: Iterable[str] = (),
) -> bytes:
    message = pb.Welcome(
        protocol=PROTOCOL,
        device_name=name[:MAX_NAME],
        program=PROGRAM,
        clock_ms=clock_ms,
        named_ms=named_ms,
        instance=instance,
        doubled=doubled,
        features=features,
    )
    return pb.Frame(welcome=message).SerializeToString()


# ---- credentials, heads, records
def credentials(known: Credentials) -> bytes:
    return pb.Frame(credentials=wire.to_credentials(known)).SerializeToString()


def read_credentials(message: pb.Credentials) -> Credentials:
    return checked(wire.from_credentials, message)


def have(heads: Iterable[Head], first: bool, folded: Iterable[Head] = (), widest: Iterable[Head] = ()) -> bytes:
    message = pb.Have(
        heads=map(wire.to_head, heads),
        first=first,
        folded=map(wire.to_head, folded),
        widest=map(wire.to_head, widest),
    )
    return pb.Frame(have=message).SerializeToString()


def _heads(said: Sequence[pb.Head]) -> list[Head]:
    if len(said) > MAX_HEADS:
        raise ProtocolViolation("A device named more authors than any volume has.")
    return [checked(wire.from_head, head) for head in said]


def read_heads(message: pb.Have) -> list[Head]:
    return _heads(message.heads)


def read_widest(message: pb.Have) -> list[Head]:
    return _heads(message.widest)


def read_folded(message: pb.Have) -> list[Head]:
    """The newest of each author: of the others not even the signature is looked at."""
    newest: dict[AuthorId, Head] = {}
    for head in _heads(message.folded):
        known = newest.setdefault(head.author, head)
        if (known.seq, known.set_hash) < (head.seq, head.set_hash):
            newest[head.author] = head
    return list(newest.values())


@dataclass(frozen=True, slots=True)
class Wish:
    """Records by one author that the other side asks for: those above `after`, or all of them."""

    author: AuthorId
    after: int
    whole: bool


def read_want(message: pb.Want) -> Wish:
    return checked(
        lambda m: Wish(AuthorId(sized(m.author, KEY, "author key")), number(m.after, "record number"), m.whole), message
    )


def want(author: AuthorId, after: int, whole: bool) -> bytes:
    return pb.Frame(want=pb.Want(author=author, after=after, whole=whole)).SerializeToString()


def records(author: AuthorId, after: int, whole: bool, envelopes: Iterable[Envelope], head: Head | None) -> bytes:
    message = pb.Records(
        author=author,
        after=after,
        whole=whole,
        envelopes=map(wire.to_envelope, envelopes),
        head=None if head is None else wire.to_head(head),
    )
    return pb.Frame(records=message).SerializeToString()


def read_records(message: pb.Records) -> Page:
    """Decodes a page of records: in order of seq, all by one author, above `after`. Raises ProtocolViolation."""
    if len(message.envelopes) > PAGE_RECORDS:
        raise ProtocolViolation("A device sent more records in one frame than the protocol allows.")
    if len(message.author) != KEY:
        raise ProtocolViolation("A device sent records by an author that is none.")
    checked(lambda m: number(m.after, "record number"), message)
    envelopes = [checked(wire.from_envelope, envelope) for envelope in message.envelopes]
    head = checked(wire.from_head, message.head) if message.HasField("head") else None
    last = message.after
    for envelope in envelopes:
        if envelope.author != message.author or envelope.seq <= last:
            raise ProtocolViolation("A device sent records out of order or under another author.")
        last = envelope.seq
    if head is not None and (head.author != message.author or head.seq < last):
        raise ProtocolViolation("A device sent a head that does not belong to its records.")
    return Page(AuthorId(message.author), message.after, message.whole, envelopes, head)


def confirm(author: AuthorId, seq: int) -> bytes:
    return pb.Frame(confirm=pb.Confirm(author=author, seq=seq)).SerializeToString()


def read_confirm(message: pb.Confirm) -> tuple[AuthorId, int]:
    """An author, and the number up to which the other side holds everything by it."""
    return checked(lambda m: (AuthorId(sized(m.author, KEY, "author key")), number(m.seq, "record number")), message)


def marks(known: Iterable[Mark]) -> bytes:
    return pb.Frame(marks=pb.Marks(marks=map(wire.to_mark, known))).SerializeToString()


def read_marks(message: pb.Marks) -> list[Mark]:
    """The newest of each device: it alone counts, and of the others not even the signature is looked at."""
    if len(message.marks) > MAX_HEADS:
        raise ProtocolViolation("A device passed on more marks than a volume has devices.")
    newest: dict[bytes, pb.Mark] = {}
    for mark in message.marks:
        known = newest.get(mark.device)
        if known is None or known.at_ms < mark.at_ms:
            newest[mark.device] = mark
    return [checked(wire.from_mark, mark) for mark in newest.values()]


# ---- keeping in touch
def ping(number: int, clock_ms: int) -> bytes:
    return pb.Frame(ping=pb.Ping(id=number, clock_ms=clock_ms)).SerializeToString()


def read_pong(message: pb.Pong) -> tuple[int, int]:
    """The number of the ping that it answers, and the other side's clock in ms."""
    return message.id, clock(message.clock_ms)


def pong(number: int, clock_ms: int) -> bytes:
    return pb.Frame(pong=pb.Pong(id=number, clock_ms=clock_ms)).SerializeToString()


# ---- content
@dataclass(frozen=True, slots=True)
class Request:
    """A blob that the other side asks for, from an offset on. `id` comes back in the answer."""

    id: int
    blob: BlobHash
    offset: int
    urgent: bool = False
    """A program waits for it there, by its word."""
    most: int = 0
    """Bytes of data in one frame of the answer; 0: it does not matter."""


def read_get(message: pb.Get) -> Request:
    def read(m: pb.Get) -> Request:
        return Request(m.id, BlobHash(sized(m.hash, KEY, "hash")), number(m.offset, "offset"), m.urgent, m.most)

    return checked(read, message)


def read_hold(message: pb.Hold) -> tuple[int, list[BlobHash]]:
    """The number that comes back in the answer, and the blobs that are asked about."""

    def read(m: pb.Hold) -> tuple[int, list[BlobHash]]:
        at_most(m.hashes, MAX_HASHES, "hashes")
        return m.id, [BlobHash(sized(blob, KEY, "hash")) for blob in m.hashes]

    return checked(read, message)


def get(number: int, blob: BlobHash, offset: int, urgent: bool = False, most: int = 0) -> bytes:
    return pb.Frame(get=pb.Get(id=number, hash=blob, offset=offset, urgent=urgent, most=most)).SerializeToString()


def blob(number: int, data: bytes, end: bool, size: int) -> bytes:
    return pb.Frame(blob=pb.Blob(id=number, data=data, end=end, size=size)).SerializeToString()


def blob_missing(number: int) -> bytes:
    return pb.Frame(blob=pb.Blob(id=number, end=True, missing=True)).SerializeToString()


def hold(number: int, blobs: Iterable[BlobHash]) -> bytes:
    return pb.Frame(hold=pb.Hold(id=number, hashes=blobs)).SerializeToString()


def held(number: int, answers: Sequence[bool]) -> bytes:
    return pb.Frame(held=pb.Held(id=number, held=answers)).SerializeToString()
