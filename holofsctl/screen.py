# SPDX-License-Identifier: GPL-3.0-or-later
"""The screen of a terminal that is written again and again: what `--watch` shows, without flicker.

A frame begins at the top left, goes over the one before line by line, and erases only what is left of that. It is one
write, and the terminal's own content comes back at the end, however the program ends.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import IO, Final

_ENTER: Final = "\x1b[?1049h\x1b[?25l"
"""Another screen, without a cursor."""
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_BEGIN: Final = "\x1b[?2026h\x1b[H"
"""Show nothing before the end of the frame (terminals that do not know this show it as it comes); go to the top."""
_END: Final = "\x1b[?2026l"
_ERASE_LINE: Final = "\x1b[2K"
_ERASE_BELOW: Final = "\x1b[J"
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
_EXIT_BY_SIGNAL: Final = 128


class Screen:
    """A screen of its own in the terminal of this stream. A context manager."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __enter__(self) -> Screen:
        for number in _ENDING:
            signal.signal(number, _end)
        signal.signal(signal.SIGTSTP, self._pause)
        self._write(_ENTER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # the terminal may be what ended
            self._write(_LEAVE)
        for number in (*_ENDING, signal.SIGTSTP):
            signal.signal(number, signal.SIG_DFL)

    def show(self, lines: Sequence[str]) -> None:
        """Shows these lines, none wider than the terminal; of too many, as many as fit. Raises OSError."""
        rows = os.get_terminal_size(self._stream.fileno()).lines or 24
        if len(lines) > rows:
            lines = [*lines[: rows - 1], f"({len(lines) - rows + 1} more lines)"]
        # Erased before it is written: behind a line that is full, a terminal would erase its last character.
        frame = "\n".join(_ERASE_LINE + line for line in lines)
        self._write(_BEGIN + frame + (f"\n{_ERASE_BELOW}" if len(lines) < rows else "") + _END)

    def _pause(self, number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z: gives the terminal back until the program goes on."""
        self._write(_LEAVE)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._pause)
        self._write(_ENTER)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(_EXIT_BY_SIGNAL + number)
