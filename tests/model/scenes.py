# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes: for each fault point a few steps that lead a device there, so that every campaign reaches all of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from model.looking import Numbers
from model.program import Step

SMALL, LARGE = 0, 8
"""Which of `looking.SIZES`."""


@dataclass(frozen=True)
class Scene:
    """The fault is armed on one device between `before` and `after`."""

    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()


HURRIED = ("folding.", "forgetting.")
"""Only runs with quick clocks get there, so these are drawn there twice, and elsewhere not at all."""


def point_of(numbers: Numbers, points: list[str], quick: bool) -> str:
    """Each as often as the others, however unevenly the numbers are drawn."""
    hurried = [point for point in points if point.startswith(HURRIED)]
    drawn = [*points, *hurried] if quick else [point for point in points if point not in hurried]
    return drawn[zlib.crc32(repr(numbers).encode()) % len(drawn)]


def scene_of(point: str, victim: int, other: int, number: int = 0) -> Scene:
    """`victim` is to crash at the point, `other` another device; `number` varies the names."""
    kind, _, moment = point.partition(".")

    def step(device: int, name: str, *numbers: int, pause: float = 0.0) -> Step:
        first, second, third = (*numbers, 0, 0, 0)[:3]
        return Step(device, name, (first, second, third), -1, pause)

    def write(device: int, offset: int, size: int = SMALL, pause: float = 0.0) -> Step:
        return step(device, "write", number + offset, size, pause=pause)

    written = (
        step(victim, "hold_new", number + 3),
        step(victim, "held_write", 0, LARGE, 1),
        step(victim, "held_sync"),
        step(victim, "held_close", 0, 1, pause=1.5),
        write(victim, 4, pause=0.3),
        write(victim, 1, LARGE, pause=0.3),
    )
    restored = (
        step(victim, "backup"),
        write(victim, 0, pause=1.5),
        write(victim, 1, pause=1.5),
        step(victim, "restore", 1),
    )
    scenes = {
        "receiving": Scene(
            (step(other, "partition", victim, 1), *(write(other, place, 4) for place in range(5))),
            (step(other, "meet", pause=1.5), write(other, 0, pause=1.5)),
        ),
        "fetching": Scene(after=tuple(write(other, place, LARGE, pause=1.5) for place in (2, 3))),
        "rotating": Scene(restored, (write(other, 2, pause=1.5), write(victim, 3, pause=1.5))),
        "folding": Scene(restored, (*(write(d, 2, pause=1.5) for d in (victim, other)), write(other, 1, pause=8.0))),
        "collecting": Scene(
            (write(victim, 0, LARGE, pause=0.3), write(victim, 0, LARGE, pause=1.5)),
            (step(victim, "collect", 1, pause=0.3),) * 2,
        ),
        "thinning": Scene(
            tuple(step(victim, "write", number, LARGE, third, pause=1.5) for third in range(2)),
            (step(victim, "squeeze", pause=0.3),),
        ),
        "forgetting": Scene(
            (write(victim, 0, pause=1.5), step(victim, "unlink", number, pause=1.5)),
            (*(step(device, "empty_trash", pause=0.3) for device in (victim, other)), write(other, 1, pause=8.0)),
        ),
    }
    held = (step(other, "brake_purge", 0, pause=1.5),)
    many = tuple(write(other, place, pause=0.3) for place in range(3))
    braked = (*many, step(victim, "brake_limit", 0, 0, 1, pause=3.0))
    if point == "brake.held":
        return Scene(braked, held)
    if kind == "brake":
        return Scene((*braked, *held), (step(victim, "brake_accept", pause=0.3),))
    if moment == "advanced":
        return Scene(after=tuple(write(other, place, pause=1.5) for place in (0, 1)))
    return scenes.get(kind, Scene(after=written))
