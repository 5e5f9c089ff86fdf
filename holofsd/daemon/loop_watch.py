# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch over the event loop, from a thread: a loop that is blocked answers nobody, and the log says where it hangs.

It also counts how late the loop is, for the metrics.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

_log = structlog.get_logger(__name__)

BLOCKED_S: Final = 10.0
_LOOK_S: Final = 1.0
LAG_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class LoopLag:
    """Delays of the loop, one for each time that the watch looked. Durations are in seconds."""

    counts: tuple[int, ...]
    """Looks up to each of `LAG_BOUNDS_S`, and above the last; each look counts once."""
    total: float
    """All of them added up."""
    blocked: float
    """How long the loop has been late for now; 0.0 while it turns."""


class LoopWatch:
    """Says once per blockage that the loop has been blocked for `blocked_s`, with the stack of its thread, and how long
    it lasted when it is over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, blocked_s: float = BLOCKED_S, look_s: float = _LOOK_S) -> None:
        self._loop = loop
        self._blocked_s = blocked_s
        self._look_s = look_s
        self._loop_thread = threading.get_ident()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="holofs-loop-watch", daemon=True)
        self._counts = [0] * (len(LAG_BOUNDS_S) + 1)
        self._total = 0.0
        self._asked_at: float | None = None
        """While a turn of the loop is awaited."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Called on the thread of the loop."""
        self._thread.start()
        try:
            yield
        finally:
            self._stopped.set()

    def lag(self) -> LoopLag:
        """Figures up to now. Called on any thread."""
        asked_at = self._asked_at
        blocked = 0.0 if asked_at is None else time.monotonic() - asked_at
        return LoopLag(tuple(self._counts), self._total, blocked)

    def _run(self) -> None:
        while not self._stopped.wait(self._look_s):
            turned = threading.Event()
            self._asked_at = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._turn, turned, self._asked_at)
            except RuntimeError:  # closed
                return
            self._await_turn(turned)

    def _turn(self, turned: threading.Event, asked_at: float) -> None:
        """Notes the delay on the loop itself: the thread of the watch may be woken late."""
        late = time.monotonic() - asked_at
        self._asked_at = None
        self._counts[bisect_left(LAG_BOUNDS_S, late)] += 1
        self._total += late
        turned.set()

    def _await_turn(self, turned: threading.Event) -> None:
        blocked, is_said, looked = 0.0, False, time.monotonic()
        while not turned.wait(self._look_s):
            if self._stopped.is_set():
                return
            # Not more than what was waited for: the whole process may have been stopped, or the machine asleep.
            now = time.monotonic()
            blocked += min(now - looked, 2 * self._look_s)
            looked = now
            if blocked >= self._blocked_s and not is_said:
                is_said = True
                _log.error("the event loop is blocked", seconds=round(blocked, 1), stack=self._stack())
        if is_said:
            _log.warning("the event loop goes on", blocked_seconds=round(blocked, 1))

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._loop_thread)
        return "".join(traceback.format_stack(frame)) if frame is not None else "unknown"
