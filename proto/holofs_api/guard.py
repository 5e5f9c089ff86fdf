# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of a mount: a small process that frees programs when the mount is killed and cannot end.

A mount that is killed while it tells the kernel of news can be left with a thread that waits, in the kernel, for an
operation that only this mount would have answered; programs that use it hang then. The daemon ends such a connection,
where there is one. The guard does so too, for the time in which the daemon is gone as well.

    python guard.py FD PID CONNECTION PATH

FD: a socket whose other end the mount holds. The guard sends a byte once it watches. A byte from the mount means an
orderly end; its end without one, that the mount was killed. Standard library only: it is run isolated. It loads little,
and what it needs at the end only then: a mount waits for it to start.
"""

from __future__ import annotations

import os
import sys
import time

CONTROL = "/sys/fs/fuse/connections"
"""A folder for each connection, owned by the user who mounted it, where the system has mounted this filesystem."""
_MOUNTINFO = "/proc/self/mountinfo"
_MNT_FORCE = 1
_LOOK_S = 0.1
_PATIENCE_S = 2.0
"""Seconds left to the daemon, which knows better: it mounts again."""


def connection_at(path: str) -> int | None:
    """The kernel's number of the FUSE connection that is mounted exactly there; the topmost."""
    found = None
    try:
        with open(_MOUNTINFO, "rb") as mounts:
            for line in mounts:
                fields = line.split(b" ")
                if fields[4] == _escaped(path) and fields[fields.index(b"-", 6) + 1].startswith(b"fuse"):
                    found = int(fields[2].partition(b":")[2])
    except OSError:
        return None
    return found


def _escaped(path: str) -> bytes:
    raw = os.fsencode(path)
    for character in (b"\\", b" ", b"\t", b"\n"):
        raw = raw.replace(character, b"\\%03o" % ord(character))
    return raw


def started(pid: int) -> bytes:
    """Start time of the process, which tells it from a later one of the same number; empty if it has ended.

    It has not while one of its threads is left. A zombie alone has nothing open any more.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as process:
            fields = process.read().rpartition(b")")[2].split()
        is_zombie = fields[0] in (b"Z", b"X") and len(os.listdir(f"/proc/{pid}/task")) <= 1
        return b"" if is_zombie else fields[19]
    except OSError:
        return b""


def end_connection(number: int, path: str) -> bool:
    """Returns whether it could be ended: by the control filesystem, or, as root, by force while it is mounted at
    `path`."""
    try:
        with open(f"{CONTROL}/{number}/abort", "w") as abort:
            abort.write("1")
        return True
    except OSError:
        pass  # not ours, or the control filesystem is not mounted
    # The unmounting itself fails while files are in use there, but the connection has ended by then.
    forced = connection_at(path) == number and os.geteuid() == 0
    if forced:
        import ctypes

        ctypes.CDLL(None).umount2(os.fsencode(path), _MNT_FORCE)
    return forced


def main(mount: int, pid: int, connection: int, path: str) -> None:
    began = started(pid)
    try:
        os.write(mount, b"r")
        if os.read(mount, 1):
            return
    except OSError:
        pass  # killed meanwhile
    since = time.monotonic()
    # It closes its end some time before it has ended, or hangs.
    while began and started(pid) == began:
        if time.monotonic() > since + _PATIENCE_S:
            end_connection(connection, path)
            return
        time.sleep(_LOOK_S)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
