# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of open files: three ways in which a mount has content.

`MappedBody` reads what a content map says (inline bytes, ranges of local files, holes). `BufferedBody` is a small file
being written, in memory. `StagedBody` is a staging file that is read and written directly.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from typing import Final

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.unsaved import Unsaved

_MAX_FDS: Final = 64
_RESERVE: Final = 16 << 20
"""Bytes of the disk that staged writes leave free: half of the daemon's reserve, so it refuses new files before."""
_CHECK_EVERY: Final = 4 << 20
"""Bytes written between two checks of the free space."""


class NotHere(Exception):
    """The map does not lead to these bytes (any more): ask the daemon for [offset, offset + length)."""

    def __init__(self, offset: int, length: int, remote: bool, suspect: bool = False) -> None:
        super().__init__("bytes not here")
        self.offset = offset
        self.length = length
        self.remote = remote
        self.suspect = suspect
        """The bytes are where the map says, but cannot be read."""


class NoRoom(OSError):
    """ENOSPC of a write that was not begun: the disk has less left than staged writes leave free."""

    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC))


class MappedBody:
    """Read-only content by map. Files that were opened stay open, so what could be read stays readable."""

    __slots__ = ("_fds", "_size", "_starts", "_whole", "content")

    def __init__(self, content: pb.ContentMap) -> None:
        self.content = content
        self._size = content.size
        self._starts = [extent.offset for extent in content.extents]
        self._fds: dict[str, int] = {}
        first = content.extents[0] if len(self._starts) == 1 else None
        self._whole = first if first is not None and (first.offset, first.length) == (0, self._size) else None
        """The only extent, where all content is in one place, as it nearly always is."""

    def size(self) -> int:
        return self._size

    def read(self, offset: int, size: int) -> bytes:
        """Returns at most `size` bytes, fewer only at the end. Raises NotHere where the map does not help."""
        end = min(offset + size, self._size)
        if offset >= end:
            return b""
        if self._whole is not None:
            return self._read_extent(self._whole, offset, end - offset, offset)
        index = max(bisect_right(self._starts, offset) - 1, 0)
        pieces: list[bytes] = []
        at = offset
        extents = self.content.extents
        while at < end:
            if index >= len(extents) or extents[index].offset > at:
                raise NotHere(at, end - at, remote=False)
            extent = extents[index]
            until = min(end, extent.offset + extent.length)
            pieces.append(self._read_extent(extent, at - extent.offset, until - at, at))
            at = until
            index += 1
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def first_remote(self, offset: int, end: int) -> int | None:
        """Offset at which the next remote extent in [offset, end) begins."""
        for extent in self.content.extents:
            if extent.offset + extent.length > offset and extent.WhichOneof("source") == "remote":
                start = max(offset, extent.offset)
                return start if start < end else None
        return None

    def hold(self) -> None:
        """Opens all local files, so that they stay readable. Raises NotHere."""
        for extent in self.content.extents:
            if extent.WhichOneof("source") == "local" and extent.local.path not in self._fds:
                self._fds[extent.local.path] = self._open(extent.local.path, extent.offset, extent.length)

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def _read_extent(self, extent: pb.Extent, skip: int, length: int, at: int) -> bytes:
        source = extent.WhichOneof("source")
        if source == "local":
            return self._read_local(extent.local.path, extent.local.offset + skip, length, at)
        if source == "inline":
            return extent.inline[skip : skip + length]
        if source == "hole":
            return bytes(length)
        raise NotHere(at, length, remote=True)

    def _read_local(self, path: str, offset: int, length: int, at: int) -> bytes:
        fd = self._fds.get(path)
        if fd is None:
            fd = self._open(path, at, length)
        try:
            data = os.pread(fd, length, offset)
            while len(data) < length:
                more = os.pread(fd, length - len(data), offset + len(data))
                if not more:
                    raise NotHere(at, length, remote=False, suspect=True)
                data += more
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise NotHere(at, length, remote=False, suspect=True) from error
        return data

    def _open(self, path: str, at: int, length: int) -> int:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotHere(at, length, remote=False) from None
        if len(self._fds) >= _MAX_FDS:
            os.close(self._fds.pop(next(iter(self._fds))))
        self._fds[path] = fd
        return fd


class BufferedBody:
    """All of a small file, in memory, until a flush carries it to the daemon.

    `stored`: length of the beginning that the daemon has as this file's content, where all after it was appended; None:
    the buffer replaces the daemon's content. `synced`: an fsync has brought an earlier state of it to a staging file.
    """

    __slots__ = ("data", "stored", "synced")

    def __init__(self, stored: int | None = None) -> None:
        self.data = bytearray()
        self.stored = stored
        self.synced = False

    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def append(self, data: bytes) -> tuple[int, int]:
        """Appends, like `StagedBody.append`."""
        self.data += data
        return len(self.data) - len(data), len(data)

    def write(self, offset: int, data: bytes) -> None:
        self.stored = None
        gap = offset - len(self.data)
        if gap > 0:
            self.data.extend(bytes(gap))
        self.data[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        self.stored = None
        if size <= len(self.data):
            del self.data[size:]
        else:
            self.data.extend(bytes(size - len(self.data)))

    def close(self) -> None:
        pass


class StagedBody:
    """A staging file, shared with the daemon and with other mounts on this device.

    `unsaved`: changes since the last commit. `displaced`: the file was finalized, and `unsaved` has to go to the
    staging file that the daemon names now.
    """

    __slots__ = ("_appending", "_fd", "_unchecked", "displaced", "path", "unsaved", "writable")

    def __init__(self, path: str, write: bool) -> None:
        self._appending: int | None = None
        self.unsaved = Unsaved()
        self.displaced = False
        self._unchecked = _CHECK_EVERY
        self.path = path
        self.writable = write
        self._fd = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)

    def write(self, offset: int, data: bytes) -> None:
        """Writes at an offset. Raises NoRoom while there is still some room, which the index needs."""
        self._check_room(len(data))
        start = min(offset, self.size())  # with the hole between the end and the offset
        written = os.pwrite(self._fd, data, offset)
        while written < len(data):
            written += os.pwrite(self._fd, memoryview(data)[written:], offset + written)
        self.unsaved.wrote(start, offset + written, appended=False)

    def append(self, data: bytes) -> tuple[int, int]:
        """Writes at the end, wherever other mounts have moved it: the kernel orders the appends of one file.

        Returns the offset and how much was written, less than all only where the disk became full. Raises as `write`.
        """
        self._check_room(len(data))
        if self._appending is None:
            self._appending = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        written = os.write(self._appending, data)
        end = os.lseek(self._appending, 0, os.SEEK_CUR)
        self.unsaved.wrote(end - written, end, appended=True)
        return end - written, written

    def _check_room(self, more: int) -> None:
        self._unchecked += more
        if self._unchecked >= _CHECK_EVERY:
            found = os.fstatvfs(self._fd)
            if found.f_bavail * found.f_frsize < _RESERVE:
                raise NoRoom
            self._unchecked = 0

    def truncate(self, size: int) -> None:
        before = self.size()
        os.ftruncate(self._fd, size)
        self.unsaved.resized(before, size)

    def sync(self) -> None:
        os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)
        if self._appending is not None:
            os.close(self._appending)


Body = MappedBody | BufferedBody | StagedBody
