# SPDX-License-Identifier: GPL-3.0-or-later
"""Printing: data to standard output (text or JSON), remarks to standard error; nothing that a terminal would obey, and
nothing wider than it."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from holofs_api.plain import plain as plain  # for the commands
from holofs_api.words import count, printable
from holofsctl.colours import colours_wanted
from holofsctl.errors import CommandError
from holofsctl.terminal import columns_of, give_up_output, width_of, wrapped

SCHEMA: Final = 1
"""Version of what is printed as JSON: the key `schema` of every document. Keys that are added leave it as it is."""
_LONG_WORD = re.compile(r"\S{300,}")
"""Word of a person that is too long to be shown as a whole."""
_LEAST_COLUMN = 20
"""Columns that the last column of a table needs to be read."""


class Output:
    def __init__(self, as_json: bool, name: str = "holofsctl") -> None:
        self.as_json = as_json
        self.name = name
        """Program that speaks: the beginning of its failures."""
        self.program = "holofsctl"
        """Beginning of a command that is advised: with the state directory, where it was told on the command line."""

    def advised(self, text: str) -> str:
        """A sentence whose commands, between back quotes, are for the device that was asked."""
        return text.replace("`holofsctl ", f"`{self.program} ")

    def data(self, plain: object, lines: Sequence[str], exact: bool = False, paint: Callable[[str], str] = str) -> None:
        """The command's answer: `plain` as one JSON document, or the lines for a person.

        `exact`: lines to be copied as a whole, like a ticket; they are not broken at the terminal's width. `paint`:
        gives a line its colours, where they are wanted. Raises CommandError where standard output cannot be written,
        BrokenPipeError where its reader went away.
        """
        if self.as_json:
            text = json.dumps(versioned(plain), indent=2)
        else:
            text = "\n".join(_shown(lines, 0) if exact else self.shown(lines, paint))
        if text:
            print_text(text + "\n")

    def line(self, plain: object, line: str) -> None:
        """Prints an answer of many, as it comes: JSON in one line, or a line for a person. Raises as `data`."""
        if self.as_json:
            print_text(json.dumps(versioned(plain), separators=(",", ":")) + "\n")
        else:
            self.data(None, [line])

    def shown(self, lines: Sequence[str], paint: Callable[[str], str] = str) -> list[str]:
        """Lines as standard output gets them: escaped, and as wide and colourful as the terminal there."""
        found = _shown(lines, width_of(sys.stdout))
        return [*map(paint, found)] if colours_wanted(sys.stdout) else [*found]

    def remark(self, text: str, exact: bool = False) -> None:
        """Print a remark for a person, beside the data. One that cannot be written is dropped: the work was done."""
        if sys.stderr is None:
            return
        width, told = (0, text) if exact else (width_of(sys.stderr), self.advised(text))
        with contextlib.suppress(OSError):
            sys.stderr.write("\n".join(_shown(told.split("\n"), width)) + "\n")
            sys.stderr.flush()

    def failure(self, error: CommandError) -> None:
        if self.as_json:
            told = {"code": error.code, "message": error.message, "exit_code": int(error.exit_code)}
            self.remark(json.dumps(versioned({"error": told})), exact=True)
        else:
            self.remark(f"{self.name}: {_LONG_WORD.sub(_shortened, safe(error.message))}")


def versioned(plain: Any) -> Any:
    """A document with the version of its schema: of a list, each object has it, so that the list stays one."""
    if isinstance(plain, list):
        return [versioned(item) for item in plain]
    return {"schema": SCHEMA, **plain}


def _shortened(word: re.Match[str]) -> str:
    return f"{word[0][:60]}...{word[0][-20:]}"


def print_text(text: str) -> None:
    """Raises CommandError where standard output cannot be written, BrokenPipeError where its reader went away."""
    if sys.stdout is None:
        raise CommandError("Standard output is closed: the answer cannot be printed.", code="output-failed")
    with _told_plainly():
        sys.stdout.write(text)
        sys.stdout.flush()


def flush() -> None:
    """Write out what standard output holds; raises as `print_text` does."""
    if sys.stdout is not None:
        with _told_plainly():
            sys.stdout.flush()


@contextlib.contextmanager
def _told_plainly() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        give_up_output()
        sentence = f"Standard output cannot be written: {error.strerror or error}."
        raise CommandError(sentence, code="output-failed") from None


def _shown(lines: Sequence[str], width: int) -> Iterator[str]:
    """Every line as a terminal may get it: a last look, whatever the caller has escaped already."""
    for line in lines:
        yield from wrapped("\t".join(safe(part) for part in line.split("\t")), width)


def safe(text: str | bytes) -> str:
    """Text for a terminal, which obeys none of it."""
    return printable(text)


def table(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Rows as aligned columns. Where they are wider than the terminal, the last column goes on below itself; where that
    leaves it no room, every row is a paragraph of its own."""
    return [line for lines in table_rows(rows, indent) for line in lines]


def table_rows(rows: Sequence[Sequence[str]], indent: str = "") -> list[list[str]]:
    """Lines of each row; otherwise as `table`."""
    if not rows:
        return []
    shown = [[safe(cell) for cell in row] for row in rows]
    widths = [max(columns_of(row[column]) for row in shown) for column in range(len(shown[0]))]
    lines = [(indent + "  ".join(map(_padded, row, widths))).rstrip() for row in shown]
    width = width_of(sys.stdout)
    hanging = len(indent) + sum(widths[:-1]) + 2 * (len(widths) - 1)
    if not width or all(columns_of(line) <= width for line in lines):
        return [[line] for line in lines]
    if len(widths) > 1 and width - hanging >= _LEAST_COLUMN:
        return [wrapped(line, width, hanging) for line in lines]
    return [wrapped(indent + "  ".join(cell for cell in row if cell), width) for row in shown]


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - columns_of(cell))


def size(amount: int) -> str:
    if amount == 1:
        return "1 byte"
    value = float(amount)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if round(value) < 1024:
            return f"{value:,.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def moment(at_ms: int) -> str:
    """A time of the past for a person: the time if today, else with the date; `never` for 0."""
    if at_ms <= 0:
        return "never"
    then, now = time.localtime(at_ms / 1000), time.localtime()
    same_day = then[:3] == now[:3]
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M", then)


def duration(seconds: int) -> str:
    """Duration in the largest unit of which there are two, or exactly one hour or minute.

    What is left over is given in the next unit.
    """
    smaller = "second"
    for length, unit, next_length, smaller in (
        (86400, "day", 3600, "hour"),
        (3600, "hour", 60, "minute"),
        (60, "minute", 1, "second"),
    ):
        if seconds >= 2 * length or (seconds == length and unit != "day"):
            rest = seconds % length // next_length
            return count(seconds // length, unit) + (f" {count(rest, smaller)}" if rest else "")
    return count(max(seconds, 0), smaller)
