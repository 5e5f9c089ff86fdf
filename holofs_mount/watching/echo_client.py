# SPDX-License-Identifier: GPL-3.0-or-later
"""The mount's end of its echo process: starts it, sends it one request at a time, and knows its operations by its PID.

The PID stands for the process until it is reaped, and the mount alone reaps it. It stops to recognise it before that,
so no other process that gets the number is ever taken for it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_PROGRAM: Final = Path(__file__).with_name("echo_process.py")
_ANSWER_SECONDS: Final = 10.0
_END_SECONDS: Final = 5.0
"""Seconds that the end of the process is waited for. It cannot end in an operation that is never answered."""
_LOOK_SECONDS: Final = 0.005
_LONGEST_ANSWER: Final = 16
_MOST_FAILURES: Final = 3


class EchoClient:
    """The echo process, started with the first request. After three that did not answer there is none any more."""

    def __init__(self) -> None:
        self.pid = 0
        """0: no process can make an echo now."""
        self._process: subprocess.Popen[bytes] | None = None
        self._ours: socket.socket | None = None
        self._failures = 0

    async def ask(self, operation: bytes, folder: bytes, name: bytes, token: bytes) -> int | None:
        """The errno with which the operation ended, or 0. None: there was no answer."""
        request = b"\0".join((operation, folder, name, token))
        while self._failures < _MOST_FAILURES:
            try:
                answer = await self._ask(request)
                self._failures = 0
                return answer
            except (OSError, ValueError, TimeoutError) as error:
                log.info("the echo process gave no answer", reason=repr(error))
                self._failures += 1
                await self.close()
                if self._failures >= _MOST_FAILURES:
                    log.warning("programs that watch folders hear of no more changes from elsewhere")
        return None

    async def _ask(self, request: bytes) -> int:
        """Raises OSError, or ValueError where the process has ended."""
        loop = asyncio.get_running_loop()
        ours = self._ours or self._start()
        async with asyncio.timeout(_ANSWER_SECONDS):
            await loop.sock_sendall(ours, request)
            return int(await loop.sock_recv(ours, _LONGEST_ANSWER))

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.setblocking(False)
            # A session of its own: what is sent to the mount's group is not for it.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", os.fspath(_PROGRAM), str(theirs.fileno())],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._ours, self.pid = ours, self._process.pid
        return ours

    async def close(self) -> None:
        """Ends the process. It may be in an operation of this mount, so the loop goes on meanwhile. Idempotent."""
        if self._ours is not None:
            self._ours.close()
            self._ours = None
        if self._process is None:
            return
        pid = self._process.pid
        os.kill(pid, signal.SIGKILL)  # Popen.kill would reap it if it has ended
        until = time.monotonic() + _END_SECONDS
        while not _has_ended(pid):
            if time.monotonic() > until:
                self._failures = _MOST_FAILURES  # it stays recognised, and there is no other one
                return
            await asyncio.sleep(_LOOK_SECONDS)
        self.pid = 0
        self._process.wait()
        self._process = None


def _has_ended(child: int) -> bool:
    """Return whether a child has ended. It is not reaped, so its PID still means this process."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
