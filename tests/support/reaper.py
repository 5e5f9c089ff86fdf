# SPDX-License-Identifier: GPL-3.0-or-later
"""Sweeps a directory when the test run that made it dies, in whatever way: a process that waits on a pipe from it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from support.processes import sweep


class Reaper:
    """Owned by a test; `dismiss` when the test has cleaned up itself."""

    def __init__(self, directory: Path) -> None:
        # The directory goes through the pipe: on the command line it would make the reaper one of its own victims.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.reaper"],
            stdin=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(os.fsencode(directory) + b"\n")
        self._process.stdin.flush()

    def dismiss(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"done\n")
        self._process.stdin.close()
        self._process.wait(10)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    directory = Path(os.fsdecode(sys.stdin.buffer.readline().rstrip(b"\n")))
    said = sys.stdin.buffer.readline()
    if said != b"done\n" and directory.is_dir():
        sweep(directory)


if __name__ == "__main__":
    main()
