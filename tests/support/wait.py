# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a condition with a deadline. The only place in tests that may sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# The devices share two cores with whatever else runs; a deadline is for what never happens, not for what is slow.
DEADLINE_S = 45.0


def until(condition: Callable[[], T], what: str, seconds: float = DEADLINE_S, every: float = 0.02) -> T:
    """The first true answer of `condition`. An AssertionError or OSError that it raises counts as "not yet".

    Raises AssertionError with `what` and the last reason when the deadline passes.
    """
    deadline = time.monotonic() + seconds
    pause = every
    last: object = None
    while True:
        asked = time.monotonic()
        try:
            answer = condition()
            if answer:
                return answer
            last = answer
        except (AssertionError, OSError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for: {what}; last: {last}")
        # A question that takes long leaves at least half of a processor to what it asks about.
        time.sleep(max(pause, time.monotonic() - asked))
        pause = min(pause * 1.3, 0.5)


def holds_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Fails if `condition` turns false within `seconds`: for what must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), what
        time.sleep(0.05)
