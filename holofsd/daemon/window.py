# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervisor of the window's process: started when a link is asked for, ended with the daemon.

The process is a program of its own (`holofs_window`) and a client of the daemon like any other, so what reaches its
port costs the daemon nothing. It obeys on its standard input: each line `link` is answered by one line of JSON on its
standard output, with `link` and `expires_at_ms`, or with `error`, a sentence. It ends by itself when nobody uses the
window for a while, and at the end of its standard input.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

import structlog

from holofs_api import utf8
from holofsd.core.errors import WindowFailed
from holofsd.rpc.browsing_api import WindowLink

_log = structlog.get_logger(__name__)

OFF: Final = "off"
_ANSWER_S: Final = 30.0
_END_S: Final = 3.0
_TRIES: Final = 2
"""A process that ends for want of users may do so just when it is asked."""


class WindowSupervisor:
    """The window of one device. `port`: gives the port to listen on as the settings say it, or `off`."""

    def __init__(self, state: Path, port: Callable[[], str]) -> None:
        self._state = state
        self._port = port
        self._asking = asyncio.Lock()
        self._process: Process | None = None
        self._is_closed = False

    async def link(self) -> WindowLink:
        """A fresh link; starts the process if there is none. Raises WindowFailed."""
        async with self._asking:
            for _ in range(_TRIES):
                if self._is_closed:
                    break
                if self._port() == OFF:
                    raise WindowFailed(
                        "The window is switched off: `holofsctl config set window.port 0` switches it on."
                    )
                answer = await self._answer(await self._started())
                if "link" in answer:
                    return WindowLink(str(answer["link"]), int(answer["expires_at_ms"]))
                await self._end()
                if "error" in answer:
                    raise WindowFailed(str(answer["error"]))
        raise WindowFailed("The window did not start; log/window.log in the state directory says more.")

    def port_changed(self) -> None:
        """Lets the process end: the next one listens on another port, or there is none."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def close(self) -> None:
        self._is_closed = True
        async with self._asking:
            await self._end()

    async def _started(self) -> Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        await self._end()
        command = [sys.executable, *utf8.MODE, "-m", "holofs_window.main"]
        command += ["--state-dir", str(self._state), "--port", self._port()]
        try:
            with _log_file(self._state) as remarks:
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    cwd="/",
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=remarks,
                    start_new_session=True,
                )
        except OSError as error:
            raise WindowFailed(f"The window cannot be started: {error.strerror}.") from None
        _log.info("the window was started", pid=self._process.pid)
        return self._process

    async def _answer(self, process: Process) -> dict[str, Any]:
        """Answer of the process to a question; empty where it has none to give."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(b"link\n")
            async with asyncio.timeout(_ANSWER_S):
                await process.stdin.drain()
                answer = json.loads(await process.stdout.readline() or b"{}")
        except (OSError, ValueError, TimeoutError):
            return {}
        return answer if isinstance(answer, dict) else {}

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _log_file(state: Path) -> IO[bytes]:
    """The file for what the window says of errors, since its last start."""
    folder = state / "log"
    folder.mkdir(mode=0o700, exist_ok=True)
    return open(folder / "window.log", "wb")
