# SPDX-License-Identifier: GPL-3.0-or-later
"""The harness itself: what is left by a test that ends badly is taken away, and complaints in logs are seen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support import logs, processes
from support.sources import ROOT
from support.wait import until

BUSY = "import sys, time; print('up', flush=True); time.sleep(1000)"


@pytest.fixture
def directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="hfs-"))


def test_sweeping_ends_the_processes_of_a_directory_and_removes_it(directory: Path) -> None:
    by_environment = _start(BUSY, HOLOFS_STATE_DIR=str(directory / "state"))
    elsewhere = _start(BUSY, HOLOFS_STATE_DIR=str(directory) + "-other")
    assert processes.processes_of(directory) == [by_environment.pid]
    processes.sweep(directory)
    assert by_environment.wait(60) == -signal.SIGKILL
    assert elsewhere.poll() is None
    assert not directory.exists()
    elsewhere.kill()
    elsewhere.wait(60)


def test_a_test_run_that_is_killed_leaves_nothing_behind(directory: Path) -> None:
    child = _start(
        f"from support.reaper import Reaper; from pathlib import Path; Reaper(Path({str(directory)!r})); {BUSY}"
    )
    victim = _start(BUSY, HOLOFS_STATE_DIR=str(directory))
    child.kill()
    child.wait(60)
    assert victim.wait(60) == -signal.SIGKILL
    until(lambda: not directory.exists(), "the reaper to remove the directory")


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "x", "level": "warning"}',
        "2026-01-01 12:00:00 [error    ] it broke   code=3",
        "ERROR:asyncio:Task was destroyed but it is pending!",
        "Traceback (most recent call last):",
    ],
)
def test_a_complaint_in_a_log_is_seen_unless_allowed(line: str, tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    log.write_text(f'{{"event": "fine", "level": "info"}}\n{line}\nall is well\n')
    assert logs.complaints([log]) == [f"daemon.log: {line}"]
    assert logs.complaints([log], allowed=[r"event|it broke|destroyed|Traceback"]) == []


def test_a_ticket_in_a_log_is_seen(tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    log.write_text("joined with " + "holofs1" + "abcdefgh" * 10)
    assert logs.secrets([log]) == ["daemon.log"]


def _start(code: str, **environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.stdout.close()
    return process
