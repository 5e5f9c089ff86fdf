# SPDX-License-Identifier: GPL-3.0-or-later
"""One mount process: started in a session of its own, so that it outlives the daemon, and told ready through a pipe.

The process writes to the descriptor `--ready-fd`: a line `ready [binding]` once the mount answers, or `error SENTENCE`.
It ends with a non-zero code when it fails, and with 0 once it was unmounted. One that is started before the daemon
answers gets ready beside it, and goes on at the line that comes through `--go-fd`; the end of that pipe, without a
line, is the daemon's end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol

from holofs_api import utf8
from holofs_api.mount_access import Allow
from holofsd.core.errors import MountFailed
from holofsd.daemon.processes import wait_gone

READY_TIMEOUT_S: Final = 30.0
_END_S: Final = 5.0
_MAX_WORDS: Final = 4096


@dataclass(frozen=True, slots=True)
class MountOrder:
    """Description of a mount to make: what, where and how."""

    state: Path
    volume: str
    """Hex id; with `@` and ms behind it, as it was then."""
    path: str
    mount_id: str
    read_only: bool
    binding: str
    over_dead: bool = False
    """Whether a mount whose program is gone is there, and is to be taken away at the last moment."""
    allow: Allow = Allow.OWNER
    no_exec: bool = False


class MountProcess(Protocol):
    """A process of `holofs-mount` that this daemon started or adopted."""

    @property
    def pid(self) -> int: ...
    @property
    def binding(self) -> str: ...

    async def ended(self) -> int | None:
        """Waits for the end; the exit code, or None where it is not known (adopted, or it hangs in the kernel)."""

    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Adopted:
    """A mount process that an earlier daemon started."""

    def __init__(self, pid: int, binding: str) -> None:
        self.pid = pid
        self.binding = binding

    async def ended(self) -> int | None:
        await wait_gone(self.pid)
        return None

    def terminate(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class Started:
    """A mount process of ours."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        self.binding = ""

    async def ended(self) -> int | None:
        await wait_gone(self.pid)
        return self._process.poll()  # only reaps, and not even that if a thread of it hangs in the kernel

    def terminate(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()


def log_of(state: Path, mount_id: str) -> Path:
    """Path of the file to which a mount process writes its messages; kept until the mount is taken away."""
    return state / "log" / f"mount-{mount_id}.log"


async def launch(order: MountOrder, serving: asyncio.Event) -> MountProcess:
    """Starts a mount process and waits until the mount answers. Raises MountFailed with its last words.

    `serving`: set when the daemon answers on its socket.
    """
    remarks = log_of(order.state, order.mount_id)
    with ExitStack() as ours:
        try:
            process, ready, go = _started(order, remarks, ours)
        except OSError as error:
            raise MountFailed(f"The mount helper cannot be started: {error.strerror}.") from None
        try:
            await serving.wait()
            with suppress(BrokenPipeError):  # it ended already, and said why
                go.write(b"go\n")
            words = await _first_words(ready)
        except asyncio.CancelledError:
            process.terminate()
            raise
    if words.startswith("ready"):
        process.binding = words.removeprefix("ready").strip() or order.binding
        return process
    process.terminate()
    await _end(process)
    raise MountFailed(words.removeprefix("error").strip(" :") or _last_line(remarks, order.path))


def _started(order: MountOrder, remarks: Path, ours: ExitStack) -> tuple[Started, IO[bytes], IO[bytes]]:
    """The process, and our ends of its pipes, which `ours` closes."""
    remarks.parent.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as its:
        ready_to_read, ready = _pipe(ours, its)
        go, go_to_write = _pipe(its, ours)
        # Appended to: what the process before it said tells why there is another one.
        output = its.enter_context(open(remarks, "ab"))
        process = Started(_spawn(order, ready.fileno(), go.fileno(), output.fileno()))
    return process, ready_to_read, go_to_write


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    reading, writing = os.pipe()
    return (
        reader.enter_context(os.fdopen(reading, "rb", buffering=0)),
        writer.enter_context(os.fdopen(writing, "wb", buffering=0)),
    )


def _spawn(order: MountOrder, ready: int, go: int, output: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, *utf8.MODE, "-m", "holofs_mount.main", "--state-dir", str(order.state)]
    command += ["--mount-id", order.mount_id, "--ready-fd", str(ready), "--go-fd", str(go)]
    command += ["--read-only"] if order.read_only else []
    command += ["--binding", order.binding] if order.binding else []
    command += ["--over-dead"] if order.over_dead else []
    command += [f"--{order.allow.option.replace('_', '-')}"] if order.allow.option else []
    command += ["--no-exec"] if order.no_exec else []
    command += [order.volume, order.path]
    return subprocess.Popen(
        command,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=(ready, go),
        start_new_session=True,
    )


async def _first_words(pipe: IO[bytes]) -> str:
    """The first line from the pipe, which is closed with it; empty if the process ended without a word."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_MAX_WORDS)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        line = await asyncio.wait_for(reader.readline(), READY_TIMEOUT_S)
        return line.decode("utf-8", "replace").strip()
    except TimeoutError:
        return f"error The mount did not answer within {READY_TIMEOUT_S:.0f} s."
    except ValueError:
        return ""
    finally:
        transport.close()


async def _end(process: Started) -> None:
    for step in (process.kill, None):
        try:
            await asyncio.wait_for(process.ended(), _END_S)
        except TimeoutError:
            if step is not None:  # else it hangs in the kernel, at a path that does not answer
                step()
            continue
        return


def _last_line(remarks: Path, path: str) -> str:
    try:
        with open(remarks, "rb") as file:
            file.seek(max(0, remarks.stat().st_size - _MAX_WORDS))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].removeprefix("holofs-mount: ") if lines else f"The mount helper for {path} ended without a word."
