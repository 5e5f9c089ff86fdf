# SPDX-License-Identifier: GPL-3.0-or-later
"""A program: removes a directory and a file that it has open, does everything with them, and prints what it gets.

Arguments: the folder to work in, and the same folder as it is seen where the names are removed.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path


def show(name: str, work: Callable[[], object]) -> None:
    try:
        print(f"{name}: {work()!r}")
    except OSError as error:
        print(f"{name}: {errno.errorcode[error.errno or 0]}")


def wait(condition: Callable[[], bool]) -> None:
    """Wait for at most a minute: a change from elsewhere takes a moment."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def directory(root: Path, there: Path) -> None:
    path = root / "parent" / "directory"
    path.mkdir(parents=True)
    (root / "other").mkdir()
    (root / "file beside").write_text("x")
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    wait((there / "parent" / "directory").is_dir)
    os.rmdir(there / "parent" / "directory")
    wait(lambda: not path.exists())
    show("fstat", lambda: os.fstat(fd).st_nlink)
    show("listing", lambda: os.listdir(fd))
    show("fchmod", lambda: os.fchmod(fd, 0o700))
    show("mode", lambda: oct(os.fstat(fd).st_mode))
    show("futimens", lambda: os.utime(fd, (1, 1)))
    show("time", lambda: os.fstat(fd).st_mtime)
    show("fchown", lambda: os.fchown(fd, os.getuid(), os.getgid()))
    show("fsync", lambda: os.fsync(fd))
    show("create", lambda: os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    show("mkdir", lambda: os.mkdir("x", dir_fd=fd))
    show("symlink", lambda: os.symlink("x", "y", dir_fd=fd))
    show("mknod", lambda: os.mknod("x", dir_fd=fd))
    show("stat", lambda: os.stat("x", dir_fd=fd))
    show("rename into", lambda: os.rename("other", "x", src_dir_fd=top, dst_dir_fd=fd))
    show("link into", lambda: os.link("file beside", "x", src_dir_fd=top, dst_dir_fd=fd))
    show("unlink", lambda: os.unlink("x", dir_fd=fd))
    show("rmdir", lambda: os.rmdir("x", dir_fd=fd))
    show("..", lambda: os.stat("..", dir_fd=fd).st_ino == os.stat(root / "parent").st_ino)
    show(".", lambda: os.stat(".", dir_fd=fd).st_nlink)
    show("setxattr", lambda: os.setxattr(fd, "user.a", b"1"))
    show("getxattr", lambda: os.getxattr(fd, "user.a"))
    show("listxattr", lambda: os.listxattr(fd))
    show("removexattr", lambda: os.removexattr(fd, "user.a"))
    show("fstatvfs", lambda: os.fstatvfs(fd).f_bsize > 0)
    os.chdir(root)
    show("chdir", lambda: os.fchdir(fd))
    show("listing of the cwd", lambda: os.listdir("."))
    show("stat of the cwd", lambda: os.stat(".").st_nlink)
    show("name of the cwd", os.getcwd)
    show("create in the cwd", lambda: os.open("z", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    os.chdir("/")
    os.close(fd)
    os.mkdir(path)
    show("a new one of the name", lambda: (os.listdir(path), os.stat(path).st_nlink, bool(os.listxattr(path))))


def arrived(path: Path) -> bool:
    """Whether it is here with all that was done to it: a removal loses against an edit that it does not know."""
    return path.exists() and "user.old" in os.listxattr(path) and path.read_bytes() == b"hello"


def file(root: Path, there: Path) -> None:
    path = root / "file"
    path.write_bytes(b"hello")
    os.setxattr(path, "user.old", b"old")
    fd = os.open(path, os.O_RDWR)
    wait(lambda: arrived(there / "file"))
    os.unlink(there / "file")
    wait(lambda: not path.exists())
    show("fstat", lambda: os.fstat(fd).st_nlink)
    show("value of before", lambda: os.getxattr(fd, "user.old"))
    show("setxattr", lambda: os.setxattr(fd, "user.a", b"1"))
    show("getxattr", lambda: os.getxattr(fd, "user.a"))
    show("listxattr", lambda: sorted(os.listxattr(fd)))
    show("replace", lambda: os.setxattr(fd, "user.a", b"2", os.XATTR_REPLACE))
    show("setxattr of another", lambda: os.setxattr(fd, "user.a", b"2", os.XATTR_CREATE))
    show("removexattr", lambda: os.removexattr(fd, "user.a"))
    show("once more", lambda: os.removexattr(fd, "user.a"))
    show("list again", lambda: sorted(os.listxattr(fd)))
    show("ftruncate", lambda: os.ftruncate(fd, 2))
    show("size", lambda: os.fstat(fd).st_size)
    show("fchmod", lambda: os.fchmod(fd, 0o600))
    show("mode", lambda: oct(os.fstat(fd).st_mode))
    show("futimens", lambda: os.utime(fd, (5, 5)))
    show("time", lambda: os.fstat(fd).st_mtime)
    show("fchown", lambda: os.fchown(fd, os.getuid(), os.getgid()))
    show("write", lambda: os.pwrite(fd, b"abc", 10))
    show("read", lambda: os.pread(fd, 100, 0))
    show("fsync", lambda: os.fsync(fd))
    show("extend", lambda: os.ftruncate(fd, 200_000))
    show("size again", lambda: os.fstat(fd).st_size)
    show("links", lambda: os.fstat(fd).st_nlink)
    path.write_bytes(b"new")
    show("a new one of the name", lambda: (path.read_bytes(), os.listxattr(path)))
    show("size of the old one", lambda: os.fstat(fd).st_size)
    os.close(fd)


if __name__ == "__main__":
    {"directory": directory, "file": file}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
