# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounded waits: a daemon that is stopped, and paths that lead back into its own mounts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.device import Device, World
from support.wait import until

BOUND_S = 40.0
COMMANDS = ("status", "up", "down")
_PATIENCE = 1.0
_FROZEN = ("does not answer: it counts as away", "the daemon went away", "the event loop")


@pytest.fixture
def world() -> Iterator[World]:
    with World(limit_s=240.0) as world:
        yield world


@pytest.fixture
def device(world: World) -> Device:
    device = world.device("a")
    device.up()
    device.create()
    return device


@contextmanager
def stopped(device: Device, pid: int) -> Iterator[None]:
    device.allowed += _FROZEN
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def one_sentence(text: str) -> str:
    assert text.count("\n") == 1
    assert text.endswith(".\n")
    return text


def test_a_mount_inside_a_mount_is_refused_and_the_daemon_goes_on(device: Device) -> None:
    ma = device.mount()
    (ma / "sub").mkdir()
    (device.home / "way").symlink_to(ma / "sub")
    for place in (ma / "sub", device.home / "way", ma / "nothing"):
        refused = device.ctl("mount", "docs", place, check=False, timeout=BOUND_S)
        assert refused.code == 2
        assert f"is inside the HoloFS mount at {ma}" in one_sentence(refused.err)
    assert device.ctl("unmount", ma / "sub", check=False, timeout=BOUND_S).code == 2
    assert len(device.status()["mounts"]) == 1


def test_the_daemon_itself_refuses_paths_in_its_own_mounts(device: Device) -> None:
    """A refusal for any client: it is the daemon's own, made without looking."""
    ma = device.mount()
    (ma / "sub").mkdir()
    ask = (
        "import sys, grpc\n"
        "from holofs_api.v1 import control_pb2 as pb\n"
        "from holofs_api.v1.control_pb2_grpc import ControlStub\n"
        "stub = ControlStub(grpc.insecure_channel('unix:' + sys.argv[1]))\n"
        "try:\n"
        "    stub.Mount(pb.MountRequest(volume='docs', path=sys.argv[2]), timeout=20)\n"
        "except grpc.RpcError as error:\n"
        "    print(error.details())\n"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", ask, str(device.state / "holofsd.sock"), str(ma / "sub")],
            env=device.environment,
            capture_output=True,
            timeout=BOUND_S,
            check=True,
        )
        assert b"is inside the HoloFS mount at" in done.stdout
    assert device.status()["mounts"]


def test_a_mount_whose_program_is_stopped_holds_up_no_command(device: Device) -> None:
    ma = device.mount()
    (ma / "sub").mkdir()
    os.sync()
    (pid,) = device.mount_pids()
    with stopped(device, pid):
        for command in (("mount", "docs"), ("unmount",)):
            assert device.ctl(*command, ma / "sub", check=False, timeout=BOUND_S).code == 2
        inside = device.ctl("--state-dir", ma / "state", "status", check=False, timeout=BOUND_S)
        assert "is inside the HoloFS mount" in one_sentence(inside.err)
        assert device.status()["mounts"]


def test_a_state_directory_inside_a_mount_is_refused_by_every_program(device: Device) -> None:
    inside = device.mount() / "state"
    for command in (["holofsctl", "--state-dir", str(inside), "up"], ["holofsd", "--state-dir", str(inside)]):
        done = subprocess.run(
            [f"{Path(sys.executable).parent}/{command[0]}", *command[1:]],
            env=device.environment,
            capture_output=True,
            timeout=BOUND_S,
            check=False,
        )
        assert done.returncode != 0
        assert "is inside the HoloFS mount" in one_sentence(done.stderr.decode())
    assert not inside.exists()


def test_a_stopped_daemon_is_said_in_one_sentence(device: Device) -> None:
    pid = device.daemon_pid()
    with stopped(device, pid), ThreadPoolExecutor(3) as pool:
        # Each waits for fifteen seconds: at the same time.
        for told in pool.map(lambda command: device.ctl(command, check=False, timeout=BOUND_S), COMMANDS):
            assert told.code == 5
            assert f"holofsd (process {pid}) is running for" in one_sentence(told.err)
            assert "does not answer" in told.err
    assert device.status()["pid"] == pid


def by_hand(device: Device, path: Path) -> subprocess.Popen[bytes]:
    """An impatient mount."""
    path.mkdir()
    program = [sys.executable, "-m", "holofs_mount.main", "docs", str(path), "--patience", str(_PATIENCE)]
    log = device.state / "log" / "by-hand.log"
    with log.open("wb") as output:
        process = subprocess.Popen(program, env=device.environment, stderr=output)
    until(lambda: os.path.ismount(path), "the mount to answer")
    return process


def in_time(work: Callable[[], object]) -> OSError | None:
    """End of a program's call, which has to come."""
    outcome: list[OSError | None] = []

    def run() -> None:
        try:
            work()
            outcome.append(None)
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(BOUND_S)
    assert outcome, "it still waits"
    return outcome[0]


def test_what_is_written_while_the_daemon_is_stopped_is_kept(device: Device) -> None:
    mnt = device.home / "impatient"
    process = by_hand(device, mnt)
    staged = os.open(mnt / "staged", os.O_RDWR | os.O_CREAT)
    os.write(staged, b"a" * 200_000)
    known = os.open(mnt / "known", os.O_RDWR | os.O_CREAT)
    os.write(known, b"before")
    os.fsync(known)
    device.allowed += ["could not be handed over", "could not be saved"]
    with stopped(device, device.daemon_pid()):
        os.pwrite(staged, b"b" * 100_000, 200_000)
        os.pwrite(known, b"during", 0)
        assert isinstance(in_time(lambda: os.mkdir(mnt / "made meanwhile")), TimeoutError | None)
        assert isinstance(in_time(lambda: os.stat(mnt / "nothing")), OSError)
        assert isinstance(in_time(lambda: os.fsync(known)), TimeoutError)
        log = device.state / "log" / "by-hand.log"
        until(lambda: "counts as away" in log.read_text(), "the mount to count the daemon as away")
    until(lambda: os.listdir(mnt), "the mount to go on")
    os.pwrite(staged, b"c" * 100_000, 300_000)
    until(lambda: in_time(lambda: os.fsync(known)) is None, "what is written to be taken")
    os.close(staged)
    os.close(known)
    other = device.mount()
    until(lambda: (other / "known").read_bytes() == b"during", "the edit of the time in between")
    whole = b"a" * 200_000 + b"b" * 100_000 + b"c" * 100_000
    until(lambda: (other / "staged").read_bytes() == whole, "all that was written to the large file")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
