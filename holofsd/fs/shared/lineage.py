# SPDX-License-Identifier: GPL-3.0-or-later
"""Order in which this device put versions on top of others: what a program that wrote before, or that remembers a
version from before, has to do with what is shown now."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from holofsd.core.ids import Dot

_REMEMBERED: Final = 20_000
"""Forgetting one costs a conflict copy that nobody needed, and loses nothing."""

_Steps = OrderedDict[Dot, Dot]


def _remember(steps: _Steps, old: Dot, new: Dot) -> None:
    steps.pop(old, None)
    steps[old] = new
    while len(steps) > _REMEMBERED:
        steps.popitem(last=False)


class Succession:
    """A version made elsewhere never continues a line: whoever did not see it does not replace what came after it."""

    def __init__(self, current: Callable[[Dot], Dot]) -> None:
        self._current = current
        self._next: _Steps = OrderedDict()
        self._anew: _Steps = OrderedDict()

    def follows(self, new: Dot, replaced: Iterable[Dot]) -> None:
        """`new` was written here in place of these."""
        for dot in replaced:
            if dot != new:
                _remember(self._next, dot, new)

    def rewritten(self, old: Dot, new: Dot) -> None:
        """The same content was written anew here, under a new dot."""
        self.follows(new, [old])
        _remember(self._anew, old, new)

    def line(self, dot: Dot) -> set[Dot]:
        """Returns that version, and those that were put one after the other on top of it here."""
        return self._walk(dot, self._next)

    def same(self, dot: Dot) -> set[Dot]:
        """Returns that version under all dots it had."""
        return self._walk(dot, self._anew)

    def _walk(self, dot: Dot, steps: _Steps) -> set[Dot]:
        found = {dot}
        while True:
            after = steps.get(dot) or steps.get(self._current(dot))
            dot = self._current(after if after is not None else dot)
            if dot in found:
                return found
            found.add(dot)
