# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal of a mount: a file of acknowledged operations that outlives every process (format: `holofs_api.journal`)."""

from __future__ import annotations

import fcntl
import os
import secrets
from typing import Final

import structlog

from holofs_api.journal import record
from holofs_api.v1 import filesystem_pb2 as pb

log = structlog.get_logger(__name__)

_MAX_BYTES: Final = 16 << 20
"""Size of the file beyond which operations run synchronously until the daemon has answered everything in it."""
_MIN_FREE_BYTES: Final = 128 << 20
"""Free bytes on the disk below which nothing is appended: the daemon needs room to store the content once more."""
_MAX_TRIES: Final = 3


class Journal:
    """Closed until the daemon names its path. `name` belongs to this process for its whole life."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(16)
        self._enabled = False
        self._gap = False
        """An operation could not be appended. Until the journal is empty no later one may be: it would run first."""
        self._path = ""
        self._descriptor = -1
        self._size = 0
        self._number = 0

    def open(self, path: str) -> None:
        """Opens the file at `path`. Empty: appends nothing from now on, and leaves the file as it is until `clear`."""
        self._enabled = bool(path)
        if not path or (path == self._path and os.fstat(self._descriptor).st_nlink):
            return
        self.close()
        for _ in range(_MAX_TRIES):
            if self._opened(path):
                self._enabled = True
                return
        log.warning("no journal: programs wait for the daemon where they need not")

    def _opened(self, path: str) -> bool:
        """Opens and locks the file. False: the daemon removed it before it was locked."""
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
        """Closes and unlocks the file. The daemon carries out what is still in it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._path, self._size = -1, "", 0
        self._enabled = self._gap = False

    def append(self, request: pb.CallRequest) -> int:
        """Appends one operation and returns its number, which travels with the call. 0: it could not be appended.

        After a number was returned the operation survives `kill -9` of every process.
        """
        if not self._enabled or self._gap:
            return 0
        data = record(self._number + 1, request.SerializeToString())
        try:
            self._gap = self._size + len(data) > _MAX_BYTES or not (self._has_room() and self._write(data))
        except OSError as error:
            log.warning("the journal cannot be written", reason=str(error))
            self._gap = True
        if self._gap:
            return 0
        self._size += len(data)
        self._number += 1
        return self._number

    def _write(self, data: bytes) -> bool:
        if os.write(self._descriptor, data) == len(data):
            return True
        os.ftruncate(self._descriptor, self._size)  # the disk is full
        return False

    def _has_room(self) -> bool:
        found = os.fstatvfs(self._descriptor)
        return found.f_bavail * found.f_frsize > _MIN_FREE_BYTES

    def clear(self) -> None:
        """Empties the file: the daemon has answered every operation in it for good."""
        if self._size:
            os.ftruncate(self._descriptor, 0)
            self._size = 0
        self._gap = False
