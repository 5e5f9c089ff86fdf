# SPDX-License-Identifier: GPL-3.0-or-later
"""Cutting of large content into chunks by what it contains (FastCDC), so that an edit changes few of them (ADR 16).

Where content is cut follows from its bytes, its size and the volume, and from nothing else. What comes before a chunk
does not matter: cut from the start of any chunk the rest is cut as before. The only module that imports pyfastcdc.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Final, Protocol

from blake3 import blake3

from holofsd.core.chunk_list import ChunkList, ListedChunk, Profile, build, profile_of
from holofsd.core.errors import NotSupported
from holofsd.core.ids import BlobHash, VolumeId

with warnings.catch_warnings():  # it warns of what `_require_compiled` refuses
    warnings.simplefilter("ignore")
    import pyfastcdc

_CONTEXT: Final = "holofs chunk seed 1"
_SEED_BITS: Final = 63
"""One bit less than a word has: pyfastcdc shifts the seed by one."""


class ReadableSource(Protocol):
    """Content that is read into a buffer from where it stands, as an unbuffered file is."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


class Cutter:
    """Cuts content of one volume. Blocking; the interpreter is free for others while it cuts and hashes.

    Two buffers of the largest chunk are all its memory. Content is read, never mapped: a disk that fails would end the
    process. Raises NotSupported where pyfastcdc is there without its compiled part, which is 200 times as slow.
    """

    def __init__(self, volume: VolumeId) -> None:
        _require_compiled()
        digest = blake3(volume, derive_key_context=_CONTEXT).digest(8)
        self._seed = int.from_bytes(digest, "big") >> (64 - _SEED_BITS)

    def cut(self, source: ReadableSource, size: int) -> ChunkList:
        """The list of content of that size, read up to its end. Raises Refused where content of that size has no list,
        or where the source has another one; OSError."""
        profile = profile_of(size)
        chunks = self.chunks(source, profile) if profile is not None else ()
        return build(size, ((chunk.hash, chunk.size) for chunk in chunks))

    def chunks(self, source: ReadableSource, profile: Profile) -> Iterator[ListedChunk]:
        """Chunks from where the source stands, which is the start of one. Offsets count from there."""
        cut = pyfastcdc.FastCDC(
            profile.average,
            min_size=profile.least,
            max_size=profile.largest,
            normalized_chunking=1,
            seed=self._seed,
        )
        for piece in cut.cut_stream(source):  # type: ignore[arg-type] # its parameter has another name
            yield ListedChunk(BlobHash(blake3(piece.data).digest()), piece.offset, piece.length)


def _require_compiled() -> None:
    if pyfastcdc.FastCDC.__module__.startswith("pyfastcdc.py"):
        raise NotSupported(
            "Large files cannot be cut: pyfastcdc is installed without its compiled part, and would be too slow."
            " Install it anew from a wheel, or with a C compiler and PYFASTCDC_REQUIRE_CYTHON=1."
        )
