# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that a message advises: runnable as they stand, whatever a name or a path holds."""

from __future__ import annotations

import os
import shlex


def shell_word(text: str | bytes) -> str:
    """The text as one word of a shell command, and of printable characters only.

    `$'...'` of bash, zsh and newer POSIX shells where a byte is not UTF-8 or a character is not printable; a leading
    dash stays, for only the command knows whether an option can stand there.
    """
    told = os.fsdecode(text) if isinstance(text, bytes) else text
    if told.isprintable():
        return shlex.quote(told)
    return "$'" + "".join(_escaped(character) for character in told) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return "\\" + character
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
