# SPDX-License-Identifier: GPL-3.0-or-later
"""Daemons without the wait for their imports: a process that has loaded everything forks into each of them.

What runs is the daemon's own `main`, in a process of its own that can be killed like any other. It is impatient: what
happens once in ten minutes otherwise, so that nobody notices it, happens every few seconds.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

_SOON_S = 1.0


class Zygote:
    """Owned by a test. Its processes have `environment`, so they are found as every process of a device is."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.environment = environment
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.zygote"],
            env=dict(environment),
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def daemon(self, **environment: str) -> int:
        """Starts one; its process id."""
        return self._ask("daemon", environment)

    def call(self, function: str, *arguments: str, **environment: str) -> int:
        """The same with `module:function`, called with those arguments."""
        return self._ask(function, environment, *arguments)

    def _ask(self, what: str, environment: Mapping[str, str], *arguments: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"what": what, "arguments": arguments, "environment": dict(environment), "log": str(self._log)}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(45)
        self._process.stdout.close()


def _impatient() -> None:
    from holofsd.daemon import backups, composition, main
    from holofsd.daemon.volumes import VolumeSettings
    from holofsd.fs.settings import FsSettings
    from holofsd.sync.config import SyncConfig

    # A backup costs a twentieth of a second: not so often that nothing else gets done.
    for name, seconds in (("FIRST_LOOK_S", _SOON_S), ("LOOK_EVERY_S", 3 * _SOON_S), ("MOST_AGE_S", 5 * _SOON_S)):
        setattr(backups, name, seconds)
    settings = VolumeSettings(SyncConfig(forget_interval=_SOON_S, fold_after=2 * _SOON_S), FsSettings())
    setattr(main, "running", functools.partial(composition.running, settings=settings))  # noqa: B010


def _become(order: dict[str, Any]) -> NoReturn:
    os.environ.update(order["environment"])
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, 256)
    if order["what"] == "daemon":
        from holofsd.daemon.main import main

        os._exit(main([]))
    from holofsd.store import faults

    faults.arm_from(os.environ)
    module, _, function = order["what"].partition(":")
    getattr(importlib.import_module(module), function)(*(Path(argument) for argument in order["arguments"]))
    os._exit(0)


def serve() -> None:
    _impatient()
    # Nobody asks how a daemon ended: it is enough that it is gone.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(KeyboardInterrupt):
                _become(json.loads(line))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
