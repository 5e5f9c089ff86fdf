# SPDX-License-Identifier: GPL-3.0-or-later
"""Chunk lists: what large content consists of, as it is stored and sent (ADR 16). Pure.

A list is `HFL1`, the number of the profile (1 byte), the number of chunks (4), the size of the content (8), and for
each chunk its BLAKE3 hash (32) and size (4); numbers are big-endian. Its id (`cid`) is BLAKE3 of these bytes, with a
context of its own: whoever has the right list knows what to expect of each chunk, and no content has a cid as its hash.

The profile follows from the size alone. So equal bytes in a volume have one list, whoever cuts them.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from blake3 import blake3

from holofsd.core.errors import Refused
from holofsd.core.ids import BlobHash

MAGIC: Final = b"HFL1"
HEADER: Final = 17
HASH: Final = 32
ENTRY: Final = HASH + 4
"""Bytes of one chunk in a list."""
LEAST_SIZE: Final = 4 << 20
"""Content up to this size has no list."""
_CONTEXT: Final = "holofs chunk list 1"


@dataclass(frozen=True, slots=True)
class Profile:
    """Rule by which content of some sizes is cut. Each chunk but the last has between `least` and `largest` bytes."""

    number: int
    average: int
    most: int
    """Largest size of content that is cut like this."""
    zeros: bytes
    """BLAKE3 of `largest` bytes of zero, which is what zeros are cut into."""

    @property
    def least(self) -> int:
        return self.average // 4

    @property
    def largest(self) -> int:
        return self.average * 4


PROFILES: Final = (
    Profile(
        1,
        256 << 10,
        256 << 20,
        bytes.fromhex("488de202f73bd976de4e7048f4e1f39a776d86d582b7348ff53bf432b987fca8"),
    ),
    Profile(
        2,
        1 << 20,
        16 << 30,
        bytes.fromhex("04e52cd2da6a0e1f338b0078369130d96585c1de65057da5dd1283b12fb853e1"),
    ),
    Profile(
        3,
        4 << 20,
        1 << 40,
        bytes.fromhex("b4834959bc889fed1abf3c45d5da0e384134386a4b2786cc5dbb9fe8fa853bbb"),
    ),
)
MOST_SIZE: Final = PROFILES[-1].most
"""Content above this size has no list: larger chunks would have to be verified in memory."""


def profile_of(size: int) -> Profile | None:
    """The profile of content of that size; None: it has no list."""
    return next((each for each in PROFILES if LEAST_SIZE < size <= each.most), None)


@dataclass(frozen=True, slots=True)
class Header:
    """Beginning of a list. What it says can be true together; nothing of it is verified."""

    profile: Profile
    count: int
    size: int

    @property
    def length(self) -> int:
        """Bytes of the whole list."""
        return HEADER + ENTRY * self.count


def read_header(data: bytes) -> Header:
    """The header of a list that begins with `data`. Raises Refused where no list begins like this."""
    if len(data) < HEADER or data[:4] != MAGIC:
        raise Refused("This is no list of chunks.")
    count, size = int.from_bytes(data[5:9], "big"), int.from_bytes(data[9:HEADER], "big")
    profile = profile_of(size)
    if profile is None or profile.number != data[4]:
        raise Refused("A list of chunks has another profile than its size.")
    if not (size - 1) // profile.largest < count <= (size - 1) // profile.least + 1:
        raise Refused("A list has more or fewer chunks than content of its size can have.")
    return Header(profile, count, size)


@dataclass(frozen=True, slots=True)
class ListedChunk:
    """One chunk of some content. `offset`: of its first byte."""

    hash: BlobHash
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ChunkList:
    """A list that looks like one that was cut. Only `decode` and `build` make one. `data`: its bytes."""

    data: bytes
    profile: Profile = field(compare=False)
    size: int = field(compare=False)
    _ends: array[int] = field(compare=False, repr=False)
    """Offset behind each chunk: 8 bytes for each, where objects would take a hundred."""

    @property
    def count(self) -> int:
        return len(self._ends)

    def cid(self) -> BlobHash:
        """The id of content with this list."""
        return list_id(self.data)

    def chunk(self, index: int) -> ListedChunk:
        """Raises IndexError."""
        entry, start = self.entry(index), self.start(index)
        return ListedChunk(BlobHash(entry[:HASH]), start, self._ends[index] - start)

    def entry(self, index: int) -> bytes:
        """Hash and size of a chunk, as they stand in the list. Raises IndexError."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.entries(index, index + 1)

    def entries(self, first: int, end: int) -> bytes:
        """The entries of the chunks from `first` up to before `end`."""
        return self.data[HEADER + ENTRY * first : HEADER + ENTRY * end]

    def start(self, index: int) -> int:
        """Offset at which a chunk begins; for `count`: the size."""
        return self._ends[index - 1] if index else 0

    def at(self, offset: int) -> int:
        """Index of the chunk with the byte at that offset. Raises IndexError where there is none."""
        if not 0 <= offset < self.size:
            raise IndexError(offset)
        return bisect_right(self._ends, offset)

    def covering(self, offset: int, length: int) -> range:
        """Indexes of the chunks that have a byte of this part of the content; it may reach beyond the end."""
        end = min(offset + length, self.size)
        if offset >= end:
            return range(0)
        return range(self.at(offset), self.at(end - 1) + 1)


def list_id(data: bytes) -> BlobHash:
    """The cid of a list, whether it can be decoded or not."""
    return BlobHash(blake3(data, derive_key_context=_CONTEXT).digest())


def build(size: int, chunks: Iterable[tuple[bytes, int]]) -> ChunkList:
    """The list of content of that size that consists of these chunks (hash, size). Raises Refused as `decode`."""
    profile = profile_of(size)
    if profile is None:
        raise Refused("Content of this size has no list of chunks.")
    entries = bytearray()
    for hash, length in chunks:
        entries += hash
        entries += length.to_bytes(4, "big")
    header = MAGIC + bytes([profile.number]) + (len(entries) // ENTRY).to_bytes(4, "big") + size.to_bytes(8, "big")
    return decode(header + bytes(entries))


def decode(data: bytes) -> ChunkList:
    """Raises Refused for anything that no device cuts.

    What is wrong with the header or the length is found before anything is allocated; the rest takes four passes over
    the sizes, in C, and 12 bytes for each chunk.
    """
    header = read_header(data)
    if len(data) != header.length:
        raise Refused("A list of chunks is longer or shorter than it says.")
    sizes = _sizes(data, header.count)
    least, largest = header.profile.least, header.profile.largest
    last = sizes.pop()
    if (sizes and min(sizes) < least) or max(sizes, default=0) > largest or not 0 < last <= largest:
        raise Refused("A list has chunks that are smaller or larger than any that are cut.")
    sizes.append(last)
    ends = array("Q", accumulate(sizes))
    if ends[-1] != header.size:
        raise Refused("The chunks of a list are not as large together as it says.")
    return ChunkList(data, header.profile, header.size, ends)


def _sizes(data: bytes, count: int) -> array[int]:
    """Each fourth byte comes from a slice of its own: no Python runs for each chunk."""
    packed = bytearray(4 * count)
    for place in range(4):
        packed[place::4] = data[HEADER + HASH + place :: ENTRY]
    sizes = array("I")
    sizes.frombytes(packed)
    if sys.byteorder == "little":
        sizes.byteswap()
    return sizes
