# SPDX-License-Identifier: GPL-3.0-or-later
"""The same operations as `harness.Program`, on a local directory: what a program on an ordinary disk sees."""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path

from holofsd.core.state import Kind
from holofsd.fs.types import RenameFlags
from tests.fs.harness import Program

Seen = tuple[Kind, int, int, int, bytes]
"""Kind, mode (not of symlinks), size (not of directories), link count, content or target."""

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100


class LocalDirectory:
    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.kept: list[int] = []

    def _at(self, path: str) -> str:
        return str(self.root / path)

    def passes_symlink(self, path: str, final: bool) -> bool:
        """Whether a component is a symlink, which the kernel follows before it asks a filesystem."""
        parts = path.split("/")
        upto = len(parts) if final else len(parts) - 1
        return any(os.path.islink(self._at("/".join(parts[: i + 1]))) for i in range(upto))

    def close(self) -> None:
        for descriptor in self.kept:
            os.close(descriptor)

    # ---- operations
    def write(self, path: str, data: bytes) -> None:
        descriptor = os.open(self._at(path), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def create_new(self, path: str) -> None:
        os.close(os.open(self._at(path), os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644))

    def append(self, path: str, data: bytes) -> None:
        descriptor = os.open(self._at(path), os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def truncate(self, path: str, size: int) -> None:
        os.truncate(self._at(path), size)

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self._at(path), mode)

    def utime(self, path: str, mtime_ns: int) -> None:
        os.utime(self._at(path), ns=(mtime_ns, mtime_ns), follow_symlinks=False)

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._at(path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self._at(path))

    def unlink(self, path: str) -> None:
        os.unlink(self._at(path))

    def symlink(self, target: str, path: str) -> None:
        os.symlink(target, self._at(path))

    def link(self, source: str, path: str) -> None:
        os.link(self._at(source), self._at(path), follow_symlinks=False)

    def rename(self, source: str, path: str, flags: RenameFlags) -> None:
        args = (_AT_FDCWD, os.fsencode(self._at(source)), _AT_FDCWD, os.fsencode(self._at(path)), int(flags))
        if _libc.renameat2(*args):
            raise OSError(ctypes.get_errno(), "renameat2")

    # ---- files that stay open
    def keep(self, path: str) -> None:
        self.kept.append(os.open(self._at(path), os.O_RDWR))

    def write_kept(self, index: int, data: bytes) -> None:
        os.ftruncate(self.kept[index], 0)
        os.pwrite(self.kept[index], data, 0)

    def read_kept(self, index: int) -> bytes:
        return os.pread(self.kept[index], 1 << 20, 0)

    def nlink_kept(self, index: int) -> int:
        return os.fstat(self.kept[index]).st_nlink

    def close_kept(self, index: int) -> None:
        os.close(self.kept.pop(index))

    # ---- looking
    def seen(self) -> dict[str, Seen]:
        found: dict[str, Seen] = {}
        for directory, directories, files in os.walk(self.root):
            for name in (*directories, *files):
                path = os.path.join(directory, name)
                found[os.path.relpath(path, self.root)] = _see(path)
        return found

    def times(self) -> dict[str, int]:
        """Modification times of all but directories."""
        return {
            path: os.lstat(self._at(path)).st_mtime_ns
            for path, seen in self.seen().items()
            if seen[0] is not Kind.DIRECTORY
        }


def _see(path: str) -> Seen:
    found = os.lstat(path)
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISDIR(found.st_mode):
        return (Kind.DIRECTORY, mode, 0, found.st_nlink, b"")
    if stat.S_ISLNK(found.st_mode):
        return (Kind.SYMLINK, 0, found.st_size, found.st_nlink, os.fsencode(os.readlink(path)))
    return (Kind.FILE, mode, found.st_size, found.st_nlink, Path(path).read_bytes())


async def seen_by(program: Program, path: str = "") -> dict[str, Seen]:
    """Entries of the volume, as LocalDirectory.seen gives them."""
    found: dict[str, Seen] = {}
    listing = await program.fs.read_dir(program.att, await program.walk(path), b"", 0)
    for raw, attr in listing.entries:
        below = f"{path}/{os.fsdecode(raw)}" if path else os.fsdecode(raw)
        assert attr == await program.stat(below), "a listing says what lookup and getattr say"
        if attr.kind is Kind.DIRECTORY:
            found[below] = (Kind.DIRECTORY, attr.mode, 0, attr.nlink, b"")
            found.update(await seen_by(program, below))
        elif attr.kind is Kind.SYMLINK:
            target = await program.fs.read_link(program.att, attr.ino)
            found[below] = (Kind.SYMLINK, 0, attr.size, attr.nlink, target)
        else:
            found[below] = (Kind.FILE, attr.mode, attr.size, attr.nlink, await program.read(below))
    return found
