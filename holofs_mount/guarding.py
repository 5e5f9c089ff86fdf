# SPDX-License-Identifier: GPL-3.0-or-later
"""The mount's end of its guard (`holofs_api.guard`)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Final

import structlog

from holofs_api import guard

log = structlog.get_logger(__name__)

_START_SECONDS: Final = 1.0
_END_SECONDS: Final = 2.0


class Guard:
    """Guard process of this mount, started once the mount is there. A mount without one works all the same.

    Blocking, for about 20 ms, until the process watches: it protects the first program, and does not take the
    processor from it.
    """

    def __init__(self, mountpoint: str) -> None:
        self._ours: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        connection = guard.connection_at(mountpoint)
        if connection is not None:
            self._start(connection, mountpoint)

    def _start(self, connection: int, mountpoint: str) -> None:
        self._ours, theirs = socket.socketpair()
        file = theirs.fileno()
        command = [sys.executable, "-I", "-S", guard.__file__, str(file), str(os.getpid()), str(connection)]
        try:
            # A session of its own: what is sent to the mount's group is not for it.
            self._process = subprocess.Popen(
                [*command, mountpoint],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(file,),
                start_new_session=True,
            )
            theirs.close()  # its end is seen here as well
            self._ours.settimeout(_START_SECONDS)
            self._ours.recv(1)
        except OSError as error:
            log.warning("the mount has no guard yet", reason=str(error))
        finally:
            theirs.close()

    def dismiss(self) -> None:
        """Ends the guard, at an orderly end of the mount."""
        if self._ours is not None:
            with suppress(OSError):
                self._ours.send(b"x")
            self._ours.close()
            self._ours = None
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
