# SPDX-License-Identifier: GPL-3.0-or-later
"""Record of what this mount changed in a staging file since the last commit, and its repetition on another one.

A staging file is normally finalized only when no mount can write to it. Where it was finalized all the same (a daemon
that could not see this process, an older daemon), the version holds a beginning of what was written; the rest is still
in the file, which this mount has open, and is written again on top of the version.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

_MAX_WRITES: Final = 1024
"""Number of writes above which the two oldest are merged."""
_PIECE: Final = 1 << 20


class _Write(NamedTuple):
    start: int
    end: int
    appended: bool


class StagingFile(Protocol):
    def size(self) -> int: ...
    def read(self, offset: int, size: int) -> bytes: ...
    def write(self, offset: int, data: bytes) -> None: ...
    def append(self, data: bytes) -> tuple[int, int]: ...
    def truncate(self, size: int) -> None: ...


@dataclass(eq=False, slots=True)
class Unsaved:
    """Writes in their order, and the smallest size that the file was cut to before them (None: it was not)."""

    writes: list[_Write] = field(default_factory=list)
    cut: int | None = None

    def __bool__(self) -> bool:
        return bool(self.writes) or self.cut is not None

    def clear(self) -> None:
        self.writes.clear()
        self.cut = None

    def wrote(self, start: int, end: int, *, appended: bool) -> None:
        """Notes a write. Each append is noted by itself: a version contains it wholly or not at all."""
        if not appended:
            self._fix(start, end)
        last = self.writes[-1] if self.writes else None
        if last is not None and not appended and not last.appended and last.start <= start <= last.end:
            self.writes[-1] = _Write(last.start, max(last.end, end), False)
            return
        self.writes.append(_Write(start, end, appended))
        if len(self.writes) > _MAX_WRITES:
            first, second = self.writes[:2]
            hull = min(first.start, second.start), max(first.end, second.end)
            self.writes[:2] = [_Write(*hull, first.appended and second.appended)]

    def _fix(self, start: int, end: int) -> None:
        """Fixes the place of appended bytes that are written over: their content identifies them no more."""
        for number, write in enumerate(self.writes):
            if write.appended and write.start < end and start < write.end:
                self.writes[number] = write._replace(appended=False)

    def resized(self, before: int, size: int) -> None:
        if size > before:
            self.wrote(before, size, appended=False)
        elif size < before:
            self.cut = size if self.cut is None else min(self.cut, size)
            # What is left of them has its place: a part of what was appended cannot be recognised by its bytes.
            self.writes = [_Write(w.start, min(w.end, size), False) for w in self.writes if w.start < size]

    def repeat(self, source: StagingFile, target: StagingFile) -> None:
        """Changes `target` as `source` was changed. What `target` contains already is not appended twice, nor is what
        an attempt that failed before has repeated. Raises OSError."""
        if self.cut is not None and target.size() > self.cut:
            target.truncate(self.cut)
        self.cut = None
        while self.writes:
            write = self.writes[0]
            done = _repeat_append(write, source, target) if write.appended else _repeat_write(write, source, target)
            if done < write.end:
                self.writes[0] = write._replace(start=done)
            else:
                del self.writes[0]


def _repeat_write(write: _Write, source: StagingFile, target: StagingFile) -> int:
    length = min(write.end - write.start, _PIECE)
    target.write(write.start, source.read(write.start, length))
    return write.start + length


def _repeat_append(write: _Write, source: StagingFile, target: StagingFile) -> int:
    data = source.read(write.start, write.end - write.start)
    if target.read(write.start, len(data)) == data:
        return write.end
    _, written = target.append(data)
    if not written:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return write.start + written
