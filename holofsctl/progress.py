# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress of a command that takes longer than a second: a bar, or a spinner where the end is not known.

Only in a terminal, on standard error, and gone when the command goes on. Lines that are printed there meanwhile stand
above it. rich is imported when there is something to show: it costs as much as a short command.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final

from holofsctl.colours import colours_wanted
from holofsctl.output import safe, size

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

DELAY_S: Final = 1.0
"""Seconds after which something is shown."""
_EVERY_S: Final = 0.1
_MOST_TEXT: Final = 60


def is_terminal(stream: IO[str] | None) -> bool:
    """Returns whether lines that are written there can be taken back."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # a stand-in, or closed
        return False


class Progress:
    """Display of how far something is. Use it as a context manager; one within another shows nothing."""

    _active: ClassVar[Progress | None] = None

    def __init__(self, text: str, *, delay_s: float = DELAY_S) -> None:
        """`text`: what is being done, a few words."""
        self._text = text
        self._delay_s = delay_s
        self._done = 0
        self._total: int | None = None
        self._is_bytes = False
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._bar: Bar | None = None
        self._shown_at = 0.0

    # ---- what is told
    def expect(self, total: int, *, is_bytes: bool = False) -> None:
        """Sets how much there is to do, in bytes or in pieces; 0: that is not known."""
        self._total, self._is_bytes = total, is_bytes
        self._update(True)

    def advance(self, amount: int) -> None:
        self._done += amount
        self._update(False)

    def reached(self, done: int) -> None:
        """Sets how much is done."""
        self._done = done
        self._update(False)

    def say(self, text: str) -> None:
        """Sets what is being done."""
        self._text = text
        self._update(False)

    # ---- what is shown
    def __enter__(self) -> Progress:
        if Progress._active is None and is_terminal(sys.stderr):
            Progress._active = self
            self._timer = threading.Timer(self._delay_s, self._show)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if Progress._active is not self:
            return
        Progress._active = None
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._timer = None
            if self._bar is not None:
                self._bar.stop()
                self._bar = None

    def _show(self) -> None:
        """Runs in the thread of the timer."""
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        with self._lock:
            if self._timer is None:
                return
            console = Console(stderr=True, no_color=not colours_wanted(sys.stderr), highlight=False)
            self._bar = Bar(
                SpinnerColumn("line"),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[told]}", markup=False),
                TimeElapsedColumn(),
                console=console,
                transient=True,
                redirect_stdout=False,
            )
            self._bar.add_task(self._shown_text(), total=self._total or None, completed=self._done, told=self._told())
            self._bar.start()

    def _update(self, now: bool) -> None:
        if self._bar is None or not (now or time.monotonic() - self._shown_at >= _EVERY_S):
            return
        self._shown_at = time.monotonic()
        with self._lock:
            if self._bar is not None:
                fields: dict[str, Any] = {"told": self._told()}
                self._bar.update(
                    self._bar.task_ids[0],
                    total=self._total or None,
                    completed=self._done,
                    description=self._shown_text(),
                    **fields,
                )

    def _shown_text(self) -> str:
        text = safe(self._text)
        return text if len(text) <= _MOST_TEXT else f"...{text[3 - _MOST_TEXT :]}"

    def _told(self) -> str:
        """Part that is done, in numbers."""
        if not self._total:
            return "" if not self._done else size(self._done) if self._is_bytes else f"{self._done:,}"
        percent = min(100 * self._done // self._total, 100)
        if not self._is_bytes:
            return f"{self._done:,} of {self._total:,}"
        return f"{percent} % of {size(self._total)}"
