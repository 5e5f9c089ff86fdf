# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer to a question for chunks, as it comes in pieces: each chunk is verified before anything is made of it. Pure.

Chunks come in their order, each in pieces of which the last one says so; one that the other device does not have is one
piece that says that. A chunk with other bytes than its hash is known when it is whole, which is before a byte of it
is written. So a device that lies is known by its first chunk, and costs the memory of one.
"""

from __future__ import annotations

from dataclasses import dataclass

from blake3 import blake3

from holofsd.core.chunk_list import ChunkList
from holofsd.core.errors import ProtocolViolation, Refused


@dataclass(frozen=True, slots=True)
class Piece:
    """One frame of an answer. `missing`: the other device does not have so many chunks from this one on."""

    index: int
    data: bytes
    end: bool
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Arrived:
    """A chunk that is right. `data` has as many bytes as its list says."""

    index: int
    data: bytes


class Pieces:
    """`asked`: chunks that the question was for. `missing`: those that the other device said it does not have."""

    def __init__(self, chunks: ChunkList, asked: range) -> None:
        self._chunks = chunks
        self._asked = asked
        self._next = asked.start
        self._data = bytearray()
        self.missing: list[int] = []

    @property
    def is_over(self) -> bool:
        return self._next >= self._asked.stop

    @property
    def held(self) -> int:
        """Bytes of a chunk that is not whole."""
        return len(self._data)

    def take(self, piece: Piece) -> Arrived | None:
        """The chunk that is whole with this piece. Raises ProtocolViolation for an answer to something else, or one
        that is longer or shorter than it can be; Refused for a chunk with other bytes than its hash."""
        if self.is_over or piece.index != self._next:
            raise ProtocolViolation("A device sent another part of a file than it was asked for.")
        listed = self._chunks.chunk(piece.index)
        if piece.missing:
            if self._data or piece.data:
                raise ProtocolViolation("A device sent part of a chunk, and that it does not have it.")
            if piece.missing > self._asked.stop - piece.index:
                raise ProtocolViolation("A device said of more chunks than it was asked for that it lacks them.")
            self.missing.extend(range(piece.index, piece.index + piece.missing))
            self._next += piece.missing
            return None
        if not piece.data or len(self._data) + len(piece.data) > listed.size:
            raise ProtocolViolation("A device sent an empty piece of a chunk, or more than there is.")
        self._data += piece.data
        if not piece.end:
            return None
        if len(self._data) < listed.size:
            raise ProtocolViolation("A device sent less of a chunk than there is.")
        data, self._data = bytes(self._data), bytearray()
        self._next += 1
        if blake3(data).digest() != listed.hash:
            raise Refused("A device sent a chunk that does not match its hash.")
        return Arrived(piece.index, data)
