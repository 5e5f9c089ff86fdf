# SPDX-License-Identifier: GPL-3.0-or-later
"""Text that other devices chose, made fit to be shown to a person, stored, or part of a file's name."""

from __future__ import annotations

import re
from typing import Final

_HIDDEN: Final = re.compile("\0+")
NOT_SHOWN: Final = "_"
"""Stands for each run of characters that are not shown."""


def without_hidden(text: str) -> str:
    """The text with a NUL in the place of each control and format character, surrogate and unassigned code point.

    Line ends, escape sequences and marks that turn the direction of writing make one thing look like another one.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\0" for character in text)


def one_line(text: str, most: int) -> str:
    """The text as one line of at most `most` characters. A line that can be shown comes back as it was, but for spaces
    at its ends."""
    # A megabyte is not worth looking at: what is cut off here would hardly be shown.
    return _HIDDEN.sub(NOT_SHOWN, without_hidden(text[: 4 * most]))[:most].strip()


MAX_DEVICE_NAME: Final = 200
"""Characters of the name of a device that are shown."""


def writer_name(text: str) -> str:
    """The name of the device that wrote a version, as the version has it; empty where it has none."""
    return device_name(text, MAX_DEVICE_NAME)


def device_name(text: str, most: int) -> str:
    """A device's name as another device told it: one line, no slash."""
    return one_line(text, most).replace("/", NOT_SHOWN)
