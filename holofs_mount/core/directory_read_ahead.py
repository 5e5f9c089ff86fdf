# SPDX-License-Identifier: GPL-3.0-or-later
"""Directory read-ahead: loads the listings that a walk through a tree (`ls -R`, `find`, `du`, `git status`) needs next.

The order is that of such programs: a directory, then those in it by name, each with all below it, before the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

_ROW: Final = 2
"""Directories listed in that order, before further ones are loaded."""
_AHEAD: Final = 4
_MOST: Final = 50_000
"""Directories whose place in the order is known, at most."""


class DirectoryReadAhead:
    """Order of directories in a walk, and the loads that it leads to."""

    def __init__(self, has_listing: Callable[[int], bool], load: Callable[[int], None]) -> None:
        """`has_listing`: the listing is cached or being loaded."""
        self._has_listing = has_listing
        self._load = load
        self._first: dict[int, int] = {}
        """The first directory in a directory."""
        self._next: dict[int, int] = {}
        """The directory after another one and all below that."""
        self._last = 0
        self._row = 0

    def listed(self, ino: int, directories: Sequence[int]) -> None:
        """Notes the directories in a directory, in the order of their names."""
        if len(self._next) + len(directories) > _MOST:
            self._first.clear()
            self._next.clear()
        self._first.pop(ino, None)
        after = self._next.get(ino)
        if directories:
            self._first[ino] = directories[0]
            self._next |= pairwise(directories)
            if after is not None:
                self._next[directories[-1]] = after
        if ino == self._last and self._row >= _ROW:
            self._go_ahead()

    def requested(self, ino: int) -> None:
        """Notes that a program lists a directory, and loads the next ones if it is in a walk."""
        self._row = self._row + 1 if ino == self._after(self._last) else 0
        self._last = ino
        if self._row >= _ROW and self._has_listing(ino):
            self._go_ahead()

    def _after(self, ino: int) -> int | None:
        return self._first.get(ino) or self._next.get(ino)

    def _go_ahead(self) -> None:
        ino = self._after(self._last)
        for _ in range(_AHEAD):
            if ino is None:
                return
            if not self._has_listing(ino):
                self._load(ino)
            ino = self._after(ino)
