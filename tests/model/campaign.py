# SPDX-License-Identifier: GPL-3.0-or-later
"""Many seeds, in several processes: scripts/soak model SEED DURATION, or scripts/soak model SEED --seeds COUNT

Each seed is one for Hypothesis, with some examples of the state machine. What fails is made small and told. Hashes are
not random in these processes, so a seed is the same program each time: scripts/soak model SEED
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from campaigns.soak import duration
from model.machine import Model
from model.run import memory_folder
from model.troubles import POINTS
from model.world import Result

ROOT = Path(__file__).parents[2]
EXAMPLES = 2
"""Of each seed, unless told otherwise. The first example of Hypothesis is always the simplest one."""
STEPS = (10, 20, 30, 40, 60)
TOLD_S = 30.0
RENEWED = 500
"""After so many seeds a process is replaced by a new one."""


@dataclass
class Tally:
    seeds: int = 0
    runs: int = 0
    steps: int = 0
    conflicts: int = 0
    acknowledged: int = 0
    refused: int = 0
    died_at: Counter[str] = field(default_factory=Counter)
    failed: dict[int, str] = field(default_factory=dict)
    """Seed -> what it found."""

    def add_run(self, result: Result) -> None:
        self.runs += 1
        self.steps += result.steps
        self.conflicts += result.conflicts
        self.acknowledged += result.acknowledged
        self.refused += result.refused
        self.died_at.update(result.died_at)

    def add(self, other: Tally) -> None:
        for name in ("seeds", "runs", "steps", "conflicts", "acknowledged", "refused"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.died_at.update(other.died_at)
        self.failed.update(other.failed)

    def __str__(self) -> str:
        return (
            f"{self.seeds} seeds, {len(self.failed)} failed ({self.runs} runs, {self.steps} steps,"
            f" {self.acknowledged} writes acknowledged, {self.conflicts} conflicts left, {self.refused} operations"
            f" refused, {self.died_at.total()} crashes at {len(self.died_at)} of {len(POINTS)} fault points)"
        )


def try_seed(number: int, examples: int) -> Tally:
    tally = Tally(seeds=1)
    Model.tally.clear()
    problem = _problem(number, examples, Phase.generate)
    for result in Model.tally:
        tally.add_run(result)
    if problem:
        print(f"seed {number} found: {problem.splitlines()[-1]} (it is made small now)", flush=True)
        tally.failed[number] = _problem(number, examples, Phase.generate, Phase.shrink) or f"{problem}\nNot again!"
    return tally


def _problem(number: int, examples: int, *phases: Phase) -> str:
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS[number % len(STEPS)],
        deadline=None,
        database=None,
        derandomize=False,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    try:
        run_state_machine_as_test(seed(number)(Model), settings=chosen)
    except Exception as error:  # noqa: BLE001 (whatever a seed raises is what it found)
        return f"{type(error).__name__}: {error}"
    return ""


def campaign(seeds: Iterator[int], ends: float, options: argparse.Namespace) -> Tally:
    """Ends at that time of `time.monotonic`, or at the first seed that fails unless it is to keep going."""
    total, began, told = Tally(), time.monotonic(), time.monotonic()
    context = multiprocessing.get_context("spawn")
    alone = partial(_alone, tempfile.tempdir)
    with ProcessPoolExecutor(options.jobs, context, alone, max_tasks_per_child=RENEWED) as pool:
        waiting: set[Future[Tally]] = set()
        while True:
            if time.monotonic() < ends and (options.keep_going or not total.failed):
                free = 2 * options.jobs - len(waiting)
                waiting |= {pool.submit(try_seed, number, options.examples) for number in islice(seeds, free)}
            if not waiting:
                return total
            done, waiting = _some(waiting)
            for future in done:
                found = future.result()
                total.add(found)
                _tell(found)
            if time.monotonic() - told >= TOLD_S:
                told = time.monotonic()
                print(f"{total.seeds / (told - began):.2f} seeds a second: {total}", flush=True)


def _some(waiting: set[Future[Tally]]) -> tuple[set[Future[Tally]], set[Future[Tally]]]:
    try:
        return wait(waiting, timeout=TOLD_S, return_when=FIRST_COMPLETED)
    except KeyboardInterrupt:
        for future in waiting:
            future.cancel()
        raise


def _tell(found: Tally) -> None:
    for number, problem in found.failed.items():
        print(f"seed {number} fails: {problem}\nAgain: scripts/soak model {number}", flush=True)


def _alone(folder: str | None) -> None:
    """In each new process. Stopped from outside, the parent ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = folder


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


def asked_for() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak model", description="Programs on whole devices, by Hypothesis.")
    parser.add_argument("seed", type=int, help="the first one")
    parser.add_argument("duration", type=duration, nargs="?", help="like 90s, 10m or 2h")
    parser.add_argument("--seeds", type=int, help="so many of them; one, if no duration is given")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one for each core)")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help=f"runs of each seed (default: {EXAMPLES})")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first seed that fails")
    return parser.parse_args()


def main() -> int:
    options = asked_for()
    # Stopped from outside it still takes its folder away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    most = options.seeds or (1 if options.duration is None else None)
    ends = time.monotonic() + (options.duration if options.duration is not None else float("inf"))
    folder = memory_folder()
    tempfile.tempdir = str(folder)
    try:
        if most == 1:
            # In this very process, where a debugger can be.
            total = try_seed(options.seed, options.examples)
            _tell(total)
        else:
            total = campaign(islice(count(options.seed), most), ends, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"from seed {options.seed}: {total}")
    for number in sorted(total.failed):
        print(f"failed: scripts/soak model {number}")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
