# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake daemon and real mounts over it, as processes; every mount is taken down whatever happens to the test."""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from holofs_api.state_directory import prepare

HERE = Path(__file__).parent
START_SECONDS = 60.0


class FakeDaemon:
    """The process of `fake_daemon.py` and its commands: `daemon.ask("version", path="a")`."""

    def __init__(self, state: Path, *flags: str) -> None:
        self.state = state
        prepare(state)
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "fake_daemon.py"), str(state), *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._answer() == "ready"

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, command: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, arguments]).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._answer()
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer

    def content(self, path: str) -> bytes:
        return base64.b64decode(self.ask("content", path=path))

    def remote_write(self, path: str, data: bytes, here: bool = True, numbered: bool = True) -> None:
        self.ask("remote_write", path=path, data=base64.b64encode(data).decode(), here=here, numbered=numbered)

    def restart(self) -> None:
        self.ask("stop")
        self.ask("start")

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        assert ready, "the fake daemon does not answer"
        line = self._process.stdout.readline()
        assert line, "the fake daemon died"
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Mount:
    """A running `holofs-mount`. `path` answers once this returns."""

    def __init__(self, state: Path, path: Path, binding: str, *flags: str) -> None:
        self.path = path
        self.binding = binding
        self.log = path.with_name(path.name + ".log")
        path.mkdir(parents=True, exist_ok=True)
        readable, writable = os.pipe()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command(state, path, binding), "--ready-fd", str(writable), *flags],
                pass_fds=[writable],
                stderr=log,
                stdout=log,
            )
        os.close(writable)
        try:
            self._wait_ready(readable)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(readable)

    def _wait_ready(self, fd: int) -> None:
        ready, _, _ = select.select([fd], [], [], START_SECONDS)
        said = os.read(fd, 100) if ready else b"nothing"
        assert said == f"ready {self.binding}\n".encode(), f"the mount said {said!r}; its log: {self.log.read_text()}"

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def close(self) -> None:
        """Never leaves a mount, however broken."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if str(self.path) in Path("/proc/self/mounts").read_text():
            subprocess.run(["fusermount3", "-u", "-z", str(self.path)], check=False)

    def said(self) -> str:
        return self.log.read_text()

    def unexpected(self) -> str:
        """Lines of the log that no test asked for: a daemon that is stopped is remarked on."""
        remarks = (
            "the daemon went away",
            "an open file could not",
            "a name could not be removed",
            "in the journal",
            "finalized meanwhile",
        )
        return "".join(line for line in self.said().splitlines(True) if not any(remark in line for remark in remarks))


def command(state: Path, path: Path, binding: str) -> list[str]:
    program = [sys.executable, "-m", "holofs_mount.main"]
    return [*program, "vol", str(path), "--state-dir", str(state), "--binding", binding]
