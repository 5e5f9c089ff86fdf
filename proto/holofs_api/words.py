# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of things, and what others call things, in the sentences of the daemon and of `holofsctl`."""

from __future__ import annotations

import time
from typing import Final

_SOON_MS: Final = 12 * 3600 * 1000


def count(number: int, thing: str, things: str = "") -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def coming_time(at_ms: int, now_ms: int) -> str:
    """Local time of something that is to come: without the date if that is today or within twelve hours."""
    then, now = time.localtime(at_ms / 1000), time.localtime(now_ms / 1000)
    is_soon = then[:3] == now[:3] or at_ms - now_ms < _SOON_MS
    return time.strftime("%H:%M" if is_soon else "%Y-%m-%d %H:%M", then)


def printable(text: str | bytes) -> str:
    """Text with escapes for bytes that are not UTF-8 (`\\xff`) and for control characters (`\\x1b`)."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def quoted(text: str | bytes) -> str:
    """Text that a person gave, quoted for a sentence.

    Use it instead of `{text!r}`, which shows a byte that is not UTF-8 as a surrogate.
    """
    return f"'{printable(text)}'"


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode hands it over
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
