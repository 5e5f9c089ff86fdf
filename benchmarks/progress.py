# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress of the measurement, on standard error: a line that changes; without a terminal, a line for each row."""

from __future__ import annotations

import shutil
import sys
import time


class Progress:
    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._number = 0
        self._row = ""
        self._began = time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    def next(self, row: str) -> None:
        self._number += 1
        self._row = row
        if self._is_terminal:
            self.say("starting")
        else:
            print(self._line(""), file=sys.stderr, flush=True)

    def say(self, what: str) -> None:
        if self._is_terminal:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\033[K{self._line(what)[:width]}")
            sys.stderr.flush()

    def _line(self, what: str) -> str:
        passed = int(time.monotonic() - self._began)
        return f"[{self._number}/{self._rows}] {passed // 60}:{passed % 60:02} {self._row} {what}".rstrip()

    def clear(self) -> None:
        if self._is_terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
