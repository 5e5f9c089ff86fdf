# SPDX-License-Identifier: GPL-3.0-or-later
"""Text that other devices chose, made fit to be shown to a person, stored, or part of a file's name."""

from __future__ import annotations

import re
from typing import Final

_UNSEEN: Final = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f"
    "\u205f-\u206f\u3000\ud800-\uf8ff\ufdd0-\ufdef\ufeff\ufff0-\ufffb\ufffe\uffff\U000110bd\U000110cd"
    "\U00013430-\U0001345f\U0001bca0-\U0001bcaf\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000f0000-\U0010ffff]"
)
"""Control, format and private characters, surrogates, and all spaces but the plain one. They are named here because
Python's tables follow another Unicode in each version: a conflict copy has to have the same name on all devices."""
_HIDDEN: Final = re.compile("\0+")
NOT_SHOWN: Final = "_"
"""Stands for each run of characters that are not shown."""


def without_hidden(text: str) -> str:
    """The text with a NUL in the place of each character that is not seen, or changes how others are.

    Line ends, escape sequences and marks that turn the direction of writing make one thing look like another one.
    """
    return text if text.isascii() and text.isprintable() else _UNSEEN.sub("\0", text)


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
