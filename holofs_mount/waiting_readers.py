# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that wait for content of other devices: places for them in the kernel, and their end when they are killed.

What the kernel reads ahead of a program it asks as a *background request*. By default it has 12 of these in flight for
a mount, and no further one begins before one of them is answered. So a few programs that wait for content would stop
all others that read what is here.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

import structlog

from holofs_api import guard

log = structlog.get_logger(__name__)

_SIGKILL: Final = 1 << (signal.SIGKILL - 1)
_PENDING: Final = (b"SigPnd:", b"ShdPnd:")


def allow_background(mountpoint: str, requests: int) -> bool:
    """Lets the kernel have this many background requests of the mount in flight. False, and all stays as it is, where
    the system has not mounted the control filesystem, or its administrator allows less."""
    connection = guard.connection_at(mountpoint)
    folder = Path(guard.CONTROL) / str(connection)
    try:
        # From the threshold on the kernel reads nothing ahead that no program waits for.
        (folder / "max_background").write_text(str(requests))
        (folder / "congestion_threshold").write_text(str(requests * 3 // 4))
    except OSError as error:
        log.debug("few programs can wait for content at once", reason=error.strerror)
        return False
    return True


def is_being_killed(thread: int) -> bool:
    """Whether a signal that ends this thread is on its way, as /proc says. The kernel makes a SIGKILL for each thread
    of every signal that ends a process. False where there is no /proc, as on macOS, or no such thread."""
    try:
        status = Path(f"/proc/{thread}/status").read_bytes()
    except OSError:
        return False
    return any(int(line[7:], 16) & _SIGKILL for line in status.splitlines() if line.startswith(_PENDING))
