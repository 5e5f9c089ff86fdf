# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `holofsctl` without importing it anew each time: a process that has imported it forks one process per command.

Starting Python and importing gRPC takes ten times as long as what most commands do, and tests give thousands of them.
Each command is still a process of its own, with its own environment, descriptors and exit code.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from support import forked

_LARGEST_REQUEST = 128 << 10
_STANDARD = (0, 1, 2)
_NETWORK = 0x40000000
"""CLONE_NEWNET: the kind of namespace that a command enters."""


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    stdin: bytes,
    timeout: float,
    umask: int = 0o022,
    folder: str = "",
    network: int = 0,
    terminal: int = -1,
) -> tuple[int, bytes, bytes]:
    """The exit code, and what was printed to standard output and error. Raises subprocess.TimeoutExpired.

    `folder`: where it runs; empty: where the caller is. `network`: a process in whose network namespace it runs, with
    what it starts; 0: in that of the caller. `terminal`: descriptor of one that it prints to; then no output is
    returned.
    """
    files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
    given = files if terminal < 0 else [files[0], terminal, terminal]
    try:
        os.pwrite(files[0], stdin, 0)
        request = json.dumps([[*arguments], dict(environment), umask, folder or os.getcwd(), network]).encode()
        code = _ask(request, given, timeout)
        return code, _content(files[1]), _content(files[2])
    finally:
        for file in files:
            os.close(file)


def _ask(request: bytes, files: list[int], timeout: float) -> int:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            socket.send_fds(_server(), [request], [*files, theirs.fileno()])
        pid = int(ours.recv(16))
        if not select.select([ours], [], [], timeout)[0]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(["holofsctl", *json.loads(request)[0]], timeout)
        # Nothing: it was ended by a signal.
        return int(ours.recv(16) or -signal.SIGKILL)


def _content(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)


@cache
def _server() -> socket.socket:
    """A connection to the server, which ends with this process. In a session of its own: Ctrl-C is for the test."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command, environment = forked.padded([sys.executable, "-m", "support.commands"], os.environ)
    with theirs:
        subprocess.Popen(
            command,
            env=environment,
            stdin=theirs.fileno(),
            cwd=Path(__file__).parents[1],
            start_new_session=True,
        )
    return ours


def main() -> None:
    from holofsctl.main import main as command

    forked.prepare()
    _build_parser()
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    gc.freeze()
    while True:
        request, files, _, _ = socket.recv_fds(control, _LARGEST_REQUEST, 4)
        if not request:
            return
        if os.fork() == 0:
            control.close()
            _become(request, files)
            answer = socket.socket(fileno=files[3])
            answer.send(str(os.getpid()).encode())
            code = 1
            try:
                code = command()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                answer.send(str(code).encode())
                os._exit(code)
        for file in files:
            os.close(file)


def _build_parser() -> None:
    """Builds the parser once for all commands, which is most of what many of them do; each has its own copy of it."""
    from holofsctl import parser

    built = parser.build()
    setattr(parser, "build", lambda: built)  # noqa: B010
    importlib.import_module("grpc._channel")  # gRPC loads it when it is first used


def _become(request: bytes, files: list[int]) -> None:
    arguments, environment, umask, folder, network = json.loads(request)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in _STANDARD:
        os.dup2(files[number], number)
        os.close(files[number])
    if os.isatty(1):  # the streams of the process that forks may be of files, in which one can seek
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w", 1, errors="backslashreplace")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.umask(umask)
    os.chdir(folder)
    if network:
        enter_network(network)
    sys.argv = ["holofsctl", *arguments]


def enter_network(process: int) -> None:
    """Brings this thread into the network namespace of a process, as nsenter does it; os.setns is of Python 3.12."""
    namespace = f"/proc/{process}/ns/net"
    descriptor = os.open(namespace, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _NETWORK):
            raise OSError(ctypes.get_errno(), namespace)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
