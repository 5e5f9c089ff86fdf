# SPDX-License-Identifier: GPL-3.0-or-later
"""What mounts that are gone had promised to programs and not told: carried out from their journals (ADR 11)."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from blake3 import blake3
from google.protobuf.message import DecodeError

from holofs_api.journal import records
from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.core.errors import HoloError
from holofsd.core.ids import Ino
from holofsd.fs.types import Promised, ino_of

log = structlog.get_logger(__name__)

_LEFT: Final = ".left"

Make = Callable[[Ino, bytes, int, Promised], None]
"""(directory, name, mode, the rest): makes one file, once however often it is told. Raises HoloError, OSError."""


def promised_of(request: pb.CreateRequest) -> Promised:
    """Raises BadArgument."""
    return Promised(
        ino_of(request.ino),
        request.data if request.HasField("data") else None,
        request.mtime_ns if request.HasField("mtime_ns") else None,
        request.ctime_ns if request.HasField("ctime_ns") else None,
        request.kept,
    )


class Journals:
    def __init__(self, folder: Path, make: Make) -> None:
        self._folder = folder
        self._make = make

    def of(self, mount_id: str) -> str:
        """Where that mount may keep one; empty: nowhere."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError:  # the disk is full, most likely
            return ""
        return str(self._path(mount_id))

    def _path(self, mount_id: str) -> Path:
        return self._folder / blake3(mount_id.encode()).hexdigest(16)

    def waiting(self) -> int:
        """Journals with something in them: closed files of which the index may not know yet."""
        return sum(path.stat().st_size > 0 for path in self._folder.glob("*"))

    def carry_out(self, mount_id: str) -> None:
        """Of a mount that comes or is gone for good."""
        path = self._path(mount_id)
        if path.exists():
            self._carry_out(path)

    def carry_out_all(self) -> None:
        self._carry_out_those("*")

    def try_again(self) -> None:
        """What could not be carried out before."""
        self._carry_out_those("*" + _LEFT)

    def _carry_out_those(self, pattern: str) -> None:
        for path in sorted(self._folder.glob(pattern)):
            self._carry_out(path)

    def _carry_out(self, path: Path) -> None:
        """A journal whose mount lives stays as it is: nothing is made twice. One that cannot be carried out now is put
        aside, and tried again."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with open(descriptor, "rb", closefd=False) as file:
                whole = self._make_all(file.read())
            if not _is_left_alone(descriptor):
                return
            if whole:
                path.unlink()
            elif path.suffix != _LEFT:
                path.rename(path.with_name(f"{path.name}-{secrets.token_hex(4)}{_LEFT}"))
        finally:
            os.close(descriptor)

    def _make_all(self, data: bytes) -> bool:
        promised: dict[int, pb.CreateRequest] = {}
        for body in records(data):
            try:
                request = pb.CreateRequest.FromString(body)
            except DecodeError as error:
                log.error("a record of a journal cannot be read", problem=str(error))
                return False
            promised.pop(request.ino, None)
            if request.HasField("data"):
                promised[request.ino] = request
        problem = None
        for request in promised.values():
            try:
                self._make(ino_of(request.parent), request.name, request.mode, promised_of(request))
            except (HoloError, OSError) as error:
                problem = error
        if problem is not None:
            log.error("closed files are kept in a journal until they can be stored", problem=str(problem))
        return problem is None


def _is_left_alone(descriptor: int) -> bool:
    """No mount that lives holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
