# SPDX-License-Identifier: GPL-3.0-or-later
"""Log of the daemon as files: `log/holofsd.log` in the state directory, and the older ones that it was rotated into."""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_NAME: Final = "holofsd.log"
_ROTATED: Final = re.compile(r"holofsd\.log(?:\.(\d{1,4}))?", re.ASCII)
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Line:
    """Line of the log, without its end; `event` is empty where it is broken: no JSON object with a time and a
    sentence."""

    text: str
    event: dict[str, Any] = field(default_factory=dict)
    at_ms: int = 0


def line_of(data: bytes) -> Line:
    text = data.decode("utf-8", "surrogateescape").rstrip("\r\n")
    try:
        event = json.loads(text)
        at = datetime.fromisoformat(event["timestamp"])
        return Line(text, event, int(at.timestamp() * 1000)) if isinstance(event["event"], str) else Line(text)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return Line(text)


@dataclass(slots=True)
class Filter:
    """Choice of lines. A broken line goes with the time of the one before it, and with no volume."""

    level: str = ""
    """The least that is taken; empty: all."""
    since_ms: int = 0
    about: Callable[[dict[str, Any]], bool] | None = None
    _recent: bool = field(default=True, init=False)

    def takes(self, line: Line) -> bool:
        if not line.event:
            return self._recent and self.about is None
        self._recent = line.at_ms >= self.since_ms
        return self._recent and self._is_grave(line.event) and (self.about is None or self.about(line.event))

    def _is_grave(self, event: dict[str, Any]) -> bool:
        level = event.get("level")
        return not self.level or level not in LEVELS or LEVELS.index(level) >= LEVELS.index(self.level)


class LogReader:
    """Lines of all files, and then those that are added, also over a rotation. Use it as a context manager."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "log"
        self._file: IO[bytes] | None = None
        self._rest = b""
        """Beginning of a line that is not written to its end yet."""

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def last(self, wanted: Filter, most: int | None) -> list[Line]:
        """The last `most` lines that are wanted, or all, oldest first. Later lines come from `more`."""
        found: deque[Line] = deque(maxlen=most)
        with ExitStack() as stack:
            files = self._opened(stack)
            for number, file in enumerate(files):
                found.extend(line for line in self._lines(file, number + 1 == len(files)) if wanted.takes(line))
        return [*found]

    def more(self, wanted: Filter) -> Iterator[Line]:
        """Lines that were added since the last look."""
        if self._file is not None:
            yield from (line for line in self._lines(self._file, True) if wanted.takes(line))
        with ExitStack() as stack:
            files = self._opened(stack) if self._is_rotated() else []
            for number, file in enumerate(files):
                yield from (line for line in self._lines(file, number + 1 == len(files)) if wanted.takes(line))

    def unfinished(self, wanted: Filter) -> list[Line]:
        """The last line, where its end is missing."""
        rest, self._rest = self._rest, b""
        line = line_of(rest)
        return [line] if rest and wanted.takes(line) else []

    def _is_rotated(self) -> bool:
        try:
            present = os.stat(self._folder / _NAME)
        except OSError:
            return False
        return self._file is None or not os.path.samestat(present, os.fstat(self._file.fileno()))

    def _opened(self, stack: ExitStack) -> list[IO[bytes]]:
        """Files that were not read yet, oldest first; the newest stays open, for `more`.

        They are opened newest first: one that is rotated meanwhile is met twice, and none is missed.
        """
        numbered = []
        for name in os.listdir(self._folder) if self._folder.is_dir() else ():
            if found := _ROTATED.fullmatch(name):
                numbered.append((int(found[1] or 0), name))
        files: list[IO[bytes]] = []
        known = [os.fstat(self._file.fileno())] if self._file is not None else []
        for _, name in sorted(numbered):
            try:
                file: IO[bytes] = open(self._folder / name, "rb")  # noqa: SIM115 - the stack or this reader closes it
            except FileNotFoundError:
                continue
            standing = os.fstat(file.fileno())
            if any(os.path.samestat(standing, other) for other in known):
                file.close()
                if self._file is not None and os.path.samestat(standing, known[0]):
                    break  # what is older was read before
                continue
            known.append(standing)
            files.append(file)
        if files:
            if self._file is not None:
                self._file.close()
            self._file = files[0]
            for file in files[1:]:
                stack.callback(file.close)
        return files[::-1]

    def _lines(self, file: IO[bytes], may_grow: bool) -> Iterator[Line]:
        while block := file.read(_BLOCK):
            *whole, self._rest = (self._rest + block).split(b"\n")
            yield from map(line_of, whole)
        if self._rest and not may_grow:
            rest, self._rest = self._rest, b""
            yield line_of(rest)


def is_about(names: Iterable[str], paths: Iterable[str], volume_id: str) -> Callable[[dict[str, Any]], bool]:
    """Returns a test of whether an event names a volume: by its name, by its id or eight digits or more of it, or by a
    mounted path."""
    words = {*names, *paths}

    def about(event: dict[str, Any]) -> bool:
        values = [value for key, value in event.items() if key != "event" and isinstance(value, str)]
        return any(value in words or (len(value) >= 8 and volume_id.startswith(value)) for value in values)

    return about
