# SPDX-License-Identifier: GPL-3.0-or-later
"""Many seeds one after the other; what fails is made small and told. scripts/soak model SEED DURATION"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from tests.model.program import Program, Step, random_program
from tests.model.run import Result, run


def shrink(program: Program, fails: Callable[[Program], bool], limit_s: float = 60.0) -> Program:
    """Fewer steps that still fail: halves, quarters and so on, then each alone, then shorter pauses."""
    ends = time.monotonic() + limit_s
    size = max(1, len(program.steps) // 2)
    while size and time.monotonic() < ends:
        at, removed = 0, False
        while at < len(program.steps) and time.monotonic() < ends:
            smaller = replace(program, steps=program.steps[:at] + program.steps[at + size :])
            if fails(smaller):
                program, removed = smaller, True
            else:
                at += size
        size = size if removed and size == 1 else size // 2
    for at, step in enumerate(program.steps):
        for simpler in (replace(step, pause=0.0), replace(step, turns=-1), replace(step, pause=0.0, turns=-1)):
            steps = (*program.steps[:at], simpler, *program.steps[at + 1 :])
            if simpler != step and time.monotonic() < ends and fails(smaller := replace(program, steps=steps)):
                program = smaller
    return program


def told(program: Program, result: Result) -> str:
    head = f"seed {program.seed}, {program.devices} devices, {len(program.steps)} steps"
    return "\n".join([head, repr(program), *result.log, *result.problems])


def campaign(seed: int, ends: float, stop_at_first: bool = True) -> int:
    """Runs seeds from `seed` on until the time is over; the exit code."""
    count = failed = conflicts = acknowledged = refused = 0
    while time.monotonic() < ends or not count:
        program = random_program(seed + count)
        result = run(program)
        count += 1
        conflicts += result.conflicts
        acknowledged += result.acknowledged
        refused += result.refused
        if result.problems:
            failed += 1
            print(f"seed {program.seed} fails: {result.problems[0].splitlines()[-1]}", flush=True)
            small = shrink(program, lambda p: bool(run(p).problems))
            print(told(small, run(small)), flush=True)
            if stop_at_first:
                break
        if count % 50 == 0:
            print(
                f"{count} seeds, {failed} failed, {conflicts} conflicts, {acknowledged} writes acknowledged", flush=True
            )
    print(
        f"{count} seeds from {seed}, {failed} failed; {conflicts} conflicts, {acknowledged} writes, {refused} refused"
    )
    return 1 if failed else 0


_ = Step
