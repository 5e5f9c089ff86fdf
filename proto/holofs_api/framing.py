# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of the fast lane: `CallRequest` and `CallReply`, each after its length (unsigned, 32 bits, big end first).

The client's first frame is the id of its attachment (ASCII); the daemon answers it with an empty frame, or hangs up.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

MAX_FRAME: Final = 64 << 20
MAX_GREETING: Final = 256
GREETING_S: Final = 5.0
"""Seconds for which either side waits for the first frame of the other."""

_LENGTH: Final = Struct(">I")


class FrameTooLong(Exception):
    """The other side is no client of ours, or a defect: hang up."""


def frame(body: bytes) -> bytes:
    return _LENGTH.pack(len(body)) + body


class FrameParser:
    """Cuts a stream of bytes into frames, however the pieces fall."""

    __slots__ = ("_at", "_data", "limit")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._data: bytes | bytearray = b""
        self._at = 0
        self.limit = limit

    def feed(self, data: bytes) -> None:
        if self._at == len(self._data):
            self._data, self._at = data, 0  # the rule: pieces end where frames end
            return
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        del self._data[: self._at]
        self._at = 0
        self._data += data

    def pop(self) -> bytes | None:
        """The next frame that is complete. Raises FrameTooLong."""
        start = self._at + 4
        if len(self._data) < start:
            return None
        (length,) = _LENGTH.unpack_from(self._data, self._at)
        if length > self.limit:
            raise FrameTooLong(f"a frame of {length} bytes")
        end = start + length
        if len(self._data) < end:
            return None
        self._at = end
        return bytes(self._data[start:end])
