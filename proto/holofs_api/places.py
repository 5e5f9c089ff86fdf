# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at a path that a person named, without ever waiting for a filesystem that does not answer.

Looking at a path inside a mount waits for that mount's program or server: a HoloFS mount waits for its daemon, which
may be the very process that looks, and an NFS server may be away for good. So the way to a path is first walked by the
kernel's list of mounts (`walk`): a directory is read only while it lies on a local filesystem, and where the path
enters any other one the walk ends. What lies beyond is looked at in a child process with a time limit (`look`). A
thread would not do: one that hangs in the kernel keeps its process, with its sockets and locks, from ending.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

LIMIT_S: Final = 5.0
"""Seconds that a filesystem has to answer."""
MOUNTINFO: Final = "/proc/self/mountinfo"
_LOCAL: Final = frozenset(
    {
        *("bcachefs", "btrfs", "devtmpfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "iso9660"),
        *("jfs", "msdos", "ntfs3", "overlay", "ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "udf", "vfat"),
        *("xfs", "zfs"),
    }
)
"""Filesystem types that answer at once, or never for anybody on this machine."""
_HOLOFS: Final = "fuse.holofs"
_MAX_LINKS: Final = 40
_MAX_ABANDONED: Final = 8
"""Children that may hang in the kernel at the same time; beyond that none is started."""

_abandoned: list[subprocess.Popen[bytes]] = []


class PathRefused(Exception):
    """A path that is not looked at, or did not answer. The text is one sentence for a person."""


class InsideMount(PathRefused):
    """The path lies inside a mounted volume."""


class NoAnswer(PathRefused):
    """The filesystem that holds the path did not answer in time."""


@dataclass(frozen=True, slots=True)
class MountPoint:
    path: str
    kind: str
    """The type of filesystem, for example `ext4`, `nfs4`, `fuse.holofs`."""

    @property
    def is_holofs(self) -> bool:
        return self.kind == _HOLOFS

    @property
    def is_local(self) -> bool:
        return self.kind in _LOCAL


@dataclass(frozen=True, slots=True)
class Walked:
    """The end of a walk. `real`: the path with the symlinks resolved that lie on local filesystems.

    `mount`: the mount at which the walk ended because looking further could take for ever; None: all of it is local.
    """

    real: str
    mount: MountPoint | None = None

    @property
    def is_inside_holofs(self) -> bool:
        """Returns whether the path is below the root of a mounted volume; the root itself does not count."""
        return self.mount is not None and self.mount.is_holofs and self.real != self.mount.path


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts about a path. `error`: the errno that looking at it met, 0 if none; the others are false then."""

    real: str
    error: int = 0
    is_directory: bool = False
    is_empty: bool = False
    is_writable: bool = False


def mount_points() -> dict[str, MountPoint] | None:
    """Mounts by path, the topmost where there are several; None where the kernel does not tell."""
    try:
        lines = Path(MOUNTINFO).read_bytes().splitlines()
    except OSError:
        return None
    found = {}
    for line in lines:
        fields = line.split(b" ")
        path = os.fsdecode(_unescaped(fields[4]))
        found[path] = MountPoint(path, fields[fields.index(b"-", 6) + 1].decode("ascii", "replace"))
    return found


def _unescaped(field: bytes) -> bytes:
    """mountinfo writes space, tab, newline and backslash in octal."""
    for escaped, plain in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(escaped, plain)
    return field


def walk(path: str, *, follow_last: bool = True) -> Walked:
    """The way to an absolute path, as far as it is local. Never waits for a filesystem.

    A part that does not exist, or cannot be read, is taken as it is written, and so is all behind it. Without
    `follow_last` a symlink at the end is itself the result.
    """
    mounts = mount_points()
    if mounts is None:
        return Walked(os.path.abspath(path), MountPoint("/", "unknown"))
    at, rest, links = "/", _parts(path), 0
    mount = mounts.get("/", MountPoint("/", "rootfs"))
    while rest:
        if not mount.is_local:
            return Walked(_joined(at, rest), mount)
        part = rest.pop(0)
        if part == "..":
            at = os.path.dirname(at)
            mount = _around(at, mounts)
            continue
        there = os.path.join(at, part)
        if there in mounts:
            at, mount = there, mounts[there]
            continue
        target = _target(there) if rest or follow_last else None
        if target is None:
            at = there
            continue
        links += 1
        if links > _MAX_LINKS:
            return Walked(_joined(there, rest))
        rest = _parts(target) + rest
        if target.startswith("/"):
            at, mount = "/", mounts.get("/", MountPoint("/", "rootfs"))
    return Walked(at, None if mount.is_local else mount)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _joined(at: str, rest: list[str]) -> str:
    return os.path.normpath(os.path.join(at, *rest))


def _around(path: str, mounts: dict[str, MountPoint]) -> MountPoint:
    """The mount that a resolved directory lies in."""
    while path not in mounts and path != "/":
        path = os.path.dirname(path)
    return mounts.get(path, MountPoint("/", "rootfs"))


def _target(path: str) -> str | None:
    """Target of a symlink; None where the path is no symlink."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def around(path: str) -> MountPoint | None:
    """The mounted volume that an absolute path is written below, by its letters alone; None: there is none."""
    mounts = mount_points() or {}
    parent = os.path.normpath(path)
    while (parent := os.path.dirname(parent)) != "/":
        if parent in mounts and mounts[parent].is_holofs:
            return mounts[parent]
    return None


def refuse_inside(path: str) -> Walked:
    """The walk to an absolute path. Raises InsideMount where it leads into a mounted volume."""
    found = around(path)
    walked = walk(path)
    if found is None and walked.is_inside_holofs:
        found = walked.mount
    if found is not None:
        raise InsideMount(f"{path} is inside the HoloFS mount at {found.path}; choose a place outside of it.")
    return walked


def look(path: str, seconds: float = LIMIT_S) -> Seen:
    """Facts about an absolute path, within the limit. Blocking: on an event loop call it in a thread.

    Raises NoAnswer, and InsideMount as `refuse_inside` does.
    """
    walked = refuse_inside(path)
    if walked.mount is None:
        return _see(path)
    seen = _see_in_child(path, seconds)
    refuse_inside(seen.real)
    return seen


def _see(path: str) -> Seen:
    real = os.path.realpath(path)
    try:
        os.statvfs(path)  # stat alone may be answered for a dead mount, from the kernel's memory
        if not stat.S_ISDIR(os.stat(path).st_mode):
            return Seen(real, is_writable=os.access(path, os.W_OK))
        with os.scandir(path) as entries:
            is_empty = next(entries, None) is None
    except OSError as error:
        return Seen(real, error=error.errno or errno.EIO)
    return Seen(real, is_directory=True, is_empty=is_empty, is_writable=os.access(path, os.W_OK))


def _see_in_child(path: str, seconds: float) -> Seen:
    # Isolated: neither the environment nor the current directory decides what it imports. This module needs only the
    # standard library.
    code, told = run_within([sys.executable, "-I", "-S", __file__, path], seconds)
    if code != 0:
        raise NoAnswer(f"{path} does not answer: the program or server behind that folder may be away.")
    return Seen(**json.loads(told))


def run_within(command: list[str], seconds: float) -> tuple[int | None, bytes]:
    """Exit code and output (both streams) of a program. Blocking, for so long at most.

    The code is None where the program did not end in time: it was killed and is not waited for, because a process that
    hangs in the kernel does not end. While too many of those hang, no other is started.
    """
    _abandoned[:] = [child for child in _abandoned if child.poll() is None]
    if len(_abandoned) >= _MAX_ABANDONED:
        return None, b""
    child = subprocess.Popen(
        command,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        told, _ = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        if child.stdout is not None:
            child.stdout.close()
        _abandoned.append(child)
        return None, b""
    return child.returncode, told


def _main() -> None:
    """The child: `python places.py PATH`."""
    with suppress(BrokenPipeError):
        print(json.dumps(asdict(_see(sys.argv[1]))))


if __name__ == "__main__":
    _main()
