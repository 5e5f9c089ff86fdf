# SPDX-License-Identifier: GPL-3.0-or-later
"""The hash of a set of records: a sum modulo 2^256, kept up to date by one addition and one subtraction.

After the homomorphic hashing of Bellare and Micciancio (1997). At 256 bits a sum of chosen elements can be forged with
much work (Wagner 2002), but only by the author, over records that are signed by that very author.
"""

from __future__ import annotations

from typing import Final

from blake3 import blake3

from holofsd.core.errors import Refused

_MODULUS: Final = 2**256
EMPTY: Final = 0


def element(key: bytes, seq: int, payload_hash: bytes) -> int:
    hasher = blake3(b"holofs-element-1")
    hasher.update(len(key).to_bytes(4, "big") + key + seq.to_bytes(8, "big") + payload_hash)
    return int.from_bytes(hasher.digest(), "big")


def add(total: int, element: int) -> int:
    return (total + element) % _MODULUS


def subtract(total: int, element: int) -> int:
    return (total - element) % _MODULUS


def to_bytes(total: int) -> bytes:
    return total.to_bytes(32, "big")


def from_bytes(data: bytes) -> int:
    """Raises Refused unless there are 32 bytes."""
    if len(data) != 32:
        raise Refused("a set hash has 32 bytes")
    return int.from_bytes(data, "big")
