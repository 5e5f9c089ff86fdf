# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the daemon detached from the terminal and stops it, waiting for what was asked to be true."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from holofs_api import utf8
from holofs_api.activation import Activation
from holofs_api.mount_processes import holder_of
from holofs_api.places import mount_points, run_within
from holofs_api.settings import VARIABLES
from holofs_api.state_directory import StateDirError, prepare
from holofs_api.v1 import control_pb2 as pb
from holofsctl import activation
from holofsctl.client import Client, daemon_process
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 60.0
_HELPER_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.01
_ALREADY_RUNNING: Final = 6
"""The daemon's exit code where another one has the state directory."""
_LEAST_FREE: Final = 1 << 20
"""Bytes without which a daemon can neither start nor say why."""
MOUNTS_FILE: Final = "mounts.json"
"""File in the state directory, written by the daemon: the mount processes that run, for a `down` without a daemon."""


def ensure_running(state: Path, options: Sequence[str] = ()) -> bool:
    """Returns whether a daemon had to be started, with these options; returns once it answers.

    systemd starts it where it listens for clients. It does not know settings that are options or variables here: with
    any of those this process starts it.
    """
    try:
        if _answers(state):
            return False
    except StateDirError:  # a folder of ours that others may write to is made private, and then looked into again
        prepare(state)
        if _answers(state):
            return False
    has_settings = bool(options) or any(os.environ.get(name) for name in VARIABLES)
    if not has_settings and activation.start(state) is Activation.STARTED:
        return True
    with _private_remarks(state) as remarks:
        process = _spawn(state, remarks, options)
        return _wait_until_up(state, process, remarks)


def running_pid(state: Path) -> int:
    """Process of the daemon that answers; 0 if none does."""
    try:
        with Client(state) as client:
            return client.daemon.pid
    except CommandError as error:
        if error.exit_code == Exit.NOT_RUNNING:
            return 0
        raise


def _answers(state: Path) -> bool:
    return running_pid(state) != 0


def _private_remarks(state: Path) -> IO[bytes]:
    """A file in the state directory, which is made where there is none. Raises StateDirError."""
    prepare(state)
    before = os.umask(0o077)
    try:
        (state / "log").mkdir(exist_ok=True)
        return open(state / "log" / "start.log", "w+b")
    except OSError as error:
        raise CommandError(f"{state} cannot be used: {error.strerror}.", code="state-dir-unusable") from None
    finally:
        os.umask(before)


def _spawn(state: Path, remarks: IO[bytes], options: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        *utf8.MODE,
        "-m",
        "holofsd.daemon.main",
        "--state-dir",
        str(state),
        "--detached",
        *options,
    ]
    # cwd "/": a daemon must not keep a removable disk busy. A session of its own: Ctrl-C here is not for it.
    return subprocess.Popen(
        command, cwd="/", stdin=subprocess.DEVNULL, stdout=remarks, stderr=remarks, start_new_session=True
    )


def _wait_until_up(state: Path, process: subprocess.Popen[bytes], remarks: IO[bytes]) -> bool:
    importlib.import_module("grpc")  # what asks it needs this, and now is the time to load it
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if _answers(state):
            return process.poll() is None
        ended = process.poll()
        # Another `up` at the same time may have won: then its daemon is the one to wait for.
        if ended is not None and ended != _ALREADY_RUNNING:
            raise CommandError(_last_words(state, remarks, ended), code="start-failed")
        time.sleep(_POLL_S)
    sentence = f"holofsd did not answer within {START_TIMEOUT_S:.0f} s; see {state}/log."
    if process.poll() == _ALREADY_RUNNING:  # of an earlier program, with its socket where this one does not look
        sentence = f"{_last_words(state, remarks, _ALREADY_RUNNING)} It does not answer: end it, then try again."
    raise CommandError(sentence, Exit.TIMED_OUT)


def _last_words(state: Path, remarks: IO[bytes], ended: int) -> str:
    remarks.seek(0)
    lines = [line for line in remarks.read().decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines:
        disk = os.statvfs(state)
        if disk.f_bavail * disk.f_frsize < _LEAST_FREE:
            return f"The disk that holds {state} is full: make room there, then try again."
        return f"holofsd ended at once (exit code {ended}); see log/holofsd.log in its state directory."
    return lines[-1].removeprefix("holofsd: ")


def stop(state: Path) -> bool:
    """Unmounts everything and ends the daemon; returns whether one was running. Returns once its process is gone."""
    try:
        running = _answers(state)
    except CommandError as error:
        if error.code != "version-mismatch":
            raise
        _end_other_version(state, error)
        running = True
    else:
        if running:
            _shut_down(state, unmount=True)
    _unmount_leftovers(state)
    return running


def stop_daemon(state: Path) -> None:
    """Ends the daemon that runs and leaves the mounts, which go on with the next one. Returns once it is gone."""
    _shut_down(state, unmount=False)


def _shut_down(state: Path, *, unmount: bool) -> None:
    with contextlib.ExitStack() as stack:
        with Client(state) as client:
            pid = client.daemon.pid
            gone = stack.enter_context(_watching(pid))
            client.call("Shutdown", pb.ShutdownRequest(unmount=unmount), STOP_TIMEOUT_S)
        # The connection is closed by now: the daemon does not wait for it.
        if not gone(STOP_TIMEOUT_S):
            raise CommandError(f"holofsd (process {pid}) is still ending; it said that it would.", Exit.TIMED_OUT)


def _end_other_version(state: Path, refusal: CommandError) -> None:
    """Ends a daemon that this program cannot talk to, by a signal: it leaves its mounts. Returns once it is gone."""
    pid = int(daemon_process(state) or 0)
    if not pid:
        raise refusal
    with _watching(pid) as gone:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        if not gone(STOP_TIMEOUT_S):
            raise CommandError(f"holofsd (process {pid}) is still ending; try again in a moment.", Exit.TIMED_OUT)


@contextlib.contextmanager
def _watching(pid: int) -> Iterator[Callable[[float], bool]]:
    """A function that waits (seconds) for the end of the process and says whether it ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield lambda seconds: True
        return
    except (AttributeError, OSError):
        yield lambda seconds: _poll_gone(pid, seconds)
        return
    try:
        yield lambda seconds: bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _poll_gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(_POLL_S)
    return False


def _unmount_leftovers(state: Path) -> None:
    """Mounts outlive a daemon that was killed; without one, this is who takes them down."""
    try:
        mounts = json.loads((state / MOUNTS_FILE).read_text())
        paths = [str(mount["path"]) for mount in mounts]
        paths = [path for path in paths if _is_of(state, path)]
    except (OSError, ValueError, TypeError, KeyError):
        return
    helper = shutil.which("fusermount3") or shutil.which("fusermount")
    for path in paths:
        if helper is not None and is_mounted(path):
            code, _ = run_within([helper, "-u", path], _HELPER_TIMEOUT_S)
            if code != 0:
                run_within([helper, "-uz", path], _HELPER_TIMEOUT_S)
    with contextlib.suppress(OSError):
        (state / MOUNTS_FILE).unlink()


def _is_of(state: Path, path: str) -> bool:
    """Returns whether the mount there is this device's, or its process is gone: a copy of the state directory lists it,
    too."""
    holder = holder_of(path)
    return holder is None or holder.belongs_to(state)


def is_mounted(path: str) -> bool:
    """Returns whether something is mounted exactly there, without touching it (a dead mount would hang)."""
    points = mount_points()
    return os.path.ismount(path) if points is None else path in points
