# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a mount: what it told programs is kept, before the daemon has said so (ADR 11).

A file of records, each a `CreateRequest` after its length and its CRC-32 (both unsigned, 32 bits, big end first). The
mount appends a record in one call, which survives whatever is killed, and empties the file when the daemon has answered
all; it holds the file locked (`flock`) as long as it lives. The daemon carries out what a mount that is gone has left.
A record with nothing but an inode number takes back what an earlier one said of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import Struct
from typing import Final

_HEAD: Final = Struct(">II")


def record(body: bytes) -> bytes:
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def records(data: bytes) -> Iterator[bytes]:
    """The bodies of the records that are whole. What was cut off at the end was promised to nobody."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, checksum = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        body = data[at : at + length]
        if len(body) != length or zlib.crc32(body) != checksum:
            return
        yield body
        at += length
