# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations of programs on a directory, each answered by a value or an errno: two directories can be compared."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
MOST_OPEN = 6


@dataclass(frozen=True)
class Op:
    name: str
    args: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"{self.name}{self.args}"


@dataclass
class Mapping:
    """A shared mapping, and a descriptor that tells how long the file is: touching it beyond that ends the process."""

    memory: mmap.mmap
    descriptor: int

    def safe(self) -> int:
        return min(len(self.memory), os.fstat(self.descriptor).st_size)

    def close(self) -> None:
        self.memory.close()
        os.close(self.descriptor)


class Place:
    """A directory with what is open in it. The same operations on two of them shall have the same answers."""

    def __init__(self, root: Path, *, is_local: bool = False) -> None:
        self.root = root
        self._is_local = is_local
        root.mkdir()
        self._began_ns = os.stat(root).st_mtime_ns
        self._turn = 0
        self._turns: dict[int, tuple[int, int]] = {}
        """Of each inode the time at which it was written, and in which turn that was seen first."""
        self._open: list[int] = []
        self._mapped: list[Mapping] = []

    def do(self, op: Op) -> Any:
        """Do it. Returns what it gives; an errno by its name; None also if there is nothing to do it with."""
        try:
            return getattr(self, op.name)(*op.args)
        except OSError as error:
            return errno.errorcode[error.errno or 0]

    def close(self) -> None:
        for descriptor in self._open:
            os.close(descriptor)
        for mapping in self._mapped:
            mapping.close()
        self._open, self._mapped = [], []

    def _at(self, path: str) -> str:
        return str(self.root / path)

    def _fd(self, index: int) -> int:
        if not self._open:
            raise OSError(errno.EBADF, "nothing is open")
        return self._open[index % len(self._open)]

    # ---- by name
    def write(self, path: str, flags: int, data: bytes) -> int:
        descriptor = os.open(self._at(path), os.O_WRONLY | flags, 0o644)
        try:
            return os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def read(self, path: str) -> bytes:
        return Path(self._at(path)).read_bytes()

    def truncate(self, path: str, size: int) -> None:
        same = self._is_local and os.stat(self._at(path)).st_size == size
        os.truncate(self._at(path), size)
        if same:
            # POSIX has truncate() renew the time in any case; the filesystems of Linux do for ftruncate() alone.
            os.utime(self._at(path))

    def open_and_close(self, path: str, flags: int) -> None:
        """Open and close the file, as `: > path` does."""
        os.close(os.open(self._at(path), os.O_WRONLY | flags, 0o644))

    def rename_folder(self, source: str, path: str) -> tuple[int, int]:
        """Rename a directory onto an empty one. Returns how many links the two that hold them have then, at once."""
        for each in (source, path):
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._at(each))
        os.rename(self._at(source), self._at(path))
        return self.stat(os.path.dirname(source))[1], self.stat(os.path.dirname(path))[1]

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._at(path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self._at(path))

    def unlink(self, path: str) -> None:
        os.unlink(self._at(path))

    def symlink(self, target: str, path: str) -> None:
        os.symlink(target, self._at(path))

    def readlink(self, path: str) -> str:
        return os.readlink(self._at(path))

    def link(self, source: str, path: str) -> None:
        os.link(self._at(source), self._at(path), follow_symlinks=False)

    def rename(self, source: str, path: str, flags: int) -> None:
        names = os.fsencode(self._at(source)), os.fsencode(self._at(path))
        if _libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], flags):
            raise OSError(ctypes.get_errno(), "renameat2")

    def save(self, path: str, data: bytes) -> None:
        """Save a file as an editor does."""
        self.write(path + "~", os.O_CREAT | os.O_TRUNC, data)
        os.rename(self._at(path + "~"), self._at(path))

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self._at(path), mode)

    def utime(self, path: str, mtime_ns: int) -> int:
        os.utime(self._at(path), ns=(mtime_ns, mtime_ns), follow_symlinks=False)
        return os.lstat(self._at(path)).st_mtime_ns

    def setxattr(self, path: str, name: str, value: bytes, flags: int) -> None:
        os.setxattr(self._at(path), name, value, flags)

    def getxattr(self, path: str, name: str) -> bytes:
        return os.getxattr(self._at(path), name)

    def removexattr(self, path: str, name: str) -> None:
        os.removexattr(self._at(path), name)

    def listxattr(self, path: str) -> list[str]:
        return sorted(os.listxattr(self._at(path)))

    def touch(self, path: str) -> None:
        """Touch the file, by the kernel's clock."""
        os.utime(self._at(path))

    def stat(self, path: str) -> tuple[int, int, int]:
        return _seen(os.stat(self._at(path)), self._at(path))

    def times(self) -> dict[str, int | None]:
        """Times of everything in it, and of itself: a time that was asked for, or None for one that was given since."""
        return {path: None if when >= self._began_ns else when for path, when in self._times().items()}

    def order(self) -> set[tuple[str, str]]:
        """Pairs of names, the first of which was written before the second one."""
        times = [(path, when) for path, when in self._times().items() if when >= self._began_ns]
        return {(one, other) for one, when in times for other, then in times if when < then}

    def order_of_calls(self) -> set[tuple[str, str]]:
        """The pairs of `order` that were written by two operations: what one of them writes has no order."""
        turns = self._turns
        written = {path: turns[os.lstat(self._at(path)).st_ino][1] for path in self._times()}
        return {(one, other) for one, other in self.order() if written[one] != written[other]}

    def note_turn(self) -> None:
        """Note what was written since the last time, by inode."""
        self._turn += 1
        now = {os.lstat(self._at(path)).st_ino: when for path, when in self._times().items()}
        known = self._turns
        self._turns = {
            ino: known[ino] if ino in known and known[ino][0] == when else (when, self._turn)
            for ino, when in now.items()
        }

    def _times(self) -> dict[str, int]:
        found = {".": os.stat(self.root).st_mtime_ns}
        for folder, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                found[os.path.relpath(path, self.root)] = os.lstat(path).st_mtime_ns
        return found

    def list(self, path: str) -> list[tuple[str, bool, bool]]:
        with os.scandir(self._at(path)) as entries:
            return sorted((entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink()) for entry in entries)

    # ---- through descriptors that stay open
    def open(self, path: str, flags: int) -> None:
        if len(self._open) < MOST_OPEN:
            self._open.append(os.open(self._at(path), os.O_RDWR | flags, 0o644))

    def close_one(self, index: int) -> None:
        os.close(self._fd(index))
        self._open.pop(index % len(self._open))

    def pwrite(self, index: int, data: bytes, offset: int) -> int:
        return os.pwrite(self._fd(index), data, offset)

    def pread(self, index: int, size: int, offset: int) -> bytes:
        return os.pread(self._fd(index), size, offset)

    def ftruncate(self, index: int, size: int) -> None:
        os.ftruncate(self._fd(index), size)

    def ftruncate_to_its_size(self, index: int) -> None:
        os.ftruncate(self._fd(index), os.fstat(self._fd(index)).st_size)

    def fsync(self, index: int) -> None:
        os.fsync(self._fd(index))

    def fstat(self, index: int) -> tuple[int, int, int]:
        found = os.fstat(self._fd(index))
        return found.st_mode, found.st_nlink, found.st_size

    def write_on(self, index: int, data: bytes) -> int:
        """Write where the last write ended; at the end, if it was opened to append."""
        return os.write(self._fd(index), data)

    def seek(self, index: int, offset: int, whence: int) -> int:
        return os.lseek(self._fd(index), offset, whence)

    def copy(self, source: int, target: int, size: int, offset: int) -> int:
        """Copy by the kernel, from one open file to another, from its beginning."""
        return os.copy_file_range(self._fd(source), self._fd(target), size, 0, offset)

    def fchmod(self, index: int, mode: int) -> None:
        os.fchmod(self._fd(index), mode)

    def futime(self, index: int, mtime_ns: int) -> int:
        os.utime(self._fd(index), ns=(mtime_ns, mtime_ns))
        return os.fstat(self._fd(index)).st_mtime_ns

    def fsetxattr(self, index: int, name: str, value: bytes) -> bytes:
        os.setxattr(self._fd(index), name, value)
        return os.getxattr(self._fd(index), name)

    def sync_folder(self, path: str) -> None:
        descriptor = os.open(self._at(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # ---- through shared mappings, which outlive their descriptors
    def map(self, index: int) -> str:
        descriptor = self._fd(index)
        size = os.fstat(descriptor).st_size
        if not size or len(self._mapped) >= MOST_OPEN:
            return "nothing to map"
        self._mapped.append(Mapping(mmap.mmap(descriptor, size), os.dup(descriptor)))
        return "mapped"

    def map_write(self, index: int, data: bytes, offset: int, flush: bool) -> int:
        if not self._mapped:
            return 0
        mapping = self._mapped[index % len(self._mapped)]
        room = max(min(len(data), mapping.safe() - offset), 0)
        mapping.memory[offset : offset + room] = data[:room]
        if flush:
            mapping.memory.flush()
        return room

    def map_read(self, index: int) -> bytes:
        if not self._mapped:
            return b""
        mapping = self._mapped[index % len(self._mapped)]
        return mapping.memory[: mapping.safe()]

    def unmap(self, index: int) -> None:
        if self._mapped:
            self._mapped.pop(index % len(self._mapped)).close()


def _seen(found: os.stat_result, path: str) -> tuple[int, int, int]:
    """Kind and mode, links and size (of a directory no size: filesystems differ, and for links each says at least what
    is in it, or 1)."""
    if stat.S_ISDIR(found.st_mode):
        with os.scandir(path) as entries:
            directories = sum(entry.is_dir(follow_symlinks=False) for entry in entries)
        return found.st_mode, found.st_nlink - directories if found.st_nlink != 1 else 2, 0
    return found.st_mode, found.st_nlink, found.st_size


def _op(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Op]:
    return st.tuples(*arguments).map(lambda args: Op(name, args))


_NAMES = st.sampled_from(["a", "b", "c"])
_PATHS = st.one_of(
    _NAMES, _NAMES, st.tuples(_NAMES, _NAMES).map("/".join), st.tuples(_NAMES, _NAMES, _NAMES).map("/".join)
)
# Inline, at the edges of inline and of a page, and what needs a staging file.
_SIZES = st.sampled_from([0, 1, 10, 4095, 4096, 4097, 65_536, 65_537, 150_000])
_DATA = st.one_of(
    st.binary(max_size=8), st.tuples(st.binary(min_size=1, max_size=2), _SIZES).map(lambda p: (p[0] * p[1])[: p[1]])
)
_OFFSETS = st.sampled_from([0, 1, 4090, 4096, 65_530, 100_000])
# The longest name there can be, one too long, and one that is no text.
_ODD_NAMES = st.sampled_from(["n" * 255, "n" * 256, "\udcff\udcfe", "a b'\"\n", "b/" + "n" * 255])
_CREATE = st.sampled_from([os.O_CREAT, os.O_CREAT | os.O_TRUNC, os.O_CREAT | os.O_EXCL, os.O_APPEND, 0])
_INDEX = st.integers(0, MOST_OPEN - 1)
_XATTRS = st.sampled_from(["user.one", "user.two"])

OPERATIONS = st.one_of(
    _op("write", _PATHS, _CREATE, _DATA),
    _op("write", _PATHS, st.just(os.O_CREAT | os.O_TRUNC), _DATA),
    _op("save", _PATHS, _DATA),
    _op("write", _ODD_NAMES, _CREATE, _DATA),
    _op("rename", _PATHS, _ODD_NAMES, st.just(0)),
    _op("rename", _ODD_NAMES, _PATHS, st.just(0)),
    _op("read", _PATHS),
    _op("truncate", _PATHS, _SIZES),
    _op("mkdir", _PATHS, st.sampled_from([0o755, 0o700])),
    _op("mkdir", _PATHS, st.just(0o755)),
    _op("rmdir", _PATHS),
    _op("unlink", _PATHS),
    _op("symlink", st.sampled_from(["nowhere", "a", "b/c", "../a", "."]), _PATHS),
    _op("readlink", _PATHS),
    _op("link", _PATHS, _PATHS),
    _op("rename", _PATHS, _PATHS, st.just(0)),
    _op("rename", _PATHS, _PATHS, st.sampled_from([0, 1, 2])),
    _op("chmod", _PATHS, st.sampled_from([0o644, 0o755, 0o600, 0o4711])),
    _op("utime", _PATHS, st.sampled_from([0, 1_000_000_007, 1_700_000_000_123_456_789])),
    _op("setxattr", _PATHS, _XATTRS, st.binary(max_size=20), st.sampled_from([0, os.XATTR_CREATE, os.XATTR_REPLACE])),
    _op("getxattr", _PATHS, _XATTRS),
    _op("removexattr", _PATHS, _XATTRS),
    _op("listxattr", _PATHS),
    _op("touch", _PATHS),
    _op("open_and_close", _PATHS, st.sampled_from([os.O_TRUNC, os.O_CREAT, os.O_CREAT | os.O_TRUNC])),
    _op("ftruncate_to_its_size", _INDEX),
    _op("rename_folder", _PATHS, _PATHS),
    _op("sync_folder", st.one_of(st.just("."), _PATHS)),
    _op("stat", _PATHS),
    _op("list", st.one_of(st.just("."), _PATHS)),
    _op("open", _PATHS, st.sampled_from([0, 0, os.O_CREAT, os.O_APPEND, os.O_TRUNC, os.O_NOFOLLOW])),
    _op("close_one", _INDEX),
    _op("pwrite", _INDEX, _DATA, _OFFSETS),
    _op("pread", _INDEX, st.sampled_from([1, 5000, 200_000]), _OFFSETS),
    _op("ftruncate", _INDEX, _SIZES),
    _op("fsync", _INDEX),
    _op("fstat", _INDEX),
    _op("write_on", _INDEX, _DATA),
    _op("seek", _INDEX, _OFFSETS, st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])),
    _op("copy", _INDEX, _INDEX, _SIZES, _OFFSETS),
    _op("fchmod", _INDEX, st.sampled_from([0o644, 0o600])),
    _op("futime", _INDEX, st.sampled_from([0, 1_700_000_000_123_456_789])),
    _op("fsetxattr", _INDEX, _XATTRS, st.binary(max_size=20)),
    _op("map", _INDEX),
    _op("map", _INDEX),
    _op("map_write", _INDEX, _DATA, _OFFSETS, st.booleans()),
    _op("map_write", _INDEX, _DATA, _OFFSETS, st.booleans()),
    _op("map_read", _INDEX),
    _op("unmap", _INDEX),
)
PROGRAMS = st.lists(OPERATIONS, min_size=5, max_size=50)
