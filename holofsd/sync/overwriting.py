# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts files that one device writes over, of what others wrote, and remembers it where they are very many.

Writing over a file is a writer's right, and the history has what was there, so nothing is held. But a person has to
hear of it while the history still has everything: a program that encrypts all files that it finds writes like this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from holofsd.core.brake import WINDOW_MS, BrakeLimit, exceeds
from holofsd.core.ids import AuthorId
from holofsd.tree.local import LocalVolume

OVERWRITTEN: Final = "overwritten"
"""In `meta`: the author (32 bytes), the number of files (8) and when (8)."""
TOLD_MS: Final = 7 * 24 * 3600 * 1000
"""So long `status` tells of it."""
_MOST_AUTHORS: Final = 4096


@dataclass(frozen=True, slots=True)
class Overwritten:
    """`files` of other authors got other content from this one within the brake's window, the last at `at_ms`."""

    author: AuthorId
    files: int
    at_ms: int


class Overwriting:
    """`limit`: the brake's. What this device writes itself does not count."""

    def __init__(self, volume: LocalVolume, now_ms: Callable[[], int], limit: Callable[[], BrakeLimit]) -> None:
        self._store = volume.store
        self._now_ms = now_ms
        self._limit = limit
        self._counts: dict[AuthorId, tuple[int, int]] = {}
        """(since when, files) of the window under way."""
        volume.tree.on_overwritten = self._note

    def _note(self, author: AuthorId) -> None:
        """Counts one file that was written over. Call it inside a transaction, with each file."""
        now_ms = self._now_ms()
        since_ms, files = self._counts.get(author, (now_ms, 0))
        if abs(now_ms - since_ms) > WINDOW_MS:
            since_ms, files = now_ms, 0
        if author in self._counts or len(self._counts) < _MOST_AUTHORS:
            self._counts[author] = since_ms, files + 1
        limit = self._limit()
        # All rows are counted for the share: with one file in as many as the limit allows.
        if not limit.off and files >= limit.files and (files - limit.files) % (limit.files + 1) == 0:
            self._weigh(author, files + 1, now_ms)

    def _weigh(self, author: AuthorId, files: int, now_ms: int) -> None:
        if author in self._store.own_authors() or not exceeds(self._limit(), files, self._store.removals.shown_files()):
            return
        told = self.last()
        if told is None or told.author != author or files > told.files or now_ms - told.at_ms > WINDOW_MS:
            value = author + files.to_bytes(8, "big") + now_ms.to_bytes(8, "big")
            self._store.set_meta(OVERWRITTEN, value)

    def last(self) -> Overwritten | None:
        """Returns the last flood of files written over, if it is recent enough to tell a person."""
        value = self._store.meta(OVERWRITTEN)
        if value is None or len(value) != 48:
            return None
        found = Overwritten(
            AuthorId(value[:32]), int.from_bytes(value[32:40], "big"), int.from_bytes(value[40:], "big")
        )
        return found if abs(self._now_ms() - found.at_ms) < TOLD_MS else None
