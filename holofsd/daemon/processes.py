# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for the end of a process that may be no child of ours (a mount that outlived a daemon)."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import os
from pathlib import Path
from typing import Final

from holofs_api.mount_processes import command_of

_POLL_S: Final = 0.5
_LOOK_S: Final = 1.0


async def wait_gone(pid: int) -> None:
    """Returns once the process has ended. A zombie of ours counts as ended; reaping it is the caller's matter.

    So does one of which only threads are left that hang in the kernel: it does nothing any more, but cannot be reaped.
    """
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
        while not gone.is_set() and not _hangs(pid):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(gone.wait(), _LOOK_S)
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def is_running(pid: int, mark: str, state: Path) -> bool:
    """Whether this process exists and is the mount `mark` of the device in `state`: a number alone may have been given
    again, and a copy of the state directory has mounts with the same ids."""
    if pid <= 0 or not _exists(pid):
        return False
    return _has_mark(f"/proc/{pid}", mark, state) or not os.path.isdir("/proc/self")


def find(mark: str, state: Path) -> int:
    """The process that is the mount `mark` of the device in `state`; 0 if there is none, or none can be looked for."""
    for folder in glob.iglob("/proc/[0-9]*"):
        pid = int(os.path.basename(folder))
        try:
            ours = os.stat(folder).st_uid == os.getuid()
        except OSError:
            continue
        if ours and pid != os.getpid() and is_running(pid, mark, state):
            return pid
    return 0


def hanging(mark: str, state: Path) -> int:
    """Finds a process as `find` does, but one that was killed and hangs in the kernel."""
    for folder in glob.iglob("/proc/[0-9]*"):
        pid = int(os.path.basename(folder))
        if _hangs(pid) and any(_has_mark(thread, mark, state) for thread in glob.iglob(f"{folder}/task/*")):
            return pid
    return 0


def _hangs(pid: int) -> bool:
    """Whether its main thread has ended and another one has not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state = file.read().rpartition(b")")[2].split()[0]
        return state in (b"Z", b"X") and len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def _has_mark(folder: str, mark: str, state: Path) -> bool:
    command = command_of(folder)
    return command is not None and mark.encode() in command.words and command.belongs_to(state)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
