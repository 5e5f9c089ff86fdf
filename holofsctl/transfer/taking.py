# SPDX-License-Identifier: GPL-3.0-or-later
"""Content of one file of the source, made ready for the volume: read, or brought into the staging folder.

The source is not changed by any of this. A file that changes while it is read is read again, a few times.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

from blake3 import blake3

from holofsctl.transfer import copying
from holofsctl.transfer.copying import Tick

_ATTEMPTS: Final = 3
_NO_LINK: Final = (
    *(errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL),
    errno.EROFS,
)
"""Answers of filesystems, and of the kernel for files of others, where no hard link can be made."""


class CannotTake(Exception):
    """A file that is left out. The text says why, as the rest of a sentence."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Content that is ready. `hash`: of what was read on the way; empty where nothing was. `how`: moved, cloned or
    copied; empty for content that is in `data`."""

    stat: os.stat_result
    data: bytes | None = None
    staging: str = ""
    how: str = ""
    hash: bytes = b""


@dataclass(frozen=True, slots=True)
class Taker:
    """Maker of content in one staging folder. `inline`: the most bytes that are taken as data. `move`: by hard link
    where the disk allows it. `hashes`: also what need not be read. `room`: called before bytes are copied there."""

    folder: bytes
    inline: int
    move: bool
    hashes: bool
    room: Callable[[int], None]

    def take(self, full: bytes, seen: os.stat_result, tick: Tick) -> Taken:
        """Content of a regular file. Raises CannotTake, OSError where the staging folder cannot be written."""
        for _ in range(_ATTEMPTS):
            with opened(full, seen) as (source, before):
                taken = self._take(full, source, before, tick)
                if _same(os.fstat(source), before):
                    return taken
                self.drop(taken)
            try:
                seen = os.lstat(full)
            except OSError as error:
                raise CannotTake(f"it was removed while it was read ({error.strerror})") from None
        raise CannotTake("it changes while it is read: import it again when no program writes it")

    def _take(self, full: bytes, source: int, found: os.stat_result, tick: Tick) -> Taken:
        if self.move and _has_writer(source):
            raise CannotTake("a program has it open for writing: import it again when it is closed")
        if found.st_size <= self.inline:
            data = _all_of(source, found.st_size)
            tick(len(data))
            return Taken(found, data, hash=blake3(data).digest())
        if self.move and found.st_uid == os.geteuid():
            taken = Taken(found, staging=secrets.token_hex(12), how="moved")
            if self._linked(full, taken.staging, found):
                try:
                    return replace(taken, hash=self._hash(source, found, tick))
                except BaseException:
                    self.drop(taken)
                    raise
        return self._copied(source, found, tick)

    def _linked(self, full: bytes, staging: str, found: os.stat_result) -> bool:
        place = self._place(staging)
        try:
            os.link(full, place, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_LINK:
                return False
            raise
        there = os.lstat(place)
        if (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino):
            return True
        os.unlink(place)  # another file has the name by now
        raise CannotTake("another file took its place while it was imported: import again")

    def _copied(self, source: int, found: os.stat_result, tick: Tick) -> Taken:
        staging = secrets.token_hex(12)
        target = os.open(self._place(staging), os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if copying.clone(source, target):
                return Taken(found, staging=staging, how="cloned", hash=self._hash(source, found, tick))
            self.room(found.st_size)
            return Taken(found, staging=staging, how="copied", hash=copying.copy(source, target, found.st_size, tick))
        except BaseException:
            os.unlink(self._place(staging))
            raise
        finally:
            os.close(target)

    def _hash(self, source: int, found: os.stat_result, tick: Tick) -> bytes:
        if self.hashes:
            return copying.hash_of(source, found.st_size, tick)
        tick(found.st_size)
        return b""

    def _place(self, staging: str) -> bytes:
        return self.folder + b"/" + staging.encode()

    def drop(self, taken: Taken) -> None:
        """Removes what was made in the staging folder; the source keeps its file."""
        if taken.staging:
            with suppress(FileNotFoundError):
                os.unlink(self._place(taken.staging))


def hash_file(full: bytes, seen: os.stat_result, tick: Tick) -> bytes:
    """BLAKE3 of a regular file that does not change meanwhile. Raises CannotTake."""
    with opened(full, seen) as (source, before):
        found = copying.hash_of(source, before.st_size, tick)
        if not _same(os.fstat(source), before):
            raise CannotTake("it changes while it is read: import it again when no program writes it")
        return found


@contextmanager
def opened(full: bytes, seen: os.stat_result) -> Iterator[tuple[int, os.stat_result]]:
    """Descriptor and facts of a regular file that was seen before. Never follows a symlink or waits for a pipe. Raises
    CannotTake."""
    try:
        source = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CannotTake(f"it cannot be read ({error.strerror})") from None
    try:
        found = os.fstat(source)
        if not stat.S_ISREG(found.st_mode) or (found.st_dev, found.st_ino) != (seen.st_dev, seen.st_ino):
            raise CannotTake("something else took its place while it was imported: import again")
        yield source, found
    finally:
        os.close(source)


def unchanged(full: bytes, taken: os.stat_result) -> bool:
    """Returns whether a name still leads to the file as it was taken."""
    try:
        return _same(os.lstat(full), taken)
    except OSError:
        return False


def _same(now: os.stat_result, before: os.stat_result) -> bool:
    """Compares what changes when a program writes. The times of a hard link's making do not count."""
    return (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns) == (
        before.st_dev,
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    )


def _has_writer(source: int) -> bool:
    """Returns whether some process has the file open for writing. False where the kernel cannot tell: it grants a read
    lease (fcntl(2), F_SETLEASE) only on a file without writers."""
    try:
        # Whoever opens the file while the lease is held is announced by this signal; SIGIO would end the process.
        fcntl.fcntl(source, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(source, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(source, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False


def _all_of(source: int, size: int) -> bytes:
    parts = []
    while size and (piece := os.read(source, size)):
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)
