# SPDX-License-Identifier: GPL-3.0-or-later
"""Version lineage: which version this device wrote on top of which.

A write names the version that it is based on. If that one was replaced here since, the lineage leads from it to the
version that is shown now, so the write replaces that one and makes no conflict copy.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from holofsd.core.ids import Dot

_REMEMBERED: Final = 20_000
"""Forgetting one costs a needless conflict copy, and loses nothing."""

_Steps = OrderedDict[Dot, Dot]


def _remember(steps: _Steps, old: Dot, new: Dot) -> None:
    steps.pop(old, None)
    steps[old] = new
    while len(steps) > _REMEMBERED:
        steps.popitem(last=False)


class Lineage:
    """Links from older to newer dots.

    A version made elsewhere never continues a line: a writer that did not see it must not replace it.
    """

    def __init__(self, current: Callable[[Dot], Dot]) -> None:
        self._current = current
        self._next: _Steps = OrderedDict()
        self._anew: _Steps = OrderedDict()

    def follows(self, new: Dot, replaced: Iterable[Dot]) -> None:
        """Notes that `new` was written here in place of these."""
        for dot in replaced:
            if dot != new:
                _remember(self._next, dot, new)

    def rewritten(self, old: Dot, new: Dot) -> None:
        """Notes that the same content was written here again, under a new dot."""
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
