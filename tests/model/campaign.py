# SPDX-License-Identifier: GPL-3.0-or-later
"""Many seeds one after the other; what fails is made small and told: scripts/soak model SEED DURATION

One seed again: scripts/soak model SEED 0s. In a process of its own with a fixed hash seed, so that it is repeatable.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from campaigns.soak import duration
from model.program import Program, Step, random_program
from model.run import Result, run

ROOT = Path(__file__).parents[2]
SHRINK_S = 60.0


def shrink(program: Program, fails: Callable[[Program], bool], limit_s: float = SHRINK_S) -> Program:
    """Fewer steps that still fail: halves, quarters and so on, each alone; then simpler steps."""
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
        for simpler in _simpler(step):
            changed = replace(program, steps=(*program.steps[:at], simpler, *program.steps[at + 1 :]))
            if time.monotonic() < ends and fails(changed):
                program = changed
                break
    return program


def _simpler(step: Step) -> Iterator[Step]:
    tries = (replace(step, pause=0.0, turns=-1), replace(step, pause=0.0), replace(step, turns=-1))
    yield from (other for other in dict.fromkeys(tries) if other != step)


def told(program: Program, result: Result) -> str:
    head = f"seed {program.seed}, {program.devices} devices, {len(program.steps)} steps: {program!r}"
    return "\n".join([head, *result.log, *result.problems])


@dataclass
class Tally:
    seeds: int = 0
    failed: int = 0
    conflicts: int = 0
    acknowledged: int = 0
    refused: int = 0

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.failed += bool(result.problems)
        self.conflicts += result.conflicts
        self.acknowledged += result.acknowledged
        self.refused += result.refused

    def __str__(self) -> str:
        return (
            f"{self.seeds} seeds, {self.failed} failed, {self.acknowledged} writes acknowledged,"
            f" {self.conflicts} conflicts left, {self.refused} operations refused"
        )


def campaign(seeds: Iterator[int], ends: float, keep_going: bool) -> Tally:
    tally = Tally()
    for seed in seeds:
        program = random_program(seed)
        result = run(program)
        tally.add(result)
        if result.problems:
            print(f"seed {seed} fails: {result.problems[0]}", flush=True)
            small = shrink(program, lambda smaller: bool(run(smaller).problems))
            print(told(small, run(small)), flush=True)
        if tally.seeds % 100 == 0:
            print(f"up to seed {seed}: {tally}", flush=True)
        if time.monotonic() >= ends or (tally.failed and not keep_going):
            break
    return tally


def repeatable(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own; its output is what it has to say."""
    paths = os.pathsep.join(str(ROOT / part) for part in (".", "proto", "tests"))
    return subprocess.run(
        [sys.executable, "-m", "model.campaign", *arguments],
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": paths},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak model", description="Random programs on whole devices.")
    parser.add_argument("seed", type=int, nargs="+", help="several seeds: these and no others")
    parser.add_argument("duration", type=duration, help="like 90s, 10m or 2h")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first seed that fails")
    arguments = parser.parse_args()
    # Stopped from outside it still takes its folder away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seeds = count(arguments.seed[0]) if len(arguments.seed) == 1 else iter(arguments.seed)
    ends = time.monotonic() + (arguments.duration if len(arguments.seed) == 1 else 1e9)
    tally = campaign(seeds, ends, arguments.keep_going)
    print(f"from seed {arguments.seed[0]}: {tally}")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
