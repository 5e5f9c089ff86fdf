# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of a mount: a small process that frees programs when the mount is killed and cannot end.

A mount that is killed while it tells the kernel of news can be left with a thread that waits, in the kernel, for an
operation that only this mount would have answered; programs that use it hang then. The daemon ends such a connection,
where there is one. The guard does so too, for the time in which the daemon is gone as well.

    python guard.py FD PID CONNECTION PATH

FD: a pipe whose other end the mount holds. A byte from it means an orderly end; its end without one, that the mount was
killed. Standard library only: it is run isolated.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

CONTROL: Final = Path("/sys/fs/fuse/connections")
"""A folder for each connection, owned by the user who mounted it, where the system has mounted this filesystem."""
_MOUNTINFO: Final = Path("/proc/self/mountinfo")
_MNT_FORCE: Final = 1
_LOOK_S: Final = 0.1
_PATIENCE_S: Final = 2.0
"""For the daemon, which knows better: it mounts again."""


def connection_at(path: str) -> int | None:
    """The kernel's number of the FUSE connection that is mounted exactly there; the topmost."""
    found = None
    with suppress(OSError):
        for line in _MOUNTINFO.read_bytes().splitlines():
            fields = line.split(b" ")
            if fields[4] == _escaped(path) and fields[fields.index(b"-", 6) + 1].startswith(b"fuse"):
                found = int(fields[2].partition(b":")[2])
    return found


def _escaped(path: str) -> bytes:
    raw = os.fsencode(path)
    for character in (b"\\", b" ", b"\t", b"\n"):
        raw = raw.replace(character, b"\\%03o" % ord(character))
    return raw


def hangs(pid: int) -> bool:
    """Whether the main thread of the process has ended and another one has not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
        return state in (b"Z", b"X") and len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def end_connection(number: int, path: str) -> bool:
    """Whether it could be ended: by the control filesystem, or, as root, by force while it is mounted at `path`."""
    with suppress(OSError):
        CONTROL.joinpath(str(number), "abort").write_text("1")
        return True
    # The unmounting itself fails while files are in use there, but the connection has ended by then.
    forced = connection_at(path) == number and os.geteuid() == 0
    if forced:
        ctypes.CDLL(None).umount2(os.fsencode(path), _MNT_FORCE)
    return forced


def main(pipe: int, pid: int, connection: int, path: str) -> None:
    if os.read(pipe, 1):
        return
    since = time.monotonic()
    while hangs(pid):
        if time.monotonic() > since + _PATIENCE_S:
            end_connection(connection, path)
            return
        time.sleep(_LOOK_S)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
