# SPDX-License-Identifier: GPL-3.0-or-later
"""Vital signs of this process and its machine: memory, disk, clock."""

from __future__ import annotations

import os
import resource
import shutil
import time
from pathlib import Path
from typing import Final

from holofsd.core.skew import judge, sentence
from holofsd.fs.settings import FsSettings

_LITTLE_SPACE: Final = 256 << 20
# No device is older than this program; a clock before that was never set.
_BEFORE_US_S: Final = 1_750_000_000


def resident_bytes() -> int:
    """Memory in use by this process now (where the system does not say, the most it ever used)."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def warnings(state: Path, clock_differences_ms: dict[str, int]) -> list[str]:
    """Sentences about the machine that a person should know of."""
    found = []
    try:
        free = shutil.disk_usage(state).free
    except OSError:
        free = _LITTLE_SPACE
    if FsSettings().reserve_bytes <= free < _LITTLE_SPACE:  # below that `status` says what is refused
        found.append(f"The disk of {state} has only {free >> 20} MiB left: writing will soon be refused.")
    if time.time() < _BEFORE_US_S:
        found.append("This device's clock was never set; the order of changes will surprise you.")
    return found + [sentence(wrong) for wrong in judge(clock_differences_ms)]
