# SPDX-License-Identifier: GPL-3.0-or-later
"""Chunks that the liar serves: content of its own, which costs little, in the manner that the last lie chose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from blake3 import blake3

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.core.chunk_list import LEAST_SIZE, PROFILES, ChunkList, build
from holofsd.net.api import Stream

MANNERS = ("wrong", "missing", "silent", "drip", "other id", "other list", "endless", "large", "short", "has all")
LARGEST = PROFILES[0].largest


class LiarChunks:
    """`made` is told of content that the liar makes up."""

    def __init__(self, random_bytes: Callable[[int], bytes], made: Callable[[bytes], bytes]) -> None:
        self._random_bytes = random_bytes
        self._made = made
        self.films: dict[bytes, tuple[ChunkList, bytes]] = {}
        """Content by the id of its list."""
        self.false_lists: dict[bytes, bytes] = {}
        """Lists that are none, by their id."""
        self.manner = ""
        """How chunks are served: as they are, or one of `MANNERS`."""

    def film(self) -> tuple[ChunkList, bytes]:
        """Content of zeros with an end of its own, and its list. Zeros are never sent."""
        end = self._random_bytes(700)
        data = bytes(LEAST_SIZE) + end
        self._made(data)
        zeros = (PROFILES[0].zeros, LARGEST)
        chunks = build(len(data), [*[zeros] * (LEAST_SIZE // LARGEST), (blake3(end).digest(), len(end))])
        self.films[chunks.cid()] = (chunks, data)
        return chunks, data

    async def serve(self, stream: Stream, frame: pb.Frame) -> None:
        """Answers one question about chunks, in the manner of the liar."""
        kind, manner = frame.WhichOneof("frame"), self.manner
        if manner == "silent":
            await asyncio.get_running_loop().create_future()
        if kind == "get_list":
            await self._serve_list(stream, frame.get_list, manner)
        elif kind == "get_pieces":
            await self._serve_pieces(stream, frame.get_pieces, manner)
        elif kind == "ask":
            whole = manner == "has all" or frame.ask.cid in self.films
            places = self._random_bytes(64) if manner == "wrong" else b""
            await self._send(stream, has=pb.Has(id=frame.ask.id, whole=whole, places=places))

    async def _serve_list(self, stream: Stream, get: pb.GetList, manner: str) -> None:
        known = self.films.get(get.cid)
        data = known[0].data if known is not None else self.false_lists.get(get.cid)
        if manner == "other list":
            data = self.film()[0].data
        elif manner == "wrong":
            data = self._random_bytes(300)
        elif manner == "short":
            data = (data or b"HFL1")[:30]
        elif manner == "large":
            data = b"HFL1\3" + (250_000).to_bytes(4, "big") + (1 << 40).to_bytes(8, "big") + bytes(1000)
        if data is None or manner == "missing":
            await self._send(stream, list=pb.List(id=get.id, end=True, missing=True))
            return
        if manner == "other id":
            get.id += 7
        await self._send(stream, list=pb.List(id=get.id, data=data, end=manner != "endless"))
        if manner == "endless":
            for _ in range(200):
                await self._send(stream, list=pb.List(id=get.id, data=self._random_bytes(1024)))
        elif manner == "drip":
            await asyncio.sleep(30.0)

    async def _serve_pieces(self, stream: Stream, get: pb.GetPieces, manner: str) -> None:
        known = self.films.get(get.cid)
        for index in range(get.first, get.first + min(get.count, 1024)):
            piece = pb.Piece(id=get.id + 7 * (manner == "other id"), index=index, end=True)
            if known is None or manner in ("missing", "has all") or index >= known[0].count:
                piece.missing = 1
            else:
                chunk = known[0].chunk(index)
                piece.data = known[1][chunk.offset : chunk.offset + chunk.size]
            if manner == "wrong":
                piece.missing, piece.data = 0, self._random_bytes(700)
            elif manner == "short":
                piece.missing, piece.data = 0, b"x"
            elif manner == "large":
                piece.missing, piece.data = 0, bytes(300_000)
            elif manner == "endless":
                piece.end, piece.missing, piece.data = False, 0, b"x"
            elif manner == "drip":
                await asyncio.sleep(3.0)
            await self._send(stream, piece=piece)

    @staticmethod
    async def _send(stream: Stream, **answer: pb.Has | pb.List | pb.Piece) -> None:
        await stream.send(pb.Frame(**answer).SerializeToString())  # type: ignore[arg-type]
