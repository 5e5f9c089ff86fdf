# SPDX-License-Identifier: GPL-3.0-or-later
"""What nobody waits for, in a file that outlives every process (format: `holofs_api.journal`)."""

from __future__ import annotations

import fcntl
import os
import secrets
from typing import Final

import structlog

from holofs_api.journal import record
from holofs_api.v1 import filesystem_pb2 as pb

log = structlog.get_logger(__name__)

_MOST_BYTES: Final = 16 << 20
"""Beyond that a program waits for the daemon, which empties it."""
_LEAST_FREE: Final = 128 << 20
"""Bytes on the disk below: what is promised has to fit there once more, with room for what the daemon keeps free."""
_TRIES: Final = 3


class Journal:
    """Closed until the daemon says where it is. `name` is ours for the life of the process."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(16)
        self._wanted = False
        self._gap = False
        """A call could not be written down: until it is empty none may be, for that would be carried out before."""
        self._path = ""
        self._descriptor = -1
        self._size = 0
        self._number = 0

    def open(self, path: str) -> None:
        """Where the daemon wants it; empty: nothing more may be written. What is in it stays until it is cleared."""
        self._wanted = bool(path)
        if not path or (path == self._path and os.fstat(self._descriptor).st_nlink):
            return
        self.close()
        for _ in range(_TRIES):
            if self._opened(path):
                self._wanted = True
                return
        log.warning("no journal: programs wait for the daemon where they need not")

    def _opened(self, path: str) -> bool:
        """False: the daemon took the file away before it was locked."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(descriptor)
        except OSError:
            found = None
        if found is None or not found.st_nlink:
            os.close(descriptor)
            return False
        self._descriptor, self._path, self._size = descriptor, path, found.st_size
        return True

    def close(self) -> None:
        """What is still in it is left to the daemon."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._path, self._size = -1, "", 0
        self._wanted = self._gap = False

    def keep(self, request: pb.CallRequest) -> int:
        """The number under which this is written down, which it gets too: it outlives every process. 0: it does not."""
        if not self._wanted or self._gap:
            return 0
        data = record(self._number + 1, request.SerializeToString())
        try:
            self._gap = self._size + len(data) > _MOST_BYTES or not (self._is_room() and self._append(data))
        except OSError as error:
            log.warning("the journal cannot be written", reason=str(error))
            self._gap = True
        if self._gap:
            return 0
        self._size += len(data)
        self._number += 1
        return self._number

    def _append(self, data: bytes) -> bool:
        if os.write(self._descriptor, data) == len(data):
            return True
        os.ftruncate(self._descriptor, self._size)  # the disk is full
        return False

    def _is_room(self) -> bool:
        found = os.fstatvfs(self._descriptor)
        return found.f_bavail * found.f_frsize > _LEAST_FREE

    def clear(self) -> None:
        """The daemon has all of it."""
        if self._size:
            os.ftruncate(self._descriptor, 0)
            self._size = 0
        self._gap = False
