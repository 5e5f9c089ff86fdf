# SPDX-License-Identifier: GPL-3.0-or-later
"""Content of files: cloned where the disk can (reflink), else copied with its holes, and hashed on the way."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from typing import Final

from blake3 import blake3

FICLONE: Final = 0x40049409
"""ioctl(2) that makes a file share all blocks of another one: linux/fs.h."""
_PIECE: Final = 1 << 20
_ZEROES: Final = bytes(_PIECE)
_CANNOT: Final = (
    *(errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.ENOSYS, errno.EISDIR),
    errno.ETXTBSY,
)
"""Answers of filesystems that cannot share blocks, or not these."""

Tick = Callable[[int], None]
"""Told of bytes that were read."""


def clone(source: int, target: int) -> bool:
    """Makes an empty file share the blocks of another one. False where the disk cannot; raises OSError."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise
    return True


def copy(source: int, target: int, size: int, tick: Tick) -> bytes:
    """Copies `size` bytes, less if the file ends before, and keeps holes. Returns the BLAKE3 of what was copied."""
    digest = _hashed(source, size, tick, target)
    os.ftruncate(target, size)
    return digest


def append(source: int, offset: int, length: int, target: int, tick: Tick) -> None:
    """Copies bytes of a file to where `target` stands."""
    for piece in pieces(source, offset, length):
        _write(target, piece)
        tick(len(piece))


def pieces(source: int, offset: int, length: int) -> Iterator[bytes]:
    """Bytes of a file, from an offset on."""
    os.lseek(source, offset, os.SEEK_SET)
    return _pieces(source, length)


def hash_of(source: int, size: int, tick: Tick) -> bytes:
    """BLAKE3 of the first `size` bytes."""
    return _hashed(source, size, tick)


def _hashed(source: int, size: int, tick: Tick, target: int | None = None) -> bytes:
    """BLAKE3 of the first `size` bytes, of which the data goes into `target` on the way."""
    hasher = blake3()
    for start, end, is_data in _segments(source, size):
        if not is_data:
            _hash_zeroes(hasher, end - start, tick)
            continue
        os.lseek(source, start, os.SEEK_SET)
        if target is not None:
            os.lseek(target, start, os.SEEK_SET)
        for piece in _pieces(source, end - start):
            if target is not None:
                _write(target, piece)
            hasher.update(piece)
            tick(len(piece))
    return hasher.digest()


def _segments(source: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """(start, end, is data) from the beginning to `size`, without gaps."""
    at = 0
    while at < size:
        try:
            data = min(os.lseek(source, at, os.SEEK_DATA), size)
            hole = min(os.lseek(source, data, os.SEEK_HOLE), size) if data < size else size
        except OSError as error:
            # ENXIO: nothing but a hole from here on. Else the filesystem cannot tell: all of it is data.
            data, hole = (size, size) if error.errno == errno.ENXIO else (at, size)
        if data > at:
            yield at, data, False
        if hole > data:
            yield data, hole, True
        at = max(hole, data)


def _pieces(source: int, length: int) -> Iterator[bytes]:
    while length and (piece := os.read(source, min(length, _PIECE))):
        yield piece
        length -= len(piece)


def _hash_zeroes(hasher: blake3, length: int, tick: Tick) -> None:
    while length:
        piece = min(length, _PIECE)
        hasher.update(_ZEROES if piece == _PIECE else _ZEROES[:piece])
        tick(piece)
        length -= piece


def _write(target: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(target, left) :]
