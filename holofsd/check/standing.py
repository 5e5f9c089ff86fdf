# SPDX-License-Identifier: GPL-3.0-or-later
"""Judgement of findings about something in use: which are wrong, and which only looked so. Decided here alone.

A look at something in use is several looks, the database here, the files there, and work goes on between them: a file
is in its place and its row comes next, or the row went and the file follows, and all that is derived from either
differs as well. No check knows of that. Each finding, of whatever kind, is told if later looks find it, too: until two
of them agree and enough time has passed for whatever was on its way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

from holofsd.check.report import Report

_LEAST_LOOKS: Final = 3
_SPAN_S: Final = 3.0
"""From the first look on; far more than a step between a file and its row takes on a busy machine."""
_PAUSE_S: Final = 0.25
_ATTEMPTS: Final = 5
"""A look that met a file which went under its hands begins anew."""

_log = structlog.get_logger(__name__)


def what_stands(
    look: Callable[[], Report],
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Blocking. What is found in every look of a series; one look is enough where nothing is found.

    It ends: each further look either agrees with those before or leaves fewer findings.
    """
    report, began = _attempted(look), clock()
    looks, agreed = 1, False
    while report.findings and not (agreed and looks >= _LEAST_LOOKS and clock() - began >= _SPAN_S):
        pause(_PAUSE_S)
        before = report.left
        report.keep_what_stays(_attempted(look))
        agreed = report.left == before
        looks += 1
    return report


def _attempted(look: Callable[[], Report]) -> Report:
    for _ in range(_ATTEMPTS - 1):
        try:
            return look()
        except OSError as error:
            _log.info("a look at something in use begins anew", why=str(error))
    return look()
