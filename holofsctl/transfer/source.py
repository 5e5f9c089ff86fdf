# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder that is imported: walked depth first, beside what the volume has at the same paths."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from holofs_api.v1 import control_pb2 as pb

_TOGETHER: Final = 500
"""Names that the daemon is asked about in one call."""

Look = Callable[[Sequence[pb.ImportName]], Sequence[pb.FoundName]]
Problem = Callable[[bytes, str], None]
"""Told of the path in the source, and why it is left out."""


@dataclass(slots=True)
class Level:
    """A folder on the way. `found`: what the volume has at its path; None: nothing, or it was made just now."""

    full: bytes
    path: bytes
    stat: os.stat_result
    found: pb.FoundName | None
    gained: bool = False
    """Something was put into it."""


@dataclass(slots=True)
class Visit:
    """A name in a folder, before what is below it. The consumer sets `skip` to leave a folder's content out."""

    level: Level
    full: bytes
    path: bytes
    stat: os.stat_result
    found: pb.FoundName | None
    skip: bool = False


def walk(top: Level, look: Look, problem: Problem) -> Iterator[Visit | Level]:
    """Visits of all names below a folder; after those of a folder its level, also after those of the top.

    Memory: the names of each folder on the way. Symlinks are not followed.
    """
    levels = [(top, _visits(top, look, problem))]
    while levels:
        level, visits = levels[-1]
        visit = next(visits, None)
        if visit is None:
            levels.pop()
            yield level
            continue
        yield visit
        if stat.S_ISDIR(visit.stat.st_mode) and not visit.skip:
            below = Level(visit.full, visit.path, visit.stat, visit.found)
            levels.append((below, _visits(below, look, problem)))


def _visits(level: Level, look: Look, problem: Problem) -> Iterator[Visit]:
    try:
        with os.scandir(level.full) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as error:
        problem(level.full, f"it cannot be read ({error.strerror})")
        return
    for start in range(0, len(names), _TOGETHER):
        seen: list[tuple[bytes, bytes, os.stat_result]] = []
        for name in names[start : start + _TOGETHER]:
            full = level.full.rstrip(b"/") + b"/" + name
            try:
                seen.append((full, level.path + b"/" + name if level.path else name, os.lstat(full)))
            except FileNotFoundError:
                continue  # removed since
            except OSError as error:
                problem(full, f"it cannot be looked at ({error.strerror})")
        there = _there(level, seen, look)
        for (full, path, found), known in zip(seen, there, strict=True):
            yield Visit(level, full, path, found, known)


def _there(
    level: Level, seen: Sequence[tuple[bytes, bytes, os.stat_result]], look: Look
) -> Sequence[pb.FoundName | None]:
    """State of each in the volume; a folder that is new has nothing."""
    if level.found is None or not seen:
        return [None] * len(seen)
    names = [pb.ImportName(path=path, size=_size(found)) for _, path, found in seen]
    return [found if found.kind else None for found in look(names)]


def _size(found: os.stat_result) -> int | None:
    return found.st_size if stat.S_ISREG(found.st_mode) else None
