# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes: for each lie a short program in which it meets what it is about: files, folders, content on the way, later
work."""

from __future__ import annotations

from holofsd.core.document import Role
from model.lies import LIES
from model.lying import PREFIX
from model.program import Program, Step

LARGE, MIDDLE, SMALL = 8, 6, 0
"""Which of `looking.SIZES`."""
SEEDS = {None: 5, Role.READER: 6, Role.WRITER: 7, Role.ADMIN: 9}
"""As what the liar begins (`LyingWorld.begin`)."""
VARIANTS = ((0, 0, 0), (2, 7, 0), (1, 3, 2), (1, 1, 2), (4, 6, 2), (7, 12, 4))
SHORT = 1
"""So many of them are in `scripts/test`."""
ROLES = {"member": Role.ADMIN, "wire": None}
"""What the liar is in the scenes of a family; a writer, where nothing is said."""


def scene_of_lie(name: str, numbers: tuple[int, int, int], role: Role | None, devices: int = 2) -> Program:
    """Honest work, the lie told to the second device and to the first, honest work on the same files, and again."""

    def step(device: int, what: str, *given: int, pause: float = 0.3) -> Step:
        first, second, third = (*given, 0, 0, 0)[:3]
        return Step(device, what, (first, second, third), -1, pause)

    def lie(device: int, offset: int = 0) -> Step:
        return step(device, PREFIX + name, *(number + offset for number in numbers[:2]), numbers[2], pause=1.5)

    before = [
        *(step(place % devices, "write", place, (SMALL, MIDDLE, LARGE)[place % 3]) for place in range(5)),
        step(0, "mkdir", 0),
        step(0, "write_inside", 0, 1),
        step(1, "symlink", 3),
        step(1, "xattr", 0, 1, pause=3.0),
        step(1, PREFIX + "serves_content_well", pause=1.5),
        step(0, PREFIX + "writes_a_file", 1, 2, pause=1.5),
    ]
    after = [
        step(0, "rewrite", 0, SMALL),
        step(1, "write", 2, MIDDLE),
        step(1, "chmod", 1, 3),
        step(0, "rename", 2, 4, 1),
        step(0, "write", 3, LARGE, pause=3.0),
    ]
    steps = [*before, lie(1), lie(0), *after, lie(0, 1), step(1, "write", 4, SMALL, pause=3.0)]
    return Program(SEEDS[role], devices, sequential=False, quick=True, steps=tuple(steps), liar=True)


def scenes_of(name: str, most: int = len(VARIANTS)) -> list[Program]:
    """`most`: so many variants."""
    role = ROLES.get(LIES[name].family, Role.WRITER)
    roles = [role] if role is not None else [Role.READER, None]
    return [scene_of_lie(name, numbers, r) for r in roles for numbers in VARIANTS[:most]]
