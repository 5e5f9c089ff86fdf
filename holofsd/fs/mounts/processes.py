# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the process of a mount still runs. Process numbers are used again, so the start time is compared, too."""

from __future__ import annotations

import os


def fingerprint(pid: int) -> str:
    """Identifies a process that runs now."""
    return f"{pid}:{_started(pid)}"


def is_alive(mark: str) -> bool:
    """Whether the process that had this fingerprint runs still."""
    pid, _, started = mark.partition(":")
    number = int(pid) if pid.isdigit() else 0
    if number <= 0:
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not started or _started(number) in ("", started)


def _started(pid: int) -> str:
    """Returns when a process started, in clock ticks since the machine started; '' where /proc does not say, "dead" if
    it ended and is not collected."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "dead" if fields[0] in (b"Z", b"X") else fields[19].decode()
