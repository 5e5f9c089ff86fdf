# SPDX-License-Identifier: GPL-3.0-or-later
"""Two devices that are together or apart as a test says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.device import World
from support.trees import assert_same_tree
from support.wait import until


class Pair:
    """Two members of one volume that are only ever together when a test says so."""

    def __init__(self, world: World) -> None:
        self.a, self.b = world.sharing("a", "b")
        self.here, self.there = self.a.mount(), self.b.mount()

    def together(self) -> None:
        until(self._same, "both devices to show the same tree")

    def _same(self) -> bool:
        assert_same_tree(self.here, self.there)
        return self.a.is_settled() and self.b.is_settled()

    def apart(self, on_a: Callable[[Path], object], on_b: Callable[[Path], object]) -> None:
        """First `on_a` while b is down, then `on_b` while a is down; then both are up and agree."""
        self.b.down()
        on_a(self.here)
        self.a.down()
        self.b.up()
        on_b(self.there)
        self.a.up()
        self.together()
