# SPDX-License-Identifier: GPL-3.0-or-later
"""Closed files that the daemon has not confirmed yet, in a file of this mount's own (format: `holofs_api.journal`)."""

from __future__ import annotations

import fcntl
import os
from typing import Final

import structlog

from holofs_api.journal import record
from holofs_api.v1 import filesystem_pb2 as pb

log = structlog.get_logger(__name__)

_MOST_BYTES: Final = 8 << 20
"""Beyond that a program waits for the daemon, which empties it."""


class Journal:
    """Closed until the daemon says where it is."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._path = ""
        self._size = 0
        self._inos: set[int] = set()

    def open(self, path: str) -> None:
        """Where the daemon wants it; empty: nowhere. What is in it stays there while that is the same file."""
        if path == self._path and self._descriptor >= 0 and os.fstat(self._descriptor).st_nlink:
            return
        self.close()
        if not path:
            return
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            log.warning("no journal: whoever closes a new file waits for the daemon", reason=str(error))
            return
        self._descriptor, self._path = descriptor, path
        self._size = os.fstat(descriptor).st_size

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._path, self._size = -1, "", 0
        self._inos.clear()

    def keep(self, request: pb.CreateRequest) -> bool:
        """After this the file outlives every process. False: it could not be written down."""
        if self._append(request):
            self._inos.add(request.ino)
            return True
        return False

    def gone(self, ino: int) -> None:
        """The file that was kept lost its name since."""
        if ino in self._inos:
            self._inos.discard(ino)
            self._append(pb.CreateRequest(ino=ino))

    def clear(self) -> None:
        """The daemon has all of it."""
        if self._size:
            os.ftruncate(self._descriptor, 0)
            self._size = 0
            self._inos.clear()

    def _append(self, request: pb.CreateRequest) -> bool:
        data = record(request.SerializeToString())
        if self._descriptor < 0 or self._size + len(data) > _MOST_BYTES:
            return False
        try:
            if os.write(self._descriptor, data) == len(data):
                self._size += len(data)
                return True
            os.ftruncate(self._descriptor, self._size)  # the disk is full
        except OSError as error:
            log.warning("the journal cannot be written", reason=str(error))
        return False
