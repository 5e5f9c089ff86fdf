# SPDX-License-Identifier: GPL-3.0-or-later
"""Ranges of the numbers that programs hand over: one for times, one for sizes, for the mount and the daemon alike.

A time outside of its range is brought into it, as Linux filesystems do; a size outside of its range is an error of the
call that asked for it.
"""

from __future__ import annotations

from typing import Final

MIN_TIME_NS: Final = -(1 << 31) * 1_000_000_000
"""1901-12-13 20:45:52 UTC: the first second that ext4 and XFS can store, which hold the staging files."""
MAX_TIME_NS: Final = (1 << 63) - 1
"""2262-04-11 23:47:16 UTC: the last nanosecond of a signed 64-bit number, in messages, records and SQLite."""
MAX_FILE_SIZE: Final = 1 << 43
"""8 TiB: a size that any local filesystem below can hold as one file."""
MAX_INTEGER: Final = (1 << 63) - 1
"""The largest number that SQLite stores; unsigned fields of messages go further."""


def time_in_range(time_ns: int) -> int:
    """The time itself, or the end of the range that is nearest to it."""
    if time_ns < MIN_TIME_NS:
        return MIN_TIME_NS
    return time_ns if time_ns <= MAX_TIME_NS else MAX_TIME_NS
