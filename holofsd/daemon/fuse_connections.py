# SPDX-License-Identifier: GPL-3.0-or-later
"""Ending the kernel's side of a mount whose process was killed and cannot end. Linux only; elsewhere nothing is done.

A process that was killed while it told the kernel of news can be left with a thread that waits, in the kernel, for an
operation that only that process would have answered. Its connection stays open then, and programs that use the mount
hang, for good. Ending the connection fails everything that waits on it.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from holofsd.daemon.mount_paths import mount_lines

_log = structlog.get_logger(__name__)

CONTROL: Final = Path("/sys/fs/fuse/connections")
"""Of each connection a folder that belongs to who mounted it, where the system has mounted that."""
_MNT_FORCE: Final = 1


def connection_at(path: str) -> int | None:
    """The kernel's number of the FUSE connection that is mounted exactly there."""
    with suppress(OSError):
        for fields in mount_lines(path)[-1:]:
            if fields[fields.index(b"-") + 1].startswith(b"fuse"):
                return int(fields[2].partition(b":")[2])
    return None


def end_connection(number: int, path: str) -> bool:
    """Whether it could be ended: by the control filesystem, or, as root, by force while it is mounted at `path`."""
    with suppress(OSError):
        CONTROL.joinpath(str(number), "abort").write_text("1")
        return True
    # The unmounting itself fails while files are in use there, but the connection has ended by then.
    forced = connection_at(path) == number and os.geteuid() == 0
    if forced:
        ctypes.CDLL(None).umount2(os.fsencode(path), _MNT_FORCE)
    else:
        _log.warning("a killed mount hangs in the kernel and cannot be freed", path=path, connection=number)
    return forced
