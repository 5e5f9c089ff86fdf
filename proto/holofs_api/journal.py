# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a mount: what it told programs is done, before the daemon has said so (ADR 11).

A file of records, each a `CallRequest` after a head of its length, its checksum (CRC-32 of the rest of the head and the
body) and its number (unsigned, 32, 32 and 64 bits, big end first). Numbers rise by one from 1 for as long as the mount
lives; the daemon's index knows up to which they are carried out. The mount appends a record in one call, which survives
whatever is killed, and empties the file when the daemon has answered everything. It holds the file locked (`flock`) as
long as it lives: what nobody holds is carried out by the daemon, and then removed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import Struct
from typing import Final

from holofs_api.numbers import MAX_INTEGER

_HEAD: Final = Struct(">II")
_NUMBER: Final = Struct(">Q")
_BEFORE_BODY: Final = _HEAD.size + _NUMBER.size


def record(number: int, body: bytes) -> bytes:
    rest = _NUMBER.pack(number) + body
    return _HEAD.pack(len(body), zlib.crc32(rest)) + rest


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and bodies of the records that are whole. What was cut off at the end was promised to nobody; a number
    that no mount reaches is no record of one."""
    at = 0
    while at + _BEFORE_BODY <= len(data):
        length, checksum = _HEAD.unpack_from(data, at)
        (number,) = _NUMBER.unpack_from(data, at + _HEAD.size)
        end = at + _BEFORE_BODY + length
        if end > len(data) or zlib.crc32(data[at + _HEAD.size : end]) != checksum or number > MAX_INTEGER:
            return
        yield number, data[at + _BEFORE_BODY : end]
        at = end
