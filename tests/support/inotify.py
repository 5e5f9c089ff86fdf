# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that watches folders by inotify, as editors and dev servers do."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Final

MODIFY: Final = 0x2
CLOSE_WRITE: Final = 0x8
CREATE: Final = 0x100
DELETE: Final = 0x200
_NAMES: Final = {MODIFY: "modify", CLOSE_WRITE: "close_write", CREATE: "create", DELETE: "delete"}
_HEADER: Final = struct.Struct("iIII")
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """Watch of one folder or file for what is made, written and removed."""

    def __init__(self, path: Path) -> None:
        self._fd = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert _LIBC.inotify_add_watch(self._fd, os.fsencode(path), sum(_NAMES)) >= 0
        self._seen: list[tuple[str, str]] = []

    def events(self) -> list[tuple[str, str]]:
        """All events until now: what, and the name in the folder."""
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return self._seen
        at = 0
        while at < len(data):
            _, mask, _, length = _HEADER.unpack_from(data, at)
            name = data[at + _HEADER.size : at + _HEADER.size + length].rstrip(b"\0")
            at += _HEADER.size + length
            self._seen += [(what, os.fsdecode(name)) for bit, what in _NAMES.items() if mask & bit]
        return self._seen

    def __enter__(self) -> Inotify:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._fd)
