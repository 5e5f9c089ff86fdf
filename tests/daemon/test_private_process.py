# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes with secrets: no core, no look into their memory, no file for others, and found by ours all the same."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from holofs_api import private_process
from holofs_api.private_process import become_private
from holofs_api.sockets import SocketFolder
from holofsd.daemon.processes import find
from support.other_user import STRANGER, as_user

PR_GET_DUMPABLE = 3


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that other users can enter."""
    with tempfile.TemporaryDirectory(prefix="hfs-private-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def _dumpable() -> int:
    return int(ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))


def _in_child(environment: dict[str, str], *, findable: bool = False) -> str:
    def tell() -> str:
        os.umask(0)
        become_private(environment, findable=findable)
        return f"{_dumpable()} {resource.getrlimit(resource.RLIMIT_CORE)[0]} {os.umask(0):o}"

    return as_user(tell)


def test_a_private_process_dumps_no_core_and_makes_no_file_for_others() -> None:
    assert _in_child({}) == "0 0 77"


def test_debugging_leaves_memory_readable_for_the_same_user_and_nothing_else() -> None:
    assert _in_child({"HOLOFS_DEBUG": "1"}) == "1 0 77"


def test_where_proc_hides_processes_one_that_ours_look_for_stays_to_be_seen(
    reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options, expected in (("rw,hidepid=invisible", "1"), ("rw,hidepid=2", "1"), ("rw", "0"), ("rw,hidepid=0", "0")):
        mounts = reachable / "mountinfo"
        mounts.write_text(f"25 30 0:23 / /proc rw,nosuid - proc proc {options}\n")
        monkeypatch.setattr(private_process, "_MOUNTINFO", mounts)
        assert _in_child({}, findable=True).split()[0] == expected
        assert _in_child({}).split()[0] == "0"


def test_a_private_process_reaches_the_sockets_of_its_state_directory(reachable: Path) -> None:
    """/proc/self belongs to root then, and is its own all the same."""
    os.chown(reachable, STRANGER, STRANGER)
    folder = reachable / ("d" * 120)

    def tell() -> str:
        become_private({})
        folder.mkdir()
        with SocketFolder(folder) as opened, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(opened.address("holofsd.sock"))
            opened.make_private("holofsd.sock")
            listener.listen()
            assert opened.is_listening()
            opened.remove("holofsd.sock")
            assert not opened.is_listening()
        return f"{stat.S_IMODE(folder.stat().st_mode):o}"

    assert as_user(tell) == "700"


def test_a_mount_that_cannot_be_dumped_is_found_by_its_user(tmp_path: Path) -> None:
    program = (
        f"import ctypes, os, sys; os.setgroups([]); os.setgid({STRANGER}); os.setuid({STRANGER});"
        " ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); print('ready', flush=True); sys.stdin.read()"
    )
    mark = f"mark-{os.getpid()}"
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", program, "--state-dir", str(tmp_path), "--mount-id", mark, "/mnt"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert os.stat(f"/proc/{child.pid}/environ").st_uid == 0
        assert int(as_user(lambda: str(find(mark, tmp_path)))) == child.pid
        assert find(mark, tmp_path) == 0  # another user's is none of ours
    finally:
        child.communicate()
