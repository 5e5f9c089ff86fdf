# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs rows, prints a table or JSON: median, least, most, and the ratio to the baseline of the same round."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass

from benchmarks.rows import ROWS, Round, Row, python_version
from benchmarks.stage import Stage


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    unit: str
    rounds: int
    median: float
    least: float
    most: float
    baseline: float | None
    ratio: float | None
    target: str
    met: bool
    seconds: float


def summarize(row: Row, rounds: list[Round], seconds: float) -> Outcome:
    ours = [found.ours for found in rounds]
    baselines = [found.baseline for found in rounds if found.baseline is not None]
    ratios = [found.ours / found.baseline for found in rounds if found.baseline]
    median = statistics.median(ours)
    ratio = statistics.median(ratios) if ratios else None
    baseline = statistics.median(baselines) if baselines else None
    met = row.is_met(median, ratio)
    return Outcome(
        row.name, row.unit, len(ours), median, min(ours), max(ours), baseline, ratio, row.target, met, seconds
    )


def run(row: Row, quick: bool, writeback: bool) -> Outcome:
    began = time.perf_counter()
    with Stage(quick, writeback) as stage:
        rounds = list(row.measure(stage))
    return summarize(row, rounds, time.perf_counter() - began)


def line(outcome: Outcome) -> str:
    compared = f"{outcome.ratio:5.2f} x {outcome.baseline:.0f}" if outcome.ratio and outcome.baseline else ""
    span = f"{outcome.median:9.1f} {outcome.least:9.1f} {outcome.most:9.1f} {outcome.unit:8}"
    return f"{outcome.name:8} {span} {compared:16} {'met ' if outcome.met else 'MISSED'} {outcome.target}"


def main() -> int:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures HoloFS on this machine.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(names)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="small amounts: does it run, not how fast it is")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--writeback", action="store_true", help="let the baseline use the kernel's writeback cache")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - set(names)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")

    outcomes = []
    if not arguments.json:
        print(f"{'row':8} {'median':>9} {'least':>9} {'most':>9} {'unit':8} {'ratio x baseline':16} target")
    for row in ROWS:
        if not arguments.rows or row.name in arguments.rows:
            outcomes.append(run(row, arguments.quick, arguments.writeback))
            if not arguments.json:
                print(line(outcomes[-1]), flush=True)
    if arguments.json:
        machine = {"cores": os.cpu_count(), "kernel": platform.release(), "python": python_version()}
        print(
            json.dumps({"machine": machine, "quick": arguments.quick, "rows": [asdict(o) for o in outcomes]}, indent=2)
        )
    return 0 if arguments.quick or all(outcome.met for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
