# SPDX-License-Identifier: GPL-3.0-or-later
"""Many seeds, in several processes: scripts/soak model SEED DURATION, or scripts/soak model SEED --seeds COUNT

With --liar one more device is there and lies (`model.lies`); --lies NAME,NAME and --without NAME,NAME choose which.

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
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from campaigns.soak import duration
from model.lies import Chosen, chosen
from model.machine import LyingModel, Model
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
FAIR_SEEDS = 1000
"""A campaign of so many seeds that leaves a fault point out has failed."""
LAST_S = 5.0
"""What still runs when the time is up gets so many seconds."""


@dataclass
class Tally:
    seeds: int = 0
    runs: int = 0
    steps: int = 0
    conflicts: int = 0
    acknowledged: int = 0
    refused: int = 0
    died_at: Counter[str] = field(default_factory=Counter)
    lies: Counter[str] = field(default_factory=Counter)
    failed: dict[int, str] = field(default_factory=dict)
    """Seed -> what it found."""

    def add_run(self, result: Result) -> None:
        self.runs += 1
        self.steps += result.steps
        self.conflicts += result.conflicts
        self.acknowledged += result.acknowledged
        self.refused += result.refused
        self.died_at.update(result.died_at)
        self.lies.update(result.lies)

    def add(self, other: Tally) -> None:
        for name in ("seeds", "runs", "steps", "conflicts", "acknowledged", "refused"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.died_at.update(other.died_at)
        self.lies.update(other.lies)
        self.failed.update(other.failed)

    def __str__(self) -> str:
        return (
            f"{self.seeds} seeds, {len(self.failed)} failed ({self.runs} runs, {self.steps} steps,"
            f" {self.acknowledged} writes acknowledged, {self.conflicts} conflicts left, {self.refused} operations"
            f" refused, {self.died_at.total()} crashes at {len(self.died_at)} of {len(POINTS)} fault points"
            f"{f', {self.lies.total()} lies of {len(self.lies)} kinds' if self.lies else ''})"
        )

    def left_out(self) -> list[str]:
        return [point for point in POINTS if not self.died_at[point]]

    def table(self) -> str:
        """Crashes at each fault point, in a form that can be quoted."""
        found = ", ".join(f"{point} {self.died_at[point]}" for point in POINTS if self.died_at[point])
        return f"crashes: {found or 'none'}\nnever reached: {', '.join(self.left_out()) or 'none'}"

    @property
    def is_clean(self) -> bool:
        return not self.failed and not (self.seeds >= FAIR_SEEDS and self.left_out())


@dataclass(frozen=True)
class Tried:
    """Settings of what is run for each seed."""

    examples: int = EXAMPLES
    chosen: Chosen | None = None
    """Lies, if there is a liar."""
    again: str = ""
    """Options that make it the same again."""

    @property
    def model(self) -> type[Model]:
        if self.chosen is None:
            return Model
        LyingModel.chosen = self.chosen
        return LyingModel


def try_seed(number: int, tried: Tried) -> Tally:
    """Try one seed. A failure is not made small yet."""
    tally = Tally(seeds=1)
    Model.tally.clear()
    problem = _problem(number, tried, Phase.generate)
    for result in Model.tally:
        tally.add_run(result)
    if problem:
        tally.failed[number] = problem
    return tally


def make_small(number: int, tried: Tried) -> tuple[int, str]:
    return number, _problem(number, tried, Phase.generate, Phase.shrink)


def _problem(number: int, tried: Tried, *phases: Phase) -> str:
    chosen = settings(
        max_examples=tried.examples,
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
        run_state_machine_as_test(seed(number)(tried.model), settings=chosen)
    except Exception as error:  # noqa: BLE001 (whatever a seed raises is what it found)
        return f"{type(error).__name__}: {error}"
    return ""


@dataclass
class Campaign:
    """Ends at `ends` of `time.monotonic`, or at the first seed that fails unless it is to keep going."""

    seeds: Iterator[int]
    ends: float
    options: argparse.Namespace
    tried: Tried
    total: Tally = field(default_factory=Tally)
    _tried: set[Future[Tally]] = field(default_factory=set)
    _shrunk: set[Future[tuple[int, str]]] = field(default_factory=set)

    def run(self) -> Tally:
        context = multiprocessing.get_context("spawn")
        alone = partial(_alone, tempfile.tempdir)
        with ProcessPoolExecutor(self.options.jobs, context, alone, max_tasks_per_child=RENEWED) as pool:
            try:
                self._work(pool)
            finally:
                # Also when it is stopped from outside; otherwise nothing runs any more.
                pool.shutdown(wait=False, cancel_futures=True)
                for process in list((pool._processes or {}).values()):
                    process.terminate()
        return self.total

    def _work(self, pool: ProcessPoolExecutor) -> None:
        began = told = time.monotonic()
        while True:
            if time.monotonic() < self.ends and (self.options.keep_going or not self.total.failed):
                free = 2 * self.options.jobs - len(self._tried)
                self._tried |= {pool.submit(try_seed, n, self.tried) for n in islice(self.seeds, free)}
            left = self.ends - time.monotonic()
            if left <= 0:
                self._shrunk -= {future for future in self._shrunk if not future.done()}
                self._tried -= {future for future in self._tried if future.cancel()}
            waiting: set[Future[Any]] = {*self._tried, *self._shrunk}
            if not waiting or left <= -LAST_S:
                return
            done, _ = wait(waiting, timeout=_patience(left), return_when=FIRST_COMPLETED)
            for future in done:
                self._take(future, pool)
            if time.monotonic() - told >= TOLD_S:
                told = time.monotonic()
                print(f"{self.total.seeds / (told - began):.2f} seeds a second: {self.total}", flush=True)

    def _take(self, future: Future[Any], pool: ProcessPoolExecutor) -> None:
        if future in self._shrunk:
            self._shrunk.discard(future)
            number, problem = future.result()
            told(number, problem or f"{self.total.failed[number]}\nNot again!", self.tried)
            return
        self._tried.discard(future)
        found: Tally = future.result()
        self.total.add(found)
        for number, problem in found.failed.items():
            if self.options.no_small:
                print(f"seed {number} found: {problem}", flush=True)
                continue
            print(f"seed {number} found: {problem}\nIt is made small now.", flush=True)
            self._shrunk.add(pool.submit(make_small, number, self.tried))


def _patience(left: float) -> float:
    """Seconds until the next look at the clock."""
    return min(TOLD_S, left) if left > 0 else max(left + LAST_S, 0.0)


def told(number: int, problem: str, tried: Tried) -> None:
    print(f"seed {number} fails: {problem}\nAgain: scripts/soak model {number}{tried.again}", flush=True)


def _alone(folder: str | None) -> None:
    """Setup in each new process. Stopped from outside, the parent ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = folder


def repeatable(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own; its output is what it has to say."""
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
    parser.add_argument("--no-small", action="store_true", help="do not make small what fails")
    parser.add_argument("--liar", action="store_true", help="one more device is there, and lies")
    parser.add_argument("--lies", default="", metavar="NAME,...", help="with --liar: it tells these lies only")
    parser.add_argument("--without", default="", metavar="NAME,...", help="with --liar: it does not tell these lies")
    options = parser.parse_args()
    try:
        options.chosen = chosen(options.lies, options.without)
    except KeyError as error:
        parser.error(error.args[0])
    if not options.liar and (options.lies or options.without):
        parser.error("--lies and --without go with --liar")
    return options


def tried_by(options: argparse.Namespace) -> Tried:
    if not options.liar:
        return Tried(options.examples)
    again = " --liar" + f" --lies {options.lies}" * bool(options.lies)
    return Tried(options.examples, options.chosen, again + f" --without {options.without}" * bool(options.without))


def tried_names(tried: Tried) -> tuple[str, ...]:
    return tried.chosen.names if tried.chosen is not None else ()


def main() -> int:
    options = asked_for()
    tried = tried_by(options)
    # Stopped from outside it still takes its folder away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    most = options.seeds or (1 if options.duration is None else None)
    ends = time.monotonic() + (options.duration if options.duration is not None else float("inf"))
    folder = memory_folder()
    tempfile.tempdir = str(folder)
    try:
        if most == 1:
            # In this very process, where a debugger can be.
            total = try_seed(options.seed, tried)
            for number, problem in total.failed.items():
                print(f"seed {number} found: {problem.splitlines()[-1]} (it is made small now)", flush=True)
                small = "" if options.no_small else make_small(number, tried)[1] or f"{problem}\nNot again!"
                told(number, small or problem, tried)
        else:
            total = Campaign(islice(count(options.seed), most), ends, options, tried).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"from seed {options.seed}: {total}\n{total.table()}")
    for number in sorted(total.failed):
        print(f"failed: scripts/soak model {number}{tried.again}")
    if options.liar:
        print(f"never told: {', '.join(name for name in tried_names(tried) if not total.lies[name]) or 'none'}")
    return 0 if total.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
