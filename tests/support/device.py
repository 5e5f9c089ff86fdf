# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices for end-to-end tests: real daemons and mounts in temporary directories, driven through `holofsctl`.

    with World() as world:
        a = world.device("a")
        a.up(); a.create("docs"); folder = a.mount("docs")

A World owns everything below one temporary directory. When it ends, in whatever way, every process that belongs to it
is killed, everything mounted below it is unmounted, and the directory is removed (`reaper`: also when a run is killed).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from support import commands, json_documents, logs, processes
from support.reaper import Reaper
from support.wait import until

BIN = Path(sys.executable).parent
COMMAND_TIMEOUT_S = 60.0
_NOT_INHERITED = ("HOLOFS_", "COLUMNS")
"""Settings of whoever runs the tests that would decide what a device does or prints: beginnings of their names."""


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str


class CommandFailed(AssertionError):
    pass


class Device:
    """One state directory with its daemon and mounts."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.world = world
        self.home = world.root / name
        self.home.mkdir()
        self.state = self.home / "state"
        self.allowed: list[str] = []
        """Expressions for log lines that this test expects."""
        self.prefix: list[str] = []
        """Put before every command of this device that is a new process of Python: `setpriv ...` makes it somebody
        else's."""
        self.network = 0
        """A process in whose network namespace the device lives; 0: in that of the test."""
        self.umask = 0o022
        """Of every command of this device."""
        self.foreground: subprocess.Popen[bytes] | None = None
        self._mountpoints = 0
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(_NOT_INHERITED)},
            "HOLOFS_STATE_DIR": str(self.state),
            "HOLOFS_BIND": "127.0.0.1:0",
            "HOLOFS_DISCOVERY": "none",
            "HOLOFS_DEVICE_NAME": name,
            "HOME": str(self.home),
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

    # ---- the command line ----
    def ctl(
        self, *arguments: str | Path, stdin: str = "", check: bool = True, timeout: float = COMMAND_TIMEOUT_S
    ) -> Result:
        """Runs `holofsctl`; with `check`, a non-zero exit code fails the test. A traceback always does."""
        code, out, err = self._run([str(argument) for argument in arguments], stdin.encode(), timeout)
        result = Result(code, out.decode(errors="replace"), err.decode(errors="replace"))
        if "Traceback (most recent call last)" in result.out + result.err:
            raise CommandFailed(f"holofsctl {arguments[0]} printed a traceback:\n{result.err}")
        if check and result.code:
            raise CommandFailed(f"holofsctl {arguments[0]} ended with {result.code}: {result.err}\n{self.log_tail()}")
        return result

    def _run(self, arguments: list[str], stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        # What only asks the daemon's socket can be anywhere on this machine.
        if not self.prefix or arguments[0] in ("status", "peers"):
            return commands.run(arguments, self.environment, stdin, timeout, self.umask, network=self.network)
        command = [*self.prefix, "holofsctl", *arguments]
        done = subprocess.run(
            command, env=self.environment, input=stdin, capture_output=True, timeout=timeout, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def json(self, *arguments: str | Path, stdin: str = "") -> Any:
        """Parse what a command prints with `--json`, and compare it with its schema."""
        words = [str(argument) for argument in arguments]
        done = self.ctl(*words, "--json", stdin=stdin)
        json_documents.check(words, done.out, done.err)
        return json.loads(done.out)

    def up(self) -> None:
        self.ctl("up")

    def down(self) -> None:
        self.ctl("down")

    def create(self, volume: str = "docs") -> None:
        self.ctl("create", volume)

    def share(self, volume: str = "docs", *options: str) -> str:
        result = self.ctl("share", volume, *options)
        ticket = result.out.removesuffix("\n")
        assert ticket.startswith("holofs1"), "standard output of share is exactly the ticket and a newline"
        assert "\n" not in ticket
        return ticket

    def join(self, ticket: str, *options: str) -> None:
        self.ctl("join", "-", *options, stdin=ticket + "\n")

    def mount(self, volume: str = "docs", *options: str, path: Path | None = None) -> Path:
        """Mounts at `path` (made if missing), or at a new directory."""
        if path is None:
            self._mountpoints += 1
            path = self.home / f"{volume}-{self._mountpoints}"
        path.mkdir(exist_ok=True)
        self.ctl("mount", volume, path, *options)
        return path

    def unmount(self, path: Path) -> None:
        self.ctl("unmount", path)

    def status(self, volume: str = "") -> dict[str, Any]:
        answer = self.json("status", *([volume] if volume else []))
        assert isinstance(answer, dict)
        return answer

    def volume_status(self, volume: str = "docs") -> dict[str, Any]:
        for found in self.status()["volumes"]:
            if found["volume"]["name"] == volume:
                assert isinstance(found, dict)
                return found
        raise AssertionError(f"{self.name} has no volume {volume}")

    def device_id(self) -> str:
        return str(self.status()["device_id"])

    def is_settled(self, volume: str = "docs") -> bool:
        """Whether everything written here has a number, and nothing that is known is missing."""
        found = self.volume_status(volume)
        waiting = ("unpublished", "records_behind", "content_missing", "pending", "unsealed")
        return not any(int(found.get(field, 0)) for field in waiting)

    # ---- processes ----
    def pids(self) -> list[int]:
        return processes.processes_of(self.state)

    def daemon_pid(self) -> int:
        return int(self.status()["pid"])

    def mount_pids(self) -> list[int]:
        return [pid for pid in self.pids() if any("holofs-mount" in p or "holofs_mount" in p for p in _line(pid))]

    def start_daemon(self, prefix: Sequence[str] = (), **environment: str) -> None:
        """`holofsd` in the foreground, as a child of the test, under the command `prefix`; returns when it answers."""
        self.begin_daemon(prefix, **environment)
        until(lambda: self.ctl("status", check=False).code == 0, f"the daemon of {self.name} to answer")

    def begin_daemon(self, prefix: Sequence[str] = (), **environment: str) -> None:
        """The same, without waiting for an answer: it may die before."""
        assert not self.network, "only holofsctl enters it"
        self.run_daemon([*self.prefix, *prefix, str(BIN / "holofsd")], {**self.environment, **environment})

    def run_daemon(
        self, command: Sequence[str], environment: Mapping[str, str], stdin: int = subprocess.DEVNULL
    ) -> None:
        """The daemon by another command and environment, as somebody else starts it."""
        assert self.foreground is None
        log = self.world.root / f"{self.name}.foreground.log"
        with log.open("ab") as output:
            self.foreground = subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=output,
                stdin=stdin,
                start_new_session=True,
            )

    def ended_within(self, seconds: float) -> bool:
        """Whether the daemon in the foreground ended by itself, or was killed by its own hand."""
        assert self.foreground is not None
        self.allowed.append("the daemon went away; waiting for it")
        try:
            self.foreground.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self.foreground = None
        return True

    def stop_daemon(self) -> None:
        """Stop the daemon as a service manager does it: SIGTERM, and mounts stay."""
        self._end(signal.SIGTERM)

    def kill9_daemon(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, how: int) -> None:
        self.allowed.append("the daemon went away; waiting for it")
        pid = self.foreground.pid if self.foreground else self.daemon_pid()
        if self.foreground:
            os.kill(pid, how)
            self.foreground.wait(45)
            self.foreground = None
        else:
            processes.kill([pid], how, seconds=45)

    def kill9_all(self) -> None:
        """Daemon and mounts at once, as when the power of a machine fails but its disk does not."""
        self.allowed.append("the daemon went away; waiting for it")  # they do not die in the same instant
        processes.kill(self.pids())
        if self.foreground:
            self.foreground.wait(45)
            self.foreground = None

    # ---- logs ----
    def log_files(self) -> list[Path]:
        folder = self.state / "log"
        own = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
        return [*own, *sorted(self.world.root.glob(f"{self.name}.foreground.log"))]

    def log_tail(self, lines: int = 30) -> str:
        parts = []
        for file in self.log_files():
            parts += [f"--- {self.name}: {file.name}", *file.read_text(errors="replace").splitlines()[-lines:]]
        return "\n".join(parts)

    def complaints(self) -> list[str]:
        return logs.complaints(self.log_files(), self.allowed)


class World:
    """Some devices in one temporary directory.

    `limit_s`: after that, everything is killed, so that a test hanging in a system call on a dead mount comes back.
    """

    def __init__(self, limit_s: float = 0.0) -> None:
        # Short, because a Unix socket's path has 107 bytes.
        self.root = Path(tempfile.mkdtemp(prefix="hfs-"))
        self.devices: list[Device] = []
        self._reaper = Reaper(self.root)
        self._watchdog = threading.Timer(limit_s, self._too_late) if limit_s else None
        if self._watchdog:
            self._watchdog.daemon = True
            self._watchdog.start()

    def device(self, name: str) -> Device:
        device = Device(self, name)
        self.devices.append(device)
        return device

    def running(self, *names: str) -> list[Device]:
        found = [self.device(name) for name in names]
        for device in found:
            device.up()
        return found

    def sharing(self, *names: str, volume: str = "docs") -> list[Device]:
        """Running devices that are members of one volume, the first being its admin."""
        first, *others = self.running(*names)
        first.create(volume)
        for other in others:
            other.join(first.share(volume))
        return [first, *others]

    def check(self) -> None:
        """Check at the end of every test: no log complains, and none holds a secret."""
        found = [f"{device.name}: {line}" for device in self.devices for line in device.complaints()]
        assert not found, "unexpected lines in the logs:\n" + "\n".join(found[:30])
        assert not [name for device in self.devices for name in logs.secrets(device.log_files())]

    def close(self) -> None:
        if self._watchdog:
            self._watchdog.cancel()
        processes.sweep(self.root)
        for device in self.devices:
            if device.foreground:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    device.foreground.wait(5)
        self._reaper.dismiss()

    def _too_late(self) -> None:
        processes.kill(processes.processes_of(self.root))

    def logs(self) -> str:
        return "\n".join(device.log_tail() for device in self.devices)

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.check()
            elif kind is not KeyboardInterrupt:
                print(self.logs())
        finally:
            self.close()


def _line(pid: int) -> Sequence[str]:
    return processes.command_line(pid)
