# SPDX-License-Identifier: GPL-3.0-or-later
"""The same operations on a mount and on a local directory: the same answers, the same errnos."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mount.harness import FakeDaemon
from support.wait import until

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
_libc = ctypes.CDLL(None, use_errno=True)


def rename2(old: Path, new: Path, flags: int) -> None:
    if _libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def furnish(place: Path) -> None:
    """Make what every operation below may find."""
    (place / "file").write_bytes(b"content")
    (place / "other").write_bytes(b"other content")
    (place / "empty").mkdir()
    (place / "full" / "deep").mkdir(parents=True)
    (place / "full" / "inside").write_bytes(b"inside")
    (place / "link").symlink_to("file")
    (place / "dangling").symlink_to("nowhere")


def outcome(place: Path, operation: Callable[[Path], Any]) -> Any:
    try:
        return operation(place)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def opened(path: Path, flags: int, mode: int = 0o644) -> bytes:
    fd = os.open(path, flags, mode)
    try:
        return os.pread(fd, 100, 0)
    finally:
        os.close(fd)


def written(path: Path, flags: int, *pieces: bytes) -> bytes:
    fd = os.open(path, flags, 0o644)
    for piece in pieces:
        os.write(fd, piece)
    os.close(fd)
    return path.read_bytes()


def resized(path: Path, size: int) -> bytes:
    os.truncate(path, size)
    return path.read_bytes()


def resized_open(path: Path, size: int, flags: int = os.O_RDWR) -> tuple[bytes, int]:
    fd = os.open(path, flags)
    try:
        os.ftruncate(fd, size)
        return os.pread(fd, 100, 0), os.fstat(fd).st_size
    finally:
        os.close(fd)


def shape(place: Path) -> list[tuple[str, int, bytes]]:
    """Snapshot: names, types and modes, contents."""
    found = []
    for path in sorted(place.rglob("*")):
        mode = path.lstat().st_mode
        data = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found.append((str(path.relative_to(place)), mode, data))
    return found


OPERATIONS: dict[str, Callable[[Path], Any]] = {
    "stat of a missing name": lambda p: os.stat(p / "missing"),
    "stat below a file": lambda p: os.stat(p / "file" / "x"),
    "stat of a name of 256 bytes": lambda p: os.stat(p / ("n" * 256)),
    "create a name of 255 bytes": lambda p: written(p / ("n" * 255), os.O_CREAT | os.O_WRONLY, b"x"),
    "create a name of 256 bytes": lambda p: written(p / ("n" * 256), os.O_CREAT | os.O_WRONLY, b"x"),
    "create a name that is not utf-8": lambda p: written(
        p / os.fsdecode(b"a\xff\xfe b"), os.O_CREAT | os.O_WRONLY, b"x"
    ),
    "open a missing file": lambda p: opened(p / "missing", os.O_RDONLY),
    "open a directory for writing": lambda p: opened(p / "empty", os.O_WRONLY),
    "open exclusively what exists": lambda p: opened(p / "file", os.O_CREAT | os.O_EXCL | os.O_RDWR),
    "open exclusively what is new": lambda p: opened(p / "new", os.O_CREAT | os.O_EXCL | os.O_RDWR),
    "open and truncate": lambda p: opened(p / "file", os.O_RDWR | os.O_TRUNC),
    "open through a symlink": lambda p: opened(p / "link", os.O_RDONLY),
    "open a dangling symlink": lambda p: opened(p / "dangling", os.O_RDONLY),
    "create through a dangling symlink": lambda p: written(p / "dangling", os.O_CREAT | os.O_WRONLY, b"x"),
    "open without following": lambda p: opened(p / "link", os.O_RDONLY | os.O_NOFOLLOW),
    "create in a missing directory": lambda p: opened(p / "missing" / "x", os.O_CREAT | os.O_RDWR),
    "create below a file": lambda p: opened(p / "file" / "x", os.O_CREAT | os.O_RDWR),
    "write over the beginning": lambda p: written(p / "file", os.O_WRONLY, b"CON"),
    "write with truncation": lambda p: written(p / "file", os.O_WRONLY | os.O_TRUNC, b"a", b"b"),
    "append": lambda p: written(p / "file", os.O_WRONLY | os.O_APPEND, b" and", b" more"),
    "append to a new file": lambda p: written(p / "new", os.O_CREAT | os.O_WRONLY | os.O_APPEND, b"one", b"two"),
    "read what is open for writing only": lambda p: opened(p / "file", os.O_WRONLY),
    "truncate to less": lambda p: resized(p / "file", 3),
    "truncate to more": lambda p: resized(p / "file", 12),
    "truncate to nothing": lambda p: resized(p / "file", 0),
    "truncate a directory": lambda p: resized(p / "empty", 0),
    "truncate a missing file": lambda p: resized(p / "missing", 0),
    "ftruncate to less": lambda p: resized_open(p / "file", 3),
    "ftruncate to more": lambda p: resized_open(p / "file", 12),
    "ftruncate to nothing": lambda p: resized_open(p / "file", 0),
    "ftruncate a descriptor for reading": lambda p: resized_open(p / "file", 0, os.O_RDONLY),
    "mkdir": lambda p: os.mkdir(p / "dir", 0o750),
    "mkdir over a file": lambda p: os.mkdir(p / "file"),
    "mkdir over a directory": lambda p: os.mkdir(p / "empty"),
    "rmdir": lambda p: os.rmdir(p / "empty"),
    "rmdir of what is not empty": lambda p: os.rmdir(p / "full"),
    "rmdir of a file": lambda p: os.rmdir(p / "file"),
    "rmdir of a missing name": lambda p: os.rmdir(p / "missing"),
    "unlink": lambda p: os.unlink(p / "file"),
    "unlink of a directory": lambda p: os.unlink(p / "empty"),
    "unlink of a missing name": lambda p: os.unlink(p / "missing"),
    "unlink of a symlink": lambda p: os.unlink(p / "link"),
    "symlink": lambda p: os.symlink("a target", p / "new"),
    "symlink over a file": lambda p: os.symlink("a target", p / "file"),
    "readlink": lambda p: os.readlink(p / "link"),
    "readlink of a file": lambda p: os.readlink(p / "file"),
    "link": lambda p: (os.link(p / "file", p / "hard"), os.stat(p / "hard").st_nlink),
    "link over a file": lambda p: os.link(p / "file", p / "other"),
    "link of a directory": lambda p: os.link(p / "empty", p / "hard"),
    "unlink one of two links": lambda p: (
        os.link(p / "file", p / "hard"),
        os.unlink(p / "file"),
        os.stat(p / "hard").st_nlink,
    ),
    "write through one of two links": lambda p: (
        os.link(p / "file", p / "hard"),
        written(p / "hard", os.O_WRONLY, b"NEW"),
        (p / "file").read_bytes(),
    ),
    "rename": lambda p: os.rename(p / "file", p / "new"),
    "rename a missing name": lambda p: os.rename(p / "missing", p / "new"),
    "rename over a file": lambda p: os.rename(p / "file", p / "other"),
    "rename into a directory": lambda p: os.rename(p / "file", p / "full" / "deep" / "moved"),
    "rename a directory": lambda p: (os.rename(p / "full", p / "moved"), (p / "moved" / "inside").read_bytes()),
    "rename a directory over an empty one": lambda p: os.rename(p / "full", p / "empty"),
    "rename a directory over a full one": lambda p: os.rename(p / "empty", p / "full"),
    "rename a directory over a file": lambda p: os.rename(p / "empty", p / "file"),
    "rename a file over a directory": lambda p: os.rename(p / "file", p / "empty"),
    "rename a directory into itself": lambda p: os.rename(p / "full", p / "full" / "deep" / "x"),
    "rename to the same name": lambda p: os.rename(p / "file", p / "file"),
    "chmod": lambda p: os.chmod(p / "file", 0o4711),
    "chmod a directory": lambda p: os.chmod(p / "empty", 0o1700),
    "chown to oneself": lambda p: os.chown(p / "file", os.getuid(), os.getgid()),
    "mknod of a file": lambda p: os.mknod(p / "node", stat.S_IFREG | 0o640),
    "mknod of what exists": lambda p: os.mknod(p / "file", stat.S_IFREG | 0o640),
    "utime": lambda p: (os.utime(p / "file", ns=(5, 1_234_567_890_123_456_789)), os.stat(p / "file").st_mtime_ns),
    "utime before 1970": lambda p: (os.utime(p / "file", ns=(5, -1_500_000_000)), os.stat(p / "file").st_mtime_ns),
    "utime of a symlink": lambda p: (
        os.utime(p / "link", ns=(5, 7_000_000_123), follow_symlinks=False),
        os.lstat(p / "link").st_mtime_ns,
    ),
    "utime of a missing name": lambda p: os.utime(p / "missing"),
    "access": lambda p: (os.access(p / "file", os.R_OK | os.W_OK), os.access(p / "missing", os.F_OK)),
    "seek to the end": lambda p: os.stat(p / "other").st_size,
    "list": lambda p: sorted(os.listdir(p)),
    "list a file": lambda p: os.listdir(p / "file"),
    "scan": lambda p: sorted((e.name, e.is_dir(), e.is_symlink()) for e in os.scandir(p)),
}


@pytest.fixture
def both(mnt: Path, tmp_path: Path) -> tuple[Path, Path]:
    local = tmp_path / "local"
    local.mkdir()
    (mnt / "here").mkdir()
    return mnt / "here", local


def test_every_operation_ends_as_on_a_local_directory(both: tuple[Path, Path]) -> None:
    mounted, local = both
    different = []
    for number, (name, operation) in enumerate(OPERATIONS.items()):
        here, there = mounted / str(number), local / str(number)
        for place in (here, there):
            place.mkdir()
            furnish(place)
        ours, theirs = outcome(here, operation), outcome(there, operation)
        if ours != theirs:
            different.append((name, ours, theirs))
        elif shape(here) != shape(there):
            different.append((name, shape(here), shape(there)))
    assert not different


def test_rename_flags_are_kept(make_mount: Any, tmp_path: Path, binding: str) -> None:
    mnt = make_mount().path
    if binding == "fusepy":
        # libfuse 2 passes no flags; the kernel refuses them for it.
        (mnt / "a").write_bytes(b"a")
        assert outcome(mnt, lambda p: rename2(p / "a", p / "b", RENAME_NOREPLACE)) == "EINVAL"
        return
    local = tmp_path / "local"
    answers = []
    for place in (mnt / "here", local):
        place.mkdir()
        furnish(place)
        answers.append(
            [
                outcome(place, lambda p: rename2(p / "file", p / "other", RENAME_NOREPLACE)),
                outcome(place, lambda p: rename2(p / "file", p / "fresh", RENAME_NOREPLACE)),
                outcome(place, lambda p: rename2(p / "fresh", p / "full", RENAME_EXCHANGE)),
                outcome(place, lambda p: rename2(p / "missing", p / "other", RENAME_EXCHANGE)),
                outcome(place, lambda p: rename2(p / "other", p / "missing", RENAME_EXCHANGE)),
                outcome(place, lambda p: (p / "full").read_bytes()),
                shape(place),
            ]
        )
    assert answers[0] == answers[1]


def test_files_belong_to_the_person_who_mounted(mnt: Path) -> None:
    path = mnt / "file"
    path.write_bytes(b"x")
    info = path.stat()
    assert (info.st_uid, info.st_gid) == (os.getuid(), os.getgid())
    assert outcome(mnt, lambda p: os.chown(p / "file", 12345, -1)) == "EPERM"
    assert outcome(mnt, lambda p: os.chown(p / "file", -1, 12345)) == "EPERM"
    os.chown(path, -1, -1)


def test_only_files_directories_and_symlinks_can_be_made(mnt: Path) -> None:
    assert outcome(mnt, lambda p: os.mkfifo(p / "fifo")) == "EPERM"
    assert os.listdir(mnt) == []


def test_omitted_times_stay_and_now_is_now(mnt: Path) -> None:
    path = mnt / "file"
    path.write_bytes(b"x")
    os.utime(path, ns=(1, 1_000_000_007))
    libc_utimens(path, atime=(9, 0), mtime=(0, UTIME_OMIT))
    assert path.stat().st_mtime_ns == 1_000_000_007
    libc_utimens(path, atime=(0, UTIME_OMIT), mtime=(0, UTIME_NOW))
    assert path.stat().st_mtime > 1_600_000_000


UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2


def libc_utimens(path: Path, atime: tuple[int, int], mtime: tuple[int, int]) -> None:
    times = (ctypes.c_long * 4)(*atime, *mtime)
    assert _libc.utimensat(-100, os.fsencode(path), times, 0) == 0


def test_attributes_of_the_user_namespace_are_kept_and_others_refused(mnt: Path) -> None:
    path = mnt / "file"
    path.write_bytes(b"x")
    assert os.listxattr(path) == []
    assert outcome(path, lambda p: os.getxattr(p, "user.missing")) == "ENODATA"
    os.setxattr(path, "user.one", b"1")
    os.setxattr(path, "user.two", b"\0binary\xff")
    os.setxattr(path, "user.empty", b"")
    assert sorted(os.listxattr(path)) == ["user.empty", "user.one", "user.two"]
    assert os.getxattr(path, "user.two") == b"\0binary\xff"
    assert os.getxattr(path, "user.empty") == b""
    assert outcome(path, lambda p: os.setxattr(p, "user.one", b"2", os.XATTR_CREATE)) == "EEXIST"
    assert outcome(path, lambda p: os.setxattr(p, "user.none", b"2", os.XATTR_REPLACE)) == "ENODATA"
    os.setxattr(path, "user.one", b"2", os.XATTR_REPLACE)
    assert os.getxattr(path, "user.one") == b"2"
    os.removexattr(path, "user.one")
    assert outcome(path, lambda p: os.removexattr(p, "user.one")) == "ENODATA"
    assert outcome(path, lambda p: os.setxattr(p, "trusted.x", b"1")) == "ENOTSUP"
    assert outcome(path, lambda p: os.getxattr(p, "system.posix_acl_access")) == "ENOTSUP"
    assert outcome(path, lambda p: os.getxattr(p, "security.capability")) == "ENOTSUP"


def test_the_state_of_the_filesystem_is_told(mnt: Path) -> None:
    told = os.statvfs(mnt)
    assert (told.f_frsize, told.f_blocks, told.f_bfree, told.f_bavail) == (4096, 1000, 600, 500)
    assert (told.f_files, told.f_ffree, told.f_namemax) == (100, 90, 255)


def test_a_large_directory_is_listed_whole(daemon: FakeDaemon, mnt: Path) -> None:
    daemon.ask("make_files", count=4_500)
    names = {f"file number {number:05}" for number in range(4_500)}
    until(lambda: set(os.listdir(mnt)) == names, "all of it is listed")


def test_directories_count_their_links(mnt: Path) -> None:
    (mnt / "d").mkdir()
    assert (mnt / "d").stat().st_nlink == 2
    (mnt / "d" / "e").mkdir()
    assert (mnt / "d").stat().st_nlink == 3
    (mnt / "d" / "e").rmdir()
    assert (mnt / "d").stat().st_nlink == 2


def test_a_directory_shows_that_something_was_made_in_it(mnt: Path) -> None:
    (mnt / "d").mkdir()
    os.utime(mnt / "d", ns=(1, 1))
    (mnt / "d" / "x").write_bytes(b"")
    assert (mnt / "d").stat().st_mtime_ns > 1
