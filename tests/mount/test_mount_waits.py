# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounded waits in a mount: whatever a program does while the daemon is stopped or killed, it ends."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mount.harness import HERE, FakeDaemon, Mount
from support.wait import until

PATIENCE = 3.0
SLACK = 20.0
"""For the graces of the steps of one call, and a busy machine; far below the time after which the program gives up."""
_MNT_FORCE = 1


class Outcome(NamedTuple):
    seconds: float
    errno: int | None
    is_made: bool


class Stage:
    """A daemon of the test's own, an impatient mount, and a program that is to make every call there is."""

    def __init__(self, directory: Path, binding: str) -> None:
        self.daemon = FakeDaemon(directory / "state")
        self.daemon.ask("keep_journals")
        self.daemon.ask("lease_many")
        self.mount = Mount(self.daemon.state, directory / "mnt", binding, "--patience", str(PATIENCE))
        program = [sys.executable, str(HERE / "program_of_every_call.py"), str(self.mount.path)]
        self.program = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def expect(self, word: bytes) -> None:
        assert self.program.stdout is not None
        ready, _, _ = select.select([self.program.stdout], [], [], 60)
        assert ready, f"the program does not say {word!r}"
        assert self.program.stdout.readline() == word + b"\n"

    def freeze(self) -> None:
        """The daemon is stopped; after that the program makes what is to be new."""
        self.expect(b"ready")
        self.signal(signal.SIGSTOP)
        assert self.program.stdin is not None
        self.program.stdin.write(b"go\n")
        self.program.stdin.flush()
        self.expect(b"made")

    def outcomes(self) -> dict[str, Outcome]:
        told, _ = self.program.communicate(b"go\n", timeout=100)
        return {case: Outcome(*outcome) for case, outcome in json.loads(told).items()}

    def signal(self, number: int) -> None:
        os.kill(self.daemon.pid, number)

    def close(self) -> None:
        """Never waits for what hangs: the connection is ended by force."""
        ctypes.CDLL(None).umount2(os.fsencode(self.mount.path), _MNT_FORCE)
        self.program.kill()
        self.signal(signal.SIGCONT)
        self.mount.close()
        self.daemon.close()
        self.program.wait(60)


@pytest.fixture
def stage(tmp_path: Path, binding: str) -> Iterator[Stage]:
    stage = Stage(tmp_path, binding)
    try:
        stage.freeze()
        yield stage
    finally:
        stage.close()


def check(outcomes: dict[str, Outcome], binding: str) -> None:
    assert [case for case, one in outcomes.items() if one.errno is None] == [], "these still wait"
    late = {case: one.seconds for case, one in outcomes.items() if one.seconds > PATIENCE + SLACK}
    assert late == {}, "these waited longer than the patience"
    assert [case for case, one in outcomes.items() if one.errno == errno.EIO] == [], "these met a fault of ours"
    assert any(one.errno == errno.ETIMEDOUT for one in outcomes.values()), "the daemon did answer"
    if binding == "pyfuse3":  # the high-level interface asks by path, and paths need the daemon
        for state in ("new", "journalled"):
            made = [one.is_made for case, one in outcomes.items() if case.endswith(f" {state}")]
            assert sum(made) >= 10, f"files that are {state}"
        assert outcomes["write-large new"][1:] == (errno.ETIMEDOUT, True)


def test_every_call_ends_within_the_patience_while_the_daemon_is_stopped(stage: Stage) -> None:
    check(stage.outcomes(), stage.mount.binding)
    stage.signal(signal.SIGCONT)
    if stage.mount.binding != "pyfuse3":
        until(lambda: "other" in os.listdir(stage.mount.path / "chmod known"), "the mount to go on")
        return
    kept = stage.mount.path / "chmod journalled" / "file"
    until(lambda: kept.read_bytes() == b"s" * 1_000, "the mount to go on, with what was closed meanwhile")
    until(lambda: stage.daemon.content("chmod journalled/file") == b"s" * 1_000, "the daemon to have it")
    assert "Traceback" not in stage.mount.said()


def test_every_call_ends_within_the_patience_when_the_daemon_is_stopped_and_killed(stage: Stage) -> None:
    stage.signal(signal.SIGKILL)
    check(stage.outcomes(), stage.mount.binding)
    stage.mount.stop()
    assert "Traceback" not in stage.mount.said()
