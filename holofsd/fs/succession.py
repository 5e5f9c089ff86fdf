# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions this device put on top of which: what a program that wrote before, or that remembers a version from
before, has to do with what is shown now."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from holofsd.core.ids import Dot

_REMEMBERED: Final = 20_000
"""Forgetting one costs a conflict copy that nobody needed, and loses nothing."""


class Succession:
    """A version made elsewhere never continues a line: whoever did not see it does not replace what came after it."""

    def __init__(self, current: Callable[[Dot], Dot]) -> None:
        self._current = current
        self._next: OrderedDict[Dot, Dot] = OrderedDict()

    def follows(self, new: Dot, replaced: Iterable[Dot]) -> None:
        """`new` was written here in place of these."""
        for dot in replaced:
            if dot != new:
                self._next.pop(dot, None)
                self._next[dot] = new
        while len(self._next) > _REMEMBERED:
            self._next.popitem(last=False)

    def line(self, dot: Dot) -> set[Dot]:
        """That version, and those that were put one after the other on top of it here."""
        found = {dot}
        while True:
            after = self._next.get(dot) or self._next.get(self._current(dot))
            dot = self._current(after if after is not None else dot)
            if dot in found:
                return found
            found.add(dot)
