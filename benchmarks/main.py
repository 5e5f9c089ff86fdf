# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs rows and prints what they found. `scripts/bench --help` says how."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import FrameType

from benchmarks import report as reports
from benchmarks.contenders.known import BASELINES, install
from benchmarks.progress import Progress
from benchmarks.report import Report
from benchmarks.rows import ROWS
from benchmarks.run import Row, Run
from benchmarks.sizes import FULL, QUICK, TINY, Sizes
from benchmarks.stage import ROOT, Stage

MISSED, WRONG, STOPPED = 1, 2, 130


@dataclass(slots=True)
class Stages:
    """A stage for each row, or, where sizes are small, one for a group of rows."""

    sizes: Sizes
    writeback: bool
    report: Report
    progress: Progress
    _group: str = ""
    _open: ExitStack = field(default_factory=ExitStack)
    _stage: Stage | None = None

    def of(self, row: Row) -> Stage:
        # Large volumes are filled once in any case.
        if self._stage is None or self._group != row.group or (self.sizes.alone and row.group != "crowd"):
            self.close()
            self._stage = self._open.enter_context(Stage(self.sizes, self.writeback))
            self._group = row.group
        return self._stage

    def close(self) -> None:
        """Looks at what is on the disk, then throws it away."""
        if self._stage is not None:
            self.progress.say("fsck of what is on the disk")
            wrong, failed = self._stage.check()
            self.report.wrong += [f"{self._group} rows: {sentence}" for sentence in wrong]
            self.report.unchecked += [f"{self._group} rows: {sentence}" for sentence in failed]
        self.throw_away()

    def throw_away(self) -> None:
        self._stage = None
        self._open.close()


def measure(rows: list[Row], sizes: Sizes, against: list[str], writeback: bool, quiet: bool, report: Report) -> None:
    """Fills the report, row by row. What fails in one row does not keep the others from being measured.

    Ctrl-C and SIGTERM end it early: the report holds the rows that were whole by then.
    """
    began = time.monotonic()
    progress = Progress(len(rows))
    if not quiet:
        reports.say_all([reports.HEADER])
    stages = Stages(sizes, writeback, report, progress)
    try:
        for row in rows:
            progress.next(row.name)
            _measure_one(row, stages, against)
            progress.clear()
            if not quiet:
                for outcome in (found for found in report.outcomes if found.row == row.name):
                    reports.say_all(reports.table(outcome))
        stages.close()
    except KeyboardInterrupt:
        report.stopped = True
        report.not_measured += [f"{row.name}: stopped" for row in rows if row.name not in report.rows_s]
        report.unchecked.append("what was on the disk when it was stopped")
    finally:
        progress.clear()
        stages.throw_away()
    report.took_s = round(time.monotonic() - began, 1)
    report.load.append(os.getloadavg()[0])


def _measure_one(row: Row, stages: Stages, against: list[str]) -> None:
    report, sizes = stages.report, stages.sizes
    run, began = None, time.monotonic()
    try:
        stage = stages.of(row)
        rounds = sizes.sync_rounds if row.group in ("pair", "cable") else sizes.rounds
        taking_part = tuple(name for name in row.baselines if name in against and BASELINES[name].is_here)
        run = Run(row.name, stage, taking_part, rounds, stages.progress.say)
        row.measure(run)
    except KeyboardInterrupt:
        report.wrong += run.wrong if run is not None else []
        raise
    except Exception as error:  # noqa: BLE001 (a row may fail in any way; the others are measured all the same)
        stages.throw_away()
        report.failed.append(row.name)
        report.not_measured.append(f"{row.name}: {type(error).__name__}: {error}"[:600])
    report.rows_s[row.name] = round(time.monotonic() - began, 1)
    if run is not None:
        _take(report, row, run)


def _take(report: Report, row: Row, run: Run) -> None:
    report.outcomes += run.samples.outcomes(row.name, row.lines(run.sizes))
    report.wrong += run.wrong
    report.remarks += [f"{row.name}: {remark}" for remark in run.remarks]
    report.not_measured += [f"{row.name}, {name}: {reason}"[:600] for name, reason in run.absent.items()]


def _arguments() -> argparse.Namespace:
    names = [name for row in ROWS for name in (row.name, row.also) if name]
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures HoloFS on this machine.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(names)}; all if none is named")
    parser.add_argument(
        "--against", action="append", metavar="NAME", help=f"only this baseline, of {', '.join(BASELINES)}; or none"
    )
    parser.add_argument("--quick", action="store_true", help="smaller amounts and fewer rounds: some six minutes")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # for a test: does it work?
    parser.add_argument("--rounds", type=int, help="how often each is measured (5; --quick: 2, of syncing 1)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--writeback", action="store_true", help="let the bare binding use the kernel's writeback cache"
    )
    told = parser.parse_args()
    if unknown := set(told.rows) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if unknown := set(told.against or ()) - {*BASELINES, "none"}:
        parser.error(f"unknown baseline: {', '.join(sorted(unknown))}; there are {', '.join(BASELINES)}, or none")
    if told.rounds is not None and told.rounds < 1:
        parser.error("at least one round")
    return told


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _too_little_room(rows: list[Row], sizes: Sizes) -> bool:
    """Large files, in each round for each contender, on both of its sides, and in the trash."""
    widest = max((len(row.baselines) + 1) * 2 * sizes.rounds for row in rows)
    needed, free = widest * sizes.big_mib << 20, shutil.disk_usage(tempfile.gettempdir()).free
    if free < needed:
        print(
            f"This needs up to {needed >> 30} GiB in {tempfile.gettempdir()}, where {free >> 30} GiB are free. "
            "TMPDIR chooses another place; --quick and fewer rounds need less.",
            file=sys.stderr,
        )
    return free < needed


def main() -> int:
    told = _arguments()
    sizes = TINY if told.tiny else QUICK if told.quick else FULL
    if told.rounds:
        sizes = replace(sizes, rounds=told.rounds, sync_rounds=told.rounds)
    rows = [row for row in ROWS if not told.rows or {row.name, row.also} & set(told.rows)]
    against = [name for name in BASELINES if name in (told.against or BASELINES)]
    report = Report(sizes.name, shlex.join(["scripts/bench", *sys.argv[1:]]))
    needed = [name for name in against if any(name in row.baselines for row in rows)]
    install(needed)
    report.not_measured += [
        f"{name}: {BASELINES[name].program} is not installed" for name in needed if not BASELINES[name].is_here
    ]
    if _too_little_room(rows, sizes):
        return MISSED
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    measure(rows, sizes, against, told.writeback, told.json, report)
    if told.json:
        print(report.as_json())
    else:
        reports.say_all(reports.closing(report))
    for path in [] if told.tiny else reports.keep(report):
        print(f"Written: {path.relative_to(ROOT)}", file=sys.stderr)
    if report.wrong:
        return WRONG
    if report.stopped:
        print("Stopped; nothing is left behind.", file=sys.stderr)
        return STOPPED
    return MISSED if report.failed or (not told.quick and not told.tiny and not report.all_met) else 0


if __name__ == "__main__":
    sys.exit(main())
