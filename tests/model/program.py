# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs for several devices: steps that are numbers, so that any part of a program is a program too."""

from __future__ import annotations

from dataclasses import dataclass

from model.looking import Numbers

PAUSES = (0.0, 0.0, 0.0, 0.001, 0.012, 0.05, 0.3, 1.5, 7.0, 20.0)


@dataclass(frozen=True)
class Step:
    device: int
    name: str
    numbers: Numbers
    turns: int
    """How many turns of the loop this step gets before the next begins; -1: as many as it needs."""
    pause: float

    def __str__(self) -> str:
        return f"{self.device} {self.name} {self.numbers} turns={self.turns} pause={self.pause}"


@dataclass(frozen=True)
class Program:
    seed: int
    devices: int
    sequential: bool
    """Everybody sees everything before the next operation: no conflict may come of that."""
    quick: bool
    steps: tuple[Step, ...]
    liar: bool = False
    """One more device is there, and lies."""
