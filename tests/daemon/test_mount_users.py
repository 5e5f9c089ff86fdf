# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a mount are found by /proc: a working directory, an open file, a program, a mapping."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holofsd.daemon.mount_users import User, told, users_of

_WAYS = {
    "working directory": "os.chdir(sys.argv[1])",
    "open file": "held = open(sys.argv[1] + '/file')",
    "mapping": (
        "f = open(sys.argv[1] + '/file', 'r+b'); import ctypes; libc = ctypes.CDLL(None, use_errno=True);"
        " libc.mmap.restype = ctypes.c_void_p;"
        " libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long];"
        " assert libc.mmap(None, 4096, 1, 1, f.fileno(), 0) > 0; f.close()"
    ),
}


@contextmanager
def using(way: str, folder: Path) -> Iterator[int]:
    script = f"import os, sys\n{way}\nprint('here', flush=True)\nsys.stdin.read()"
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        yield process.pid
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize("way", _WAYS)
async def test_a_process_that_uses_something_there_is_found(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "mount point"
    folder.mkdir()
    folder.joinpath("file").write_bytes(b"x" * 4096)
    beside = tmp_path / "mount point 2"
    beside.mkdir()
    with using(_WAYS[way], folder) as pid:
        found = await users_of(str(folder))
        assert [user.pid for user in found] == [pid]
        assert found[0].program.startswith("python")
        assert await users_of(str(folder), but=pid) == []
        assert await users_of(str(beside)) == []
    assert await users_of(str(folder)) == []


def test_not_too_many_are_told_of() -> None:
    users = [User(number, "vim", "/x") for number in range(1, 8)]
    assert told(users[:1]) == "vim (process 1)"
    assert told(users[:2]) == "vim (process 1) and vim (process 2)"
    assert told(users).endswith("vim (process 5) and 2 more")
