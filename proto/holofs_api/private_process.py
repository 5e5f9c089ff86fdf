# SPDX-License-Identifier: GPL-3.0-or-later
"""Protection of a HoloFS process from other users: no file for others, no core dump, no look into its memory.

Called first thing by every program that holds keys, tickets or the content of files. A program that it starts by exec
has its umask and no core file either, but can be looked into as any, unless it sets that itself.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Final

DEBUG_VARIABLE: Final = "HOLOFS_DEBUG"
_PR_SET_DUMPABLE: Final = 4
_MOUNTINFO: Final = Path("/proc/self/mountinfo")


def become_private(environment: Mapping[str, str] = os.environ, *, findable: bool = False) -> None:
    """Sets umask 077, no core file, and makes this process one that debuggers and core handlers cannot read.

    With HOLOFS_DEBUG it stays readable for debuggers and profilers of the same user. `findable`: other processes of
    ours look for this one in /proc. Where /proc shows a user only what he may trace (`hidepid`), it would not be there,
    so there it stays dumpable.
    """
    os.umask(0o077)
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if environment.get(DEBUG_VARIABLE) or (findable and _proc_hides()):
        return
    try:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except AttributeError:  # Linux alone has it
        return


def _proc_hides() -> bool:
    """Returns whether /proc shows a user only what he may trace; by the options of the mount."""
    try:
        lines = _MOUNTINFO.read_bytes().splitlines()
    except OSError:
        return False
    options = [line.rpartition(b" ")[2].split(b",") for line in lines if line.split(b" ")[4] == b"/proc"]
    shown = (b"hidepid=0", b"hidepid=off")
    return any(option.startswith(b"hidepid=") and option not in shown for found in options for option in found)
