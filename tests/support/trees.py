# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory tree as a value, and what differs between two: kind, mode, mtime, content, symlink target, attributes."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Seen:
    """One name as a program sees it."""

    kind: str
    mode: int
    mtime_ns: int
    size: int
    content: str
    """Digest of a file's bytes; a symlink's target; empty for a directory."""
    xattrs: tuple[tuple[str, bytes], ...] = ()


def snapshot(root: Path, xattrs: bool = False) -> dict[str, Seen]:
    """Entries below `root` (without `root` itself) by relative path; undecodable names as surrogates."""
    return {os.path.relpath(path, root): see(path, xattrs) for path in walk(root)}


def walk(root: Path) -> Iterator[str]:
    with os.scandir(root) as entries:
        for entry in entries:
            yield entry.path
            if entry.is_dir(follow_symlinks=False):
                yield from walk(Path(entry.path))


def names(root: Path) -> set[str]:
    return {os.path.relpath(path, root) for path in walk(root)}


def see(path: str, xattrs: bool = False) -> Seen:
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    kept: tuple[tuple[str, bytes], ...] = ()
    if stat.S_ISLNK(status.st_mode):
        return Seen("symlink", 0, status.st_mtime_ns, 0, os.readlink(path))
    if xattrs:
        kept = tuple(sorted((name, os.getxattr(path, name)) for name in os.listxattr(path)))
    if stat.S_ISDIR(status.st_mode):
        # The size of a directory means nothing, and its time changes with its children.
        return Seen("directory", mode, 0, 0, "", kept)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Seen("file", mode, status.st_mtime_ns, status.st_size, digest, kept)


def differences(left: Path, right: Path, xattrs: bool = False, times: bool = True) -> list[str]:
    """One sentence for each difference; empty where the two trees are the same."""
    a, b = snapshot(left, xattrs), snapshot(right, xattrs)
    found = [f"only in {left.name}: {name}" for name in sorted(a.keys() - b.keys())]
    found += [f"only in {right.name}: {name}" for name in sorted(b.keys() - a.keys())]
    for name in sorted(a.keys() & b.keys()):
        for field in ("kind", "mode", "mtime_ns", "size", "content", "xattrs"):
            if field == "mtime_ns" and not times:
                continue
            one, other = getattr(a[name], field), getattr(b[name], field)
            if one != other:
                found.append(f"{name}: {field} {one!r} and {other!r}")
    return found


def assert_same_tree(left: Path, right: Path, xattrs: bool = False, times: bool = True) -> None:
    found = differences(left, right, xattrs, times)
    assert not found, "\n".join([f"{len(found)} differences", *found[:20]])


def contents(root: Path) -> dict[str, bytes]:
    """Every regular file below `root` with its bytes; for small trees."""
    return {
        os.path.relpath(path, root): Path(path).read_bytes()
        for path in walk(root)
        if stat.S_ISREG(os.lstat(path).st_mode)
    }


def is_written(path: Path) -> bool:
    """Writes something there; False where the filesystem is read-only."""
    try:
        path.write_text("b")
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return False
    return True
