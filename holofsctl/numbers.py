# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers on the command line: one parser of digits, ASCII only, with the least and the most of each.

The functions are types for argparse; their complaints are fragments, which the parser makes sentences of.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Final

from holofs_api.words import quoted

MOST: Final = 2**31 - 1
"""Limit of a plain number: what every field of the API can hold."""
_MOST_DAYS: Final = 1_000_000
"""Limit of a time: no date beyond that can be printed."""
_MOST_TIB: Final = 1_000_000
"""Limit of a size: 2^63 bytes, which the index can hold, are eight times as much."""
_MOST_DIGITS: Final = 24
"""More than any limit has; Python itself refuses some thousands."""

_DURATION: Final = re.compile(r"(\d+)([smhdw]?)", re.ASCII)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SIZE: Final = re.compile(r"(\d+)(\.\d{1,3})? ?([kmgt]?)(i?b)?", re.ASCII | re.IGNORECASE)
_SHIFTS: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def value_of(digits: str) -> int:
    """Value of ASCII digits, however many: beyond `_MOST_DIGITS` some number that is larger than every limit."""
    return int(digits) if len(digits.lstrip("0")) <= _MOST_DIGITS else 10**_MOST_DIGITS


def number(least: int, most: int = MOST) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit()):
            raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number from {least} up")
        return _within(text, value_of(text), least, most, str(least), str(most))

    return parse


def seconds(text: str) -> int:
    """`30m`, `24h`, `7d`, plain seconds, or `never` (0)."""
    return 0 if text == "never" else _duration(text, " or never", " (or never)")


def time_limit(text: str) -> int:
    """Parse a time limit for waiting; otherwise as `seconds`."""
    return 0 if text == "never" else _duration(text, " or never", "")


def kept(text: str) -> int:
    """Parse for how long to keep something; as `seconds`, and `0` means not at all."""
    return 0 if text in ("never", "0") else _duration(text, ", never or 0", " (or 0, or never)")


def _duration(text: str, others: str, instead: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a time like 30m, 24h, 7d{others}")
    value = value_of(found[1]) * _SECONDS[found[2]]
    return _within(text, value, 1, _MOST_DAYS * 86400, f"1 s{instead}", f"{_MOST_DAYS}d")


def amount(text: str) -> int:
    """Bytes; -1 for `auto`. Units are powers of 1024."""
    if text == "auto":
        return -1
    found = _SIZE.fullmatch(text)
    if found is None or (not found[3] and value_of(found[1])):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a size; write it like 20G, 500M, 0 or auto")
    shift = _SHIFTS[found[3].lower()]
    value = (value_of(found[1]) << shift) + int(float(f"0{found[2] or ''}") * (1 << shift))
    return _within(text, value, 0, _MOST_TIB << 40, "0", f"{_MOST_TIB}T")


def _within(text: str, value: int, least: int, most: int, shown_least: str, shown_most: str) -> int:
    if value < least:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is too small: at least {shown_least}")
    if value > most:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is too large: at most {shown_most}")
    return value
