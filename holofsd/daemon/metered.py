# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the network is metered, by NetworkManager.

The question goes over D-Bus by `busctl`, which is there wherever systemd is: a child process with a time limit, so that
a bus that hangs holds up nothing, and no further package. It never starts NetworkManager.
"""

from __future__ import annotations

import subprocess
from enum import StrEnum
from typing import Final

from holofsd.store.threads import Pool, in_thread

TIME_LIMIT_S: Final = 5.0
_NAME: Final = "org.freedesktop.NetworkManager"
_COMMAND: Final = (
    *("busctl", "--system", "--auto-start=no", "call", _NAME, "/org/freedesktop/NetworkManager"),
    *("org.freedesktop.DBus.Properties", "Get", "ss", _NAME, "Metered"),
)
_YES: Final = ("1", "3")
"""Of `NMMetered`: yes, and yes by guess, which programs are asked to take for yes."""
_NO: Final = ("2", "4")


class Metered(StrEnum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """NetworkManager is not there, does not run, or does not know either."""


async def ask() -> Metered:
    """Asks NetworkManager, in a thread. Never raises."""
    return await in_thread(Pool.BACKGROUND, _asked)


def _asked() -> Metered:
    try:
        done = subprocess.run(
            _COMMAND,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return Metered.UNKNOWN
    return parsed(done.stdout) if done.returncode == 0 else Metered.UNKNOWN


def parsed(answer: bytes) -> Metered:
    """The answer of `busctl`: a variant with an unsigned number, `v u 4`."""
    words = answer.decode("ascii", "replace").split()
    if words[:2] != ["v", "u"] or len(words) != 3:
        return Metered.UNKNOWN
    return Metered.YES if words[2] in _YES else Metered.NO if words[2] in _NO else Metered.UNKNOWN
