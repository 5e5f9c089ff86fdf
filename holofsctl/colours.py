# SPDX-License-Identifier: GPL-3.0-or-later
"""Colours of what a person looks for first. Only in a terminal, and not with NO_COLOR (https://no-color.org).

Only words of this program get a colour, at the beginning of a line; no meaning is in the colour alone.
"""

from __future__ import annotations

import os
import re
from typing import IO, Final

_GREEN, _YELLOW, _RED = 32, 33, 31
_MARKS: Final = (
    (re.compile(r"(  )(Safe:)( .*)"), _GREEN),
    (re.compile(r"(  )(Not safe yet:|Only on this device:)( .*)"), _YELLOW),
    (re.compile(r"()(Warning:)( .*)"), _RED),
    (re.compile(r"(  )(Untrue:|Not here:)( .*)"), _RED),
    (re.compile(r"()(ok)(  .*)"), _GREEN),
    (re.compile(r"()(PROBLEM)(  .*)"), _RED),
)


def colours_wanted(stream: IO[str] | None) -> bool:
    """Returns whether what is written there may have colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # a stand-in, or closed
        return False


def painted(line: str) -> str:
    """The line with its first words in colour, if they are among those that have one. It holds no escapes yet."""
    for mark, colour in _MARKS:
        if found := mark.fullmatch(line):
            return f"{found[1]}\x1b[{colour}m{found[2]}\x1b[0m{found[3]}"
    return line
