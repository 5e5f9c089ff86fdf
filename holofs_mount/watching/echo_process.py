# SPDX-License-Identifier: GPL-3.0-or-later
"""The echo process of a mount: makes operations on the mount's own path, which the mount answers and does not do.

    python echo_process.py FD

FD: a socket of packets whose other end the mount holds. A request is `operation NUL folder NUL name NUL token`; the
answer is the errno, or 0, in decimal digits. Standard library only: it is run isolated. It ends with the mount.

The folder is opened first, and asked for the token, which only the mount that sent the request knows. What is done
then is relative to that descriptor, so nothing can be done in any other filesystem, whatever is mounted there by now.
"""

from __future__ import annotations

import ctypes
import os
import sys

TOKEN_NAME = "user.holofs.echo"
_LONGEST = 1 << 14
_NOW = (1 << 30) - 1
_OMIT = (1 << 30) - 2
_NO_FOLLOW = 0x100
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ELSEWHERE = 18
"""EXDEV: the folder is not the one meant."""


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


_MODIFICATION = (_Time * 2)(_Time(0, _OMIT), _Time(0, _NOW))
"""With the access time as well it would be IN_ATTRIB; so it is IN_MODIFY."""
_LIBC = ctypes.CDLL(None, use_errno=True)


def perform(operation: bytes, folder: int, name: bytes) -> None:
    """Makes the kernel tell watchers of the folder, and of what is at the name. Raises OSError."""
    if operation == b"create":
        os.close(os.open(name, _WRITE | os.O_CREAT | os.O_EXCL, dir_fd=folder))
    elif operation == b"mknod":
        os.mknod(name, 0o100000, dir_fd=folder)
    elif operation == b"mkdir":
        os.mkdir(name, dir_fd=folder)
    elif operation == b"symlink":
        os.symlink(b"x", name, dir_fd=folder)
    elif operation == b"unlink":
        os.unlink(name, dir_fd=folder)
    elif operation == b"rmdir":
        os.rmdir(name, dir_fd=folder)
    elif operation == b"touch":
        _touch(folder, name)
    elif operation == b"modify":
        _modify(folder, name)


def _touch(folder: int, name: bytes) -> None:
    """Sets the time without opening the file: what is open to write cannot be run."""
    if os.stat(name, dir_fd=folder, follow_symlinks=False).st_dev != os.fstat(folder).st_dev:
        raise OSError(_ELSEWHERE, "something else is mounted there")
    if _LIBC.utimensat(folder, name, _MODIFICATION, _NO_FOLLOW):
        raise OSError(ctypes.get_errno(), "the time could not be set")


def _modify(folder: int, name: bytes) -> None:
    file = os.open(name, _WRITE, dir_fd=folder)
    try:
        if os.fstat(file).st_dev != os.fstat(folder).st_dev:
            raise OSError(_ELSEWHERE, "something else is mounted there")
        if _LIBC.futimens(file, _MODIFICATION):
            raise OSError(ctypes.get_errno(), "the time could not be set")
    finally:
        os.close(file)


def answer(request: bytes) -> int:
    """Performs a request. Returns the errno, or 0."""
    operation, path, name, token = request.split(b"\0")
    try:
        folder = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if os.getxattr(f"/proc/self/fd/{folder}", TOKEN_NAME) != token:
                return _ELSEWHERE
            perform(operation, folder, name)
        finally:
            os.close(folder)
    except OSError as error:
        return error.errno or _ELSEWHERE
    return 0


def main(mount: int) -> None:
    os.umask(0)
    try:
        while request := os.read(mount, _LONGEST):
            os.write(mount, b"%d" % answer(request))
    except OSError:
        return


if __name__ == "__main__":
    main(int(sys.argv[1]))
