# SPDX-License-Identifier: GPL-3.0-or-later
"""Daemons and mounts without the wait for their imports: forks of a process that has loaded everything.

Python takes longer to import a daemon than the daemon takes to start, and tests start them by the hundred. A fork is a
process like any other: with a session, descriptors, signals, an environment and a command line of its own, in /proc as
well, and with the exit code of the program's `main`. `support.commands` uses it: `holofsctl up` of a test forks the
daemon, and a child of the daemon, forked before it has threads, forks its mounts.

Whatever starts a program otherwise (`Device.start_daemon`, units, `scripts/run`, commands of `Device.prefix`) starts a
new Python, and so does `holofsctl up` where a fork could not be the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib
import json
import locale
import os
import random
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

_DUMPABLE = 4
"""PR_SET_DUMPABLE: exec sets it, and the command that forks has cleared it."""
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER: a mount becomes the daemon's child when the process between them has ended."""
_HELPER = 500
"""Descriptor of the daemon, behind which its mounts are forked; descriptors of programs are below it."""
_MOST_DESCRIPTORS = 4096
_LARGEST_REQUEST = 128 << 10
_PADDING = 4096, 32768
"""Bytes for the command line and the environment of a fork."""


def padded(command: Sequence[str], environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Command and environment for the process that forks: they leave room for those of its forks."""
    arguments, variables = _PADDING
    return [*command, "x" * arguments], {**environment, "PADDING": "x" * variables}


class _Areas:
    """The memory in which /proc finds the command line and the environment of a process."""

    def __init__(self) -> None:
        numbers = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:49]
        self._arguments, self._arguments_end, self._environment, self._environment_end = map(int, numbers)

    def hold(self, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        return self._line(command) is not None and self._variables(environment) is not None

    def show(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        for start, block in ((self._arguments, self._line(command)), (self._environment, self._variables(environment))):
            assert block is not None
            ctypes.memmove(start, block, len(block))

    def _line(self, command: Sequence[str]) -> bytes | None:
        """The words, ending where the memory does: slashes before the program's path make up for what they lack."""
        block = b"".join(os.fsencode(word) + b"\0" for word in command)
        return _filled(block, self._arguments_end - self._arguments, b"/", before=True)

    def _variables(self, environment: Mapping[str, str]) -> bytes | None:
        block = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environment.items())
        return _filled(block, self._environment_end - self._environment, b"\0", before=False)


def _filled(block: bytes, size: int, filler: bytes, *, before: bool) -> bytes | None:
    missing = size - len(block)
    if missing < 0:
        return None
    return filler * missing + block if before else block + filler * missing


class ForkedProcess:
    """A fork that is a child of this process: as much of `subprocess.Popen` as daemon and launcher need."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # as Popen has it
                pid, status = self.pid, 0
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def prepare() -> None:
    """Loads the programs. From here on, `holofsctl up` in a fork of this process forks the daemon."""
    global _areas, _python_settings
    from holofsctl import launcher

    for module in ("holofsd.daemon.main", "holofs_mount.main"):
        importlib.import_module(module)
    for binding in ("pyfuse3", "fusepy"):
        with contextlib.suppress(ImportError, OSError):
            importlib.import_module(f"holofs_mount.{binding}_binding")
    _areas, _python_settings = _Areas(), _for_python(os.environ)
    _replace_popen(launcher, _fork_daemon)


_areas: _Areas
_python_settings: dict[str, str]


def _for_python(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings for Python itself, which a fork has from the process that forked it."""
    return {name: value for name, value in environment.items() if name.startswith(("PYTHON", "LD_"))}


def _replace_popen(module: object, popen: Any) -> None:
    setattr(module, "subprocess", SimpleNamespace(Popen=popen, DEVNULL=subprocess.DEVNULL))  # noqa: B010


def _can_fork(command: Sequence[str]) -> bool:
    """Whether a fork is the same as a new process: this one has no threads, and Python has the same settings."""
    has_threads = len(os.listdir("/proc/self/task")) > 1
    return not has_threads and _has_same_python() and _areas.hold(command, os.environ)


def _has_same_python() -> bool:
    is_utf8 = {sys.getfilesystemencoding(), locale.getencoding().lower()} == {"utf-8"}
    return is_utf8 and _for_python(os.environ) == _python_settings


def _fork_daemon(command: list[str], *, stdout: Any, **options: Any) -> Any:
    if not _can_fork(command):
        return subprocess.Popen(command, stdout=stdout, **options)
    output = stdout.fileno()
    _flush()
    pid = os.fork()
    if pid == 0:
        with _dying():
            _become_daemon(command, output)
    return ForkedProcess(pid)


def _become_daemon(command: Sequence[str], output: int) -> NoReturn:
    from holofsd.daemon import mount_process

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        with _dying():
            _place({_HELPER: theirs.fileno()})
            _fork_mounts()
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    _replace_popen(mount_process, _ask_for_mount)
    _become(command, dict(os.environ), {1: output, 2: output, _HELPER: ours.fileno()})


def _ask_for_mount(command: list[str], *, stdout: int, pass_fds: Sequence[int], **options: Any) -> Any:
    """Runs in the daemon."""
    if not (_has_same_python() and _areas.hold(command, os.environ)):
        return subprocess.Popen(command, stdout=stdout, pass_fds=pass_fds, **options)
    request = json.dumps([command, dict(os.environ), [*pass_fds]]).encode()
    with socket.socket(fileno=os.dup(_HELPER)) as helper:
        socket.send_fds(helper, [request], [stdout, *pass_fds])
        pid = helper.recv(16)
    if not pid:
        raise OSError("the process that forks mounts has ended")
    return ForkedProcess(int(pid))


def _fork_mounts() -> NoReturn:
    """Forks a mount for each request, until the daemon ends."""
    os.setsid()
    os.chdir("/")
    control = socket.socket(fileno=_HELPER)
    while True:
        request, files, _, _ = socket.recv_fds(control, _LARGEST_REQUEST, 8)
        if not request:
            os._exit(0)
        command, environment, numbers = json.loads(request)
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            with _dying():
                mount = os.fork()
                if mount == 0:
                    output, *passed = files
                    with _dying():
                        _become(command, environment, {1: output, 2: output, **dict(zip(numbers, passed, strict=True))})
                os.write(writing, str(mount).encode())
                os._exit(0)
        os.waitpid(between, 0)  # so that the mount has the daemon for its parent before the daemon hears of it
        control.send(os.read(reading, 16))
        for descriptor in (reading, writing, *files):
            os.close(descriptor)


def _become(command: Sequence[str], environment: Mapping[str, str], descriptors: Mapping[int, int]) -> NoReturn:
    """Runs the module of a command `python … -m MODULE ARGUMENTS` in this process, and ends with its exit code."""
    os.setsid()
    os.chdir("/")
    _place(descriptors)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    _areas.show(command, environment)
    ctypes.CDLL(None).prctl(_DUMPABLE, 1, 0, 0, 0)
    random.seed()
    # What the programs set for gRPC when they are imported.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", 1, errors="backslashreplace")  # noqa: SIM115
    at = command.index("-m") + 1
    sys.argv = [command[at], *command[at + 1 :]]
    code: Any = 1
    try:
        code = importlib.import_module(command[at]).main()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as the interpreter does it
        traceback.print_exc()
        os._exit(1)
    _flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _place(descriptors: Mapping[int, int]) -> None:
    """Gives each descriptor its number; 0 to 2 are /dev/null where none is given, and all others are closed."""
    null = os.open(os.devnull, os.O_RDWR)
    wanted = {0: null, 1: null, 2: null, **descriptors}
    aside = {number: fcntl.fcntl(file, fcntl.F_DUPFD, _HELPER + 1) for number, file in wanted.items()}
    os.closerange(0, _HELPER + 1)
    for number, file in aside.items():
        os.dup2(file, number, inheritable=number != _HELPER)
    os.closerange(_HELPER + 1, _MOST_DESCRIPTORS)


def _flush() -> None:
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()


@contextlib.contextmanager
def _dying() -> Iterator[None]:
    """Ends a fork that fails before its program runs, so that the code above it does not go on twice."""
    try:
        yield
    except BaseException:  # noqa: BLE001 - a fork never returns
        traceback.print_exc()
    finally:
        os._exit(1)
