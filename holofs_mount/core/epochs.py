# SPDX-License-Identifier: GPL-3.0-or-later
"""Epochs: the instant in which each thing last changed, so that a reply that a change overtook is used but not cached.

Replies and the Watch stream travel separately: a reply may be older than a change that arrived before it. A caller
notes `now` before it asks, and caches the reply only if nothing bumped the key since.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

_MAX_KEYS: Final = 20_000


class Epochs:
    """Epoch of the last change by key. Keys are inode numbers and (parent, name) pairs."""

    __slots__ = ("_floor", "_last", "now")

    def __init__(self) -> None:
        self.now = 0
        self._floor = 0
        self._last: dict[Hashable, int] = {}

    def bump(self, key: Hashable) -> None:
        """Begins a new epoch, in which this key has changed."""
        self.now += 1
        if len(self._last) >= _MAX_KEYS:
            self.bump_all()
        self._last[key] = self.now

    def bump_all(self) -> None:
        """Begins a new epoch, in which every key may have changed."""
        self.now += 1
        self._floor = self.now
        self._last.clear()

    def unchanged(self, key: Hashable, since: int) -> bool:
        """Whether the key has not changed after the epoch `since`."""
        return since >= self._floor and self._last.get(key, 0) <= since
