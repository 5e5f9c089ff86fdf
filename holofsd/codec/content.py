# SPDX-License-Identifier: GPL-3.0-or-later
"""The name of content: BLAKE3 of the whole of it, and which of many names stand in a record."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from blake3 import blake3

from holofsd.core.ids import BlobHash

_SIZE: Final = 32
_FEW: Final = 500
"""Up to so many names it is faster to search the record for each."""


def hash_bytes(data: bytes | bytearray | memoryview) -> BlobHash:
    return BlobHash(blake3(data).digest())


def named_in(payload: bytes, wanted: Collection[BlobHash]) -> list[BlobHash]:
    """Lists the wanted names whose bytes stand anywhere in a record, in whatever format it is; some perhaps twice.

    For many names it takes one pass over the record, about 0.1 s for a megabyte, however many there are.
    """
    if len(wanted) <= _FEW:
        return [blob for blob in wanted if payload.find(blob) >= 0]
    places = range(len(payload) - _SIZE + 1)
    return [blob for at in places if (blob := BlobHash(payload[at : at + _SIZE])) in wanted]
