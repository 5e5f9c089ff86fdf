# SPDX-License-Identifier: GPL-3.0-or-later
"""Random programs for several devices: steps that are numbers, so that any subset of them is a program too."""

from __future__ import annotations

import random
from dataclasses import dataclass

from model.actor import OPERATIONS
from model.looking import Numbers

EVENTS = {
    "partition": 4,
    "heal": 5,
    "drop": 4,
    "weather": 3,
    "restart": 3,
    "crash": 4,
    "down": 2,
    "skew": 2,
    "mount_dies": 1,
    "quiet": 1,
    "backup": 2,
    "restore": 2,
}
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


def random_program(seed: int, length: int = 0) -> Program:
    chance = random.Random(f"program {seed}")
    devices = chance.choice((2, 2, 3, 3, 4))
    sequential = chance.random() < 0.12
    length = length or chance.choice((10, 20, 30, 40, 60, 90))
    trouble = 0.0 if sequential else chance.choice((0.05, 0.15, 0.3))
    # Some runs do a few things only, and do them often.
    # A file that stays open is not published at once, nor is what is written to it seen by others.
    names = [name for name in OPERATIONS if not (sequential and ("hold" in name or "held" in name or "stale" in name))]
    if chance.random() < 0.6:
        names = [*chance.sample(names, chance.choice((4, 7, 12))), "write"]
    weights = [OPERATIONS[name][1] for name in names]
    steps = []
    # Half of the runs take turns: everybody alone for a while, then all together.
    apart = 0 if sequential or chance.random() < 0.5 else chance.choice((4, 8, 15))
    for at in range(length):
        if apart and at % apart == 0:
            name = "meet" if at % (2 * apart) else "islands"
        elif chance.random() < trouble:
            name = chance.choices(list(EVENTS), list(EVENTS.values()))[0]
        else:
            name = chance.choices(names, weights)[0]
        numbers = tuple(chance.randrange(1 << 16) for _ in range(3))
        turns = -1 if sequential or chance.random() < 0.8 else chance.randrange(12)
        steps.append(Step(chance.randrange(devices), name, numbers, turns, chance.choice(PAUSES)))
    return Program(seed, devices, sequential, chance.random() < 0.5, tuple(steps))
