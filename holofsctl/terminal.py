# SPDX-License-Identifier: GPL-3.0-or-later
"""The standard streams and the terminal behind them: every text can be written, and no line is wider than the screen.

Only terminals have a width. A pipe or a file gets whole lines, for `grep` and `less`; programs read `--json`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import unicodedata
from typing import IO, Any, Final

LEAST_WIDTH: Final = 40
"""Columns. Narrower terminals get lines of this width."""
_HANGING: Final = 4
"""Columns by which the continuation of a line is indented further."""


def prepare_streams() -> None:
    """Make the standard streams accept any text, in any locale, also where the caller closed them.

    A closed descriptor is opened on /dev/null, so that no socket or file gets its number. `sys.stdout` stays None then,
    and output that has to be printed fails with one sentence.
    """
    with contextlib.suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(number, True)
        os.close(number)
    for stream, errors in (
        (sys.stdin, "surrogateescape"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ):
        if hasattr(stream, "reconfigure"):  # not the stand-ins of a test
            stream.reconfigure(errors=errors)


def give_up_output() -> None:
    """Drop what is buffered for standard output, after its reader or its disk failed: the interpreter flushes again at
    exit, and would complain."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def width_of(stream: IO[str] | None) -> int:
    """Columns of the terminal that the stream writes to ($COLUMNS goes before); 0 where it is no terminal."""
    try:
        if stream is None or not stream.isatty():
            return 0
        told = os.environ.get("COLUMNS", "")
        columns = int(told) if told.isascii() and told.isdigit() else 0
        return max(columns or os.get_terminal_size(stream.fileno()).columns or 80, LEAST_WIDTH)
    except (OSError, ValueError, AttributeError):
        return 0


def columns_of(text: str) -> int:
    """Columns that a terminal needs for the text: two for wide characters, none for combining ones."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrapped(line: str, width: int, hanging: int | None = None) -> list[str]:
    """The line in pieces of at most `width` columns, broken at spaces where possible; continuations are indented by
    `hanging` columns, four more than the line itself unless told. Width 0: the line as it is."""
    if not width or columns_of(line) <= width:
        return [line]
    own = len(line) - len(line.lstrip(" "))
    hanging = min(own + _HANGING if hanging is None else hanging, width // 2)
    pieces: list[str] = []
    rest, indent = line, ""
    while columns_of(rest) > width:
        cut = _cut(rest, width, len(indent) if pieces else own)
        pieces.append(rest[:cut].rstrip(" "))
        indent = " " * hanging
        rest = indent + rest[cut:].lstrip(" ")
    return [*pieces, rest] if rest.strip() else pieces


def _cut(text: str, width: int, indent: int) -> int:
    """Number of characters that fit: up to the last space after the indent, else as many as there is room for."""
    used, fit = 0, len(text)
    for number, character in enumerate(text):
        used += _columns(character)
        if used > width:
            fit = number
            break
    space = text.rfind(" ", indent + 1, fit + 1)
    return space if space > indent else max(fit, indent + 1)


def ask(question: str) -> str:
    """Returns a line of standard input, after the question on standard error; empty at its end, or without standard
    input."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(question)
            sys.stderr.flush()
    return read_line()


def read_line(most: int = -1) -> str:
    """Returns a line of standard input; empty at its end, and where it is closed or a folder."""
    stdin: Any = sys.stdin
    if stdin is None:
        return ""
    try:
        return str(stdin.readline(most))
    except OSError:
        return ""
