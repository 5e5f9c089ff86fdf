# SPDX-License-Identifier: GPL-3.0-or-later
"""Printing: data to standard output (text or JSON), remarks to standard error; nothing that a terminal would obey."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from holofsctl.errors import CommandError


class Output:
    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def data(self, plain: object, lines: Sequence[str]) -> None:
        """The command's answer: `plain` as one JSON document, or the lines for a person."""
        text = json.dumps(plain, indent=2) if self.as_json else "\n".join(lines)
        if text:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def remark(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def failure(self, error: CommandError) -> None:
        if self.as_json:
            told = {"code": error.code, "message": error.message, "exit_code": int(error.exit_code)}
            self.remark(json.dumps({"error": told}))
        else:
            self.remark(f"holofsctl: {safe(error.message)}")


def safe(text: str | bytes) -> str:
    """Text for a terminal: bytes that are not UTF-8 and control characters become escapes."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)


def table(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Rows as aligned columns."""
    if not rows:
        return []
    shown = [[safe(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    return [(indent + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))).rstrip() for row in shown]


def count(number: int, thing: str, things: str = "") -> str:
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def size(amount: int) -> str:
    value = float(amount)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
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
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * length:
            return count(seconds // length, unit)
    return count(max(seconds, 0), "second")


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON data: every field, numbers as numbers, enum values as `writer`, bytes as a path string
    (surrogateescape: Python's os.fsencode gives the bytes back)."""
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_value(item, field) for item in value]
    if field.message_type is not None and not message.HasField(field.name):
        return None
    return _value(value, field)


def _value(value: Any, field: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        name = str(field.enum_type.values_by_number[value].name)
        return name.removeprefix(f"{field.enum_type.name.upper()}_").lower()
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
