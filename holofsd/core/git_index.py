# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths that a git index lists: what git has and gives back. Format: gitformat-index(5), versions 2 to 4. Pure."""

from __future__ import annotations

from typing import Final

_HEADER: Final = 12
_FIXED: Final = 40
"""Bytes of an entry before the object name."""
_EXTENDED: Final = 0x4000
_LENGTH: Final = 0x0FFF
_HASHES: Final = (20, 32)
MOST_BYTES: Final = 16 << 20
"""Of all paths together. In version 4 each name may repeat the one before it: what is a few bytes in the file could be
gigabytes in memory."""


def tracked_paths(data: bytes) -> frozenset[bytes]:
    """Relative to the top of the working tree. Empty for what is no index, or of a version that is not known."""
    if data[:4] != b"DIRC" or len(data) < _HEADER:
        return frozenset()
    version, count = (int.from_bytes(data[at : at + 4], "big") for at in (4, 8))
    if version not in (2, 3, 4):
        return frozenset()
    for hash_length in _HASHES:
        try:
            return _entries(data, version, count, hash_length)
        except (ValueError, IndexError):
            continue
    return frozenset()


def _entries(data: bytes, version: int, count: int, hash_length: int) -> frozenset[bytes]:
    """Raises ValueError or IndexError where the bytes do not make sense with this length of an object name."""
    paths: set[bytes] = set()
    at, last, total = _HEADER, b"", 0
    for _ in range(count):
        flags_at = at + _FIXED + hash_length
        flags = int.from_bytes(data[flags_at : flags_at + 2], "big")
        name_at = flags_at + 2 + (2 if version >= 3 and flags & _EXTENDED else 0)
        if version == 4:
            keep, name_at = _number(data, name_at)
            end = data.index(b"\0", name_at)
            last = last[: len(last) - keep] + data[name_at:end]
            at = end + 1
        else:
            end = data.index(b"\0", name_at)
            last = data[name_at:end]
            at += (end - at) // 8 * 8 + 8
        if len(last) < _LENGTH and flags & _LENGTH != len(last):
            raise ValueError("not the length of this name")
        total += len(last)
        if total > MOST_BYTES:
            raise ValueError("more paths than any repository has")
        paths.add(last)
    return frozenset(paths)


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Reads a number as git encodes offsets in packs, and returns it with the position behind it. Raises ValueError for
    one beyond any name: it could be as long as the file."""
    byte = data[at]
    value = byte & 0x7F
    while byte & 0x80:
        if value > MOST_BYTES:
            raise ValueError("not the length of any name")
        at += 1
        byte = data[at]
        value = ((value + 1) << 7) | (byte & 0x7F)
    return value, at + 1
