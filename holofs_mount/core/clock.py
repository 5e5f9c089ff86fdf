# SPDX-License-Identifier: GPL-3.0-or-later
"""Which things changed when, so that an answer overtaken by news of a change is used once and not kept.

Replies and the Watch stream travel separately: a reply may be older than a change that arrived before it. Whoever asks
notes `now` first and keeps the answer only if nothing touched its key since.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

_MAX_KEYS: Final = 20_000


class ChangeClock:
    """Keys are inode numbers and (parent, name) pairs."""

    __slots__ = ("_floor", "_last", "now")

    def __init__(self) -> None:
        self.now = 0
        self._floor = 0
        self._last: dict[Hashable, int] = {}

    def touch(self, key: Hashable) -> None:
        self.now += 1
        if len(self._last) >= _MAX_KEYS:
            self.touch_all()
        self._last[key] = self.now

    def touch_all(self) -> None:
        self.now += 1
        self._floor = self.now
        self._last.clear()

    def unchanged(self, key: Hashable, since: int) -> bool:
        return since >= self._floor and self._last.get(key, 0) <= since
