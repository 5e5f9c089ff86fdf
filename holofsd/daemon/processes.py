# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for the end of a process that may be no child of ours (a mount that outlived a daemon)."""

from __future__ import annotations

import asyncio
import glob
import os
from typing import Final

_POLL_S: Final = 0.5


async def wait_gone(pid: int) -> None:
    """Returns once the process has ended. A zombie of ours counts as ended; reaping it is the caller's matter."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # no pidfd on this system
        while _exists(pid):  # noqa: ASYNC110 - nothing tells us, so we have to look
            await asyncio.sleep(_POLL_S)
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(handle, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def is_running(pid: int, mark: str) -> bool:
    """Whether this process exists and has `mark` on its command line: a number alone may have been given again."""
    if pid <= 0 or not _exists(pid):
        return False
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return mark.encode() in file.read().split(b"\0")
    except OSError:
        return not os.path.isdir("/proc/self")


def find(mark: str) -> int:
    """The process of ours that has `mark` on its command line; 0 if there is none, or none can be looked for."""
    for folder in glob.iglob("/proc/[0-9]*"):
        pid = int(os.path.basename(folder))
        try:
            ours = os.stat(folder).st_uid == os.getuid()
        except OSError:
            continue
        if ours and pid != os.getpid() and is_running(pid, mark):
            return pid
    return 0


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
