# SPDX-License-Identifier: GPL-3.0-or-later
"""The mount's end of its guard (`holofs_api.guard`)."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import Final

import structlog

from holofs_api import guard

log = structlog.get_logger(__name__)

_END_SECONDS: Final = 2.0


class Guard:
    """Guard process of this mount, started once the mount is there. A mount without one works all the same."""

    def __init__(self, mountpoint: str) -> None:
        self._pipe = -1
        self._process: subprocess.Popen[bytes] | None = None
        connection = guard.connection_at(mountpoint)
        if connection is not None:
            self._start(connection, mountpoint)

    def _start(self, connection: int, mountpoint: str) -> None:
        theirs, self._pipe = os.pipe()
        command = [sys.executable, "-I", "-S", guard.__file__, str(theirs), str(os.getpid()), str(connection)]
        try:
            # A session of its own: what is sent to the mount's group is not for it.
            self._process = subprocess.Popen(
                [*command, mountpoint],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs,),
                start_new_session=True,
            )
        except OSError as error:
            log.warning("the mount has no guard", reason=str(error))
        finally:
            os.close(theirs)

    def dismiss(self) -> None:
        """Ends the guard, at an orderly end of the mount."""
        if self._pipe >= 0:
            with suppress(OSError):
                os.write(self._pipe, b"x")
            os.close(self._pipe)
            self._pipe = -1
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
