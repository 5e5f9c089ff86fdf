# SPDX-License-Identifier: GPL-3.0-or-later
"""Sweeps directories when the test run that made them dies, in whatever way: a process that waits on a pipe from it.

There is one process for each test process; it hears of each directory, and of each that was cleaned up.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

from support.processes import sweep


class Reaper:
    """Owned by a test; `dismiss` when the test has cleaned up itself."""

    def __init__(self, directory: Path) -> None:
        self._directory = os.fsencode(directory)
        self._say(b"+")

    def dismiss(self) -> None:
        self._say(b"-")

    def _say(self, what: bytes) -> None:
        # It goes through the pipe: on the command line it would make the reaper one of its own victims.
        pipe = _process().stdin
        assert pipe is not None
        pipe.write(what + self._directory + b"\n")
        pipe.flush()


@cache
def _process() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "support.reaper"],
        stdin=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        start_new_session=True,
    )


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    directories: set[bytes] = set()
    for line in sys.stdin.buffer:
        change, directory = line[:1], line[1:].rstrip(b"\n")
        (directories.add if change == b"+" else directories.discard)(directory)
    for directory in directories:
        path = Path(os.fsdecode(directory))
        if path.is_dir():
            sweep(path)


if __name__ == "__main__":
    main()
