# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of sessions and content streams, to and from bytes. Whatever cannot be read is a ProtocolViolation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.core.document import Credentials, Envelope, Head, Mark
from holofsd.core.errors import ProtocolViolation, Refused
from holofsd.core.ids import AuthorId, BlobHash, VolumeId
from holofsd.sync.config import MAX_HEADS, MAX_NAME, PAGE_RECORDS, PROGRAM, PROTOCOL

T = TypeVar("T")
M = TypeVar("M")


def parse(data: bytes) -> pb.Frame:
    frame = pb.Frame()
    try:
        frame.ParseFromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        raise ProtocolViolation("A device sent a frame that cannot be read.") from error
    return frame


def _checked(read: Callable[[M], T], message: M) -> T:
    try:
        return read(message)
    except Refused as error:
        raise ProtocolViolation(f"A device sent a malformed frame: {error.message}") from error


# ---- beginning of a stream
def hello(
    volume: VolumeId,
    purpose: int,
    credentials: Credentials,
    name: str,
    clock_ms: int,
    named_ms: int = 0,
    instance: bytes = b"",
    doubled: bool = False,
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
    )
    return pb.Frame(hello=message).SerializeToString()


def welcome(name: str, clock_ms: int, named_ms: int = 0, instance: bytes = b"", doubled: bool = False) -> bytes:
    message = pb.Welcome(
        protocol=PROTOCOL,
        device_name=name[:MAX_NAME],
        program=PROGRAM,
        clock_ms=clock_ms,
        named_ms=named_ms,
        instance=instance,
        doubled=doubled,
    )
    return pb.Frame(welcome=message).SerializeToString()


# ---- credentials, heads, records
def credentials(known: Credentials) -> bytes:
    return pb.Frame(credentials=wire.to_credentials(known)).SerializeToString()


def read_credentials(message: pb.Credentials) -> Credentials:
    return _checked(wire.from_credentials, message)


def have(heads: Iterable[Head], first: bool, folded: Iterable[Head] = ()) -> bytes:
    message = pb.Have(heads=map(wire.to_head, heads), first=first, folded=map(wire.to_head, folded))
    return pb.Frame(have=message).SerializeToString()


def read_heads(message: pb.Have) -> list[Head]:
    if len(message.heads) > MAX_HEADS:
        raise ProtocolViolation("A device named more authors than any volume has.")
    return [_checked(wire.from_head, head) for head in message.heads]


def read_folded(message: pb.Have) -> list[Head]:
    if len(message.folded) > MAX_HEADS:
        raise ProtocolViolation("A device named more authors than any volume has.")
    return [_checked(wire.from_head, head) for head in message.folded]


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


def read_records(message: pb.Records) -> tuple[list[Envelope], Head | None]:
    """In order of seq, all by one author, above `after`."""
    if len(message.envelopes) > PAGE_RECORDS:
        raise ProtocolViolation("A device sent more records in one frame than the protocol allows.")
    envelopes = [_checked(wire.from_envelope, envelope) for envelope in message.envelopes]
    head = _checked(wire.from_head, message.head) if message.HasField("head") else None
    last = message.after
    for envelope in envelopes:
        if envelope.author != message.author or envelope.seq <= last:
            raise ProtocolViolation("A device sent records out of order or under another author.")
        last = envelope.seq
    if head is not None and (head.author != message.author or head.seq < last):
        raise ProtocolViolation("A device sent a head that does not belong to its records.")
    return envelopes, head


def confirm(author: AuthorId, seq: int) -> bytes:
    return pb.Frame(confirm=pb.Confirm(author=author, seq=seq)).SerializeToString()


def marks(known: Iterable[Mark]) -> bytes:
    return pb.Frame(marks=pb.Marks(marks=map(wire.to_mark, known))).SerializeToString()


def read_marks(message: pb.Marks) -> list[Mark]:
    if len(message.marks) > MAX_HEADS:
        raise ProtocolViolation("A device passed on more marks than a volume has devices.")
    return [_checked(wire.from_mark, mark) for mark in message.marks]


# ---- keeping in touch
def ping(number: int, clock_ms: int) -> bytes:
    return pb.Frame(ping=pb.Ping(id=number, clock_ms=clock_ms)).SerializeToString()


def pong(number: int, clock_ms: int) -> bytes:
    return pb.Frame(pong=pb.Pong(id=number, clock_ms=clock_ms)).SerializeToString()


# ---- content
def get(number: int, blob: BlobHash, offset: int) -> bytes:
    return pb.Frame(get=pb.Get(id=number, hash=blob, offset=offset)).SerializeToString()


def blob(number: int, data: bytes, end: bool, size: int) -> bytes:
    return pb.Frame(blob=pb.Blob(id=number, data=data, end=end, size=size)).SerializeToString()


def blob_missing(number: int) -> bytes:
    return pb.Frame(blob=pb.Blob(id=number, end=True, missing=True)).SerializeToString()


def hold(number: int, blobs: Iterable[BlobHash]) -> bytes:
    return pb.Frame(hold=pb.Hold(id=number, hashes=blobs)).SerializeToString()


def held(number: int, answers: Sequence[bool]) -> bytes:
    return pb.Frame(held=pb.Held(id=number, held=answers)).SerializeToString()
