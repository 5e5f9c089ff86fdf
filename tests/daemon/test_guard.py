# SPDX-License-Identifier: GPL-3.0-or-later
"""Ending a connection by the control filesystem; tests/e2e/test_killed_mounts.py ends a real one by force."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holofs_api import guard as module
from holofs_mount.guarding import Guard
from holofsd.daemon.processes import hanging


def test_a_connection_is_ended_by_the_file_that_belongs_to_who_mounted_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONTROL", tmp_path)
    (tmp_path / "41").mkdir()
    (tmp_path / "41" / "abort").touch()
    assert module.end_connection(41, str(tmp_path / "mnt"))
    assert (tmp_path / "41" / "abort").read_text() == "1"


def test_nothing_is_forced_where_the_path_has_another_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONTROL", tmp_path)
    monkeypatch.setattr(module, "connection_at", lambda path: 42)
    assert not module.end_connection(41, str(tmp_path))


def test_what_is_no_fuse_mount_has_no_connection(tmp_path: Path) -> None:
    assert module.connection_at("/proc") is None
    assert module.connection_at(str(tmp_path)) is None


def test_a_process_that_lives_does_not_hang(tmp_path: Path) -> None:
    assert hanging("pytest", tmp_path) == 0


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_process_has_ended_when_nothing_of_it_is_left(process: subprocess.Popen[bytes]) -> None:
    began = module.started(process.pid)
    assert began
    assert began != module.started(os.getpid())
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert module.started(process.pid) == b"", "a zombie"
    process.wait()
    assert module.started(process.pid) == b""


def test_a_mount_that_is_slow_to_end_is_not_taken_for_one_that_has_ended(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mount's end is closed, and the kernel has not told yet what becomes of its threads."""
    ended: list[tuple[int, str]] = []
    monkeypatch.setattr(module, "end_connection", lambda number, path: ended.append((number, path)))
    monkeypatch.setattr(module, "_PATIENCE_S", 0.2)
    for end, expected in ((signal.SIGSTOP, [(41, "/mnt")]), (signal.SIGKILL, [])):
        theirs, ours = socket.socketpair()
        ours.close()
        ended.clear()
        os.kill(process.pid, end)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        module.main(theirs.fileno(), process.pid, 41, "/mnt")
        theirs.close()
        assert ended == expected


def test_a_mount_waits_for_its_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first program is protected, and has the processor for itself."""
    monkeypatch.setattr(module, "connection_at", lambda path: 41)
    received: list[bytes] = []
    monkeypatch.setattr(socket.socket, "recv", lambda _, size, recv=socket.socket.recv: received.append(recv(_, size)))
    guard = Guard("/mnt")
    assert received == [b"r"]
    guard.dismiss()
    assert guard._process is not None
    assert guard._process.returncode == 0
