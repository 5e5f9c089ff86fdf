# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that wait for content: they can be killed, and keep no other program from what it does."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holofs_api import guard
from holofs_mount.waiting_readers import allow_background, is_being_killed
from mount.harness import FakeDaemon
from support.wait import until

READERS = 40
"""More than the kernel lets wait of itself, where it reads ahead."""
SECONDS = 60.0
"""For which content does not come: longer than any of these tests takes."""


@pytest.fixture
def waiting(daemon: FakeDaemon, mnt: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Programs that read small files which are elsewhere, each waiting."""
    for number in range(READERS):
        daemon.remote_write(f"far{number}", b"x" * 5_000, here=False)
    daemon.remote_write("near", b"y" * 5_000)
    until((mnt / "near").exists, "the names are here")
    daemon.ask("slow_fetch", delay=SECONDS)
    programs = [subprocess.Popen(["cat", mnt / f"far{n}"], stdout=subprocess.DEVNULL) for n in range(READERS)]
    try:
        until(lambda: daemon.ask("calls").get("fetch", 0) >= READERS, "all of them wait")
        yield programs
    finally:
        for program in programs:
            program.kill()
        for program in programs:
            program.wait()
        daemon.ask("slow_fetch", delay=0.0)  # what still waits comes
        for number in range(READERS):
            assert (mnt / f"far{number}").read_bytes() == b"x" * 5_000


def test_a_reader_that_is_killed_is_let_go_at_once(waiting: list[subprocess.Popen[bytes]]) -> None:
    for program, how in zip(waiting, (signal.SIGKILL, signal.SIGTERM, signal.SIGINT), strict=False):
        program.send_signal(how)
        assert program.wait(SECONDS / 2) == -how
    assert waiting[-1].poll() is None, "the others go on waiting"


def test_readers_that_wait_keep_nobody_from_small_files_and_folders(
    waiting: list[subprocess.Popen[bytes]], mnt: Path
) -> None:
    done = subprocess.run(["ls", "-l", mnt], check=True, capture_output=True, timeout=SECONDS / 2)
    assert done.stdout.count(b"\n") == READERS + 2
    near = subprocess.run(["cat", mnt / "near"], check=True, capture_output=True, timeout=SECONDS / 2)
    assert near.stdout == b"y" * 5_000
    assert all(program.poll() is None for program in waiting), "they all waited meanwhile"


def test_a_thread_is_being_killed_from_a_signal_that_ends_it_until_it_has_ended() -> None:
    program = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        assert not is_being_killed(program.pid)
        program.send_signal(signal.SIGSTOP)
        until(lambda: _state_of(program.pid) == "T", "it is stopped")
        program.send_signal(signal.SIGUSR1)
        assert not is_being_killed(program.pid), "a signal that a stopped program has still to look at"
    finally:
        program.kill()
        program.wait()
    assert not is_being_killed(program.pid), "there is none any more"
    assert not is_being_killed(0)


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_the_kernel_is_told_how_many_readers_may_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CONTROL", str(tmp_path))
    monkeypatch.setattr(guard, "connection_at", lambda path: 42 if path == "/mnt" else None)
    assert not allow_background("/mnt", 256), "the control filesystem is not mounted"
    (tmp_path / "42").mkdir()
    assert allow_background("/mnt", 256)
    assert (tmp_path / "42" / "max_background").read_text() == "256"
    assert (tmp_path / "42" / "congestion_threshold").read_text() == "192"
    assert not allow_background("/elsewhere", 256)
