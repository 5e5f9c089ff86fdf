# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of local files, and of zeros, that are the content of a file one after the other."""

from __future__ import annotations

import errno
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

_COPY_BYTES: Final = 64 << 20
_READ_BYTES: Final = 1 << 20
_CANNOT_COPY: Final = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a kernel or filesystem without copy_file_range says."""


@dataclass(frozen=True, slots=True)
class ContentPiece:
    """Some bytes of a local file, from `start` on; without a path: zeros."""

    path: Path | None
    length: int
    start: int = 0

    def open(self) -> OpenPiece:
        """Raises FileNotFoundError."""
        if self.path is None:
            return OpenPiece(None, self.length)
        file = self.path.open("rb", buffering=0)
        file.seek(self.start)
        return OpenPiece(file, self.length)


class OpenPiece:
    """A piece that is being read, also after its file has lost its name."""

    def __init__(self, file: BinaryIO | None, length: int) -> None:
        self._file = file
        self._left = length

    @classmethod
    def of_bytes(cls, data: bytes) -> OpenPiece:
        return cls(io.BytesIO(data), len(data))

    def read(self, most: int) -> bytes:
        """The next bytes, none at the end. Blocking."""
        size = min(most, self._left)
        data = bytes(size) if self._file is None else self._file.read(size)
        self._left = self._left - len(data) if data else 0
        return data

    def __enter__(self) -> OpenPiece:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def copy_pieces(pieces: list[ContentPiece], target: Path) -> None:
    """Blocking. The kernel copies, or shares the blocks where the filesystem can; zeros become holes."""
    with open(target, "r+b", buffering=0) as out:
        for piece in pieces:
            if piece.path is None:
                out.truncate(out.seek(piece.length, os.SEEK_CUR))
            else:
                with open(piece.path, "rb", buffering=0) as source:
                    source.seek(piece.start)
                    _copy(source, out, piece.length)


def _copy(source: BinaryIO, out: BinaryIO, left: int) -> None:
    try:
        while left and (done := os.copy_file_range(source.fileno(), out.fileno(), min(left, _COPY_BYTES))):
            left -= done
    except OSError as error:
        if error.errno not in _CANNOT_COPY:
            raise
        while left and (data := source.read(min(left, _READ_BYTES))):
            left -= out.write(data)
