# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames about content that has a list of chunks, to and from bytes; a part of the border that `frames` is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.checks import KEY, number, sized
from holofsd.core.chunk_list import ENTRY, HEADER, PROFILES
from holofsd.core.errors import ProtocolViolation
from holofsd.core.ids import BlobHash
from holofsd.core.runs import Places
from holofsd.sync.config import BLOB_FRAME
from holofsd.sync.frames import checked
from holofsd.sync.pieces import Piece
from holofsd.sync.spans import SPAN_CHUNKS

MOST_CHUNKS: Final = max((profile.most - 1) // profile.least + 1 for profile in PROFILES)
"""Chunks of any content."""
MOST_LIST: Final = HEADER + ENTRY * MOST_CHUNKS
"""Bytes of any list."""


@dataclass(frozen=True, slots=True)
class ListRequest:
    """Question for a list, and for chunks from the one with the byte at `offset`: up to `chunks` of them."""

    id: int
    cid: BlobHash
    offset: int = 0
    chunks: int = 0
    urgent: bool = False
    """A program waits for it there, by its word."""
    most: int = 0
    """Bytes of data in one frame of the answer; 0: it does not matter."""


@dataclass(frozen=True, slots=True)
class PiecesRequest:
    """Question for chunks of some content. `urgent` and `most` are those of `ListRequest`."""

    id: int
    cid: BlobHash
    chunks: range
    urgent: bool = False
    most: int = 0


@dataclass(frozen=True, slots=True)
class ListPart:
    """One frame of a list. `missing`: the other device does not have it."""

    data: bytes
    end: bool
    missing: bool


# ---- questions
def get_list(request: ListRequest) -> bytes:
    message = pb.GetList(
        id=request.id,
        cid=request.cid,
        offset=request.offset,
        chunks=request.chunks,
        urgent=request.urgent,
        most=request.most,
    )
    return pb.Frame(get_list=message).SerializeToString()


def read_get_list(message: pb.GetList) -> ListRequest:
    """Raises ProtocolViolation."""

    def read(m: pb.GetList) -> ListRequest:
        offset = number(m.offset, "offset")
        return ListRequest(m.id, _cid(m.cid), offset, min(m.chunks, SPAN_CHUNKS), m.urgent, m.most)

    return checked(read, message)


def get_pieces(request: PiecesRequest) -> bytes:
    message = pb.GetPieces(
        id=request.id,
        cid=request.cid,
        first=request.chunks.start,
        count=len(request.chunks),
        urgent=request.urgent,
        most=request.most,
    )
    return pb.Frame(get_pieces=message).SerializeToString()


def read_get_pieces(message: pb.GetPieces) -> PiecesRequest:
    """Raises ProtocolViolation."""

    def read(m: pb.GetPieces) -> PiecesRequest:
        if m.first + m.count > MOST_CHUNKS or not 0 < m.count <= SPAN_CHUNKS:
            raise ProtocolViolation("A device asked for more chunks than one question is for, or than there can be.")
        return PiecesRequest(m.id, _cid(m.cid), range(m.first, m.first + m.count), m.urgent, m.most)

    return checked(read, message)


def ask(id: int, cid: BlobHash) -> bytes:
    return pb.Frame(ask=pb.Ask(id=id, cid=cid)).SerializeToString()


def read_ask(message: pb.Ask) -> tuple[int, BlobHash]:
    """The number that comes back in the answer, and the content. Raises ProtocolViolation."""
    return checked(lambda m: (m.id, _cid(m.cid)), message)


def _cid(data: bytes) -> BlobHash:
    return BlobHash(sized(data, KEY, "content id"))


# ---- answers
def list_part(id: int, data: bytes, end: bool) -> bytes:
    return pb.Frame(list=pb.List(id=id, data=data, end=end)).SerializeToString()


def list_missing(id: int) -> bytes:
    return pb.Frame(list=pb.List(id=id, end=True, missing=True)).SerializeToString()


def read_list_part(frame: pb.Frame, id: int) -> ListPart:
    """Raises ProtocolViolation for an answer to another question, or one that brings nothing."""
    if frame.WhichOneof("frame") != "list" or frame.list.id != id:
        raise ProtocolViolation("A device answered another question than it was asked.")
    part = frame.list
    if len(part.data) > BLOB_FRAME or bool(part.data) == part.missing:
        raise ProtocolViolation("A device sent a part of a list that is empty, or above the limit.")
    return ListPart(part.data, part.end, part.missing)


def piece(id: int, index: int, data: bytes, end: bool) -> bytes:
    return pb.Frame(piece=pb.Piece(id=id, index=index, data=data, end=end)).SerializeToString()


def piece_missing(id: int, chunks: range) -> bytes:
    message = pb.Piece(id=id, index=chunks.start, end=True, missing=len(chunks))
    return pb.Frame(piece=message).SerializeToString()


def read_piece(frame: pb.Frame, id: int) -> Piece:
    """Raises ProtocolViolation for an answer to another question; `Pieces` looks at the rest."""
    if frame.WhichOneof("frame") != "piece" or frame.piece.id != id:
        raise ProtocolViolation("A device answered another question than it was asked.")
    part = frame.piece
    if len(part.data) > BLOB_FRAME:
        raise ProtocolViolation("A device sent a piece of content above the limit.")
    return Piece(part.index, part.data, part.end, part.missing)


def has(id: int, places: Places, count: int) -> bytes:
    """`count`: chunks of the content."""
    stored = places.stored
    message = pb.Has(id=id, whole=stored is None, places=stored or b"") if count else pb.Has(id=id)
    return pb.Frame(has=message).SerializeToString()


def read_has(frame: pb.Frame, id: int, count: int) -> Places:
    """The chunks that the other device has, of so many. Raises ProtocolViolation."""
    if frame.WhichOneof("frame") != "has" or frame.has.id != id:
        raise ProtocolViolation("A device answered another question than it was asked.")
    if len(frame.has.places) > (count + 7) // 8:
        raise ProtocolViolation("A device has more chunks of some content than there are.")
    return Places(None if frame.has.whole else frame.has.places)
