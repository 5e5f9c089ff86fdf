# SPDX-License-Identifier: GPL-3.0-or-later
"""Report of a run, as a table, as JSON, and as a picture in `benchmarks/out`."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.contenders.known import BASELINES
from benchmarks.measuring import Asked, Figure, Outcome
from benchmarks.plot import draw
from benchmarks.stage import ROOT

OUT: Final = ROOT / "benchmarks" / "out"
HEADER: Final = (
    f"{'row':33} {'who':15} {'figure':>10} {'least':>10} {'most':>10} {'unit':8} {'ours ÷ theirs':20} asked\n"
    f"{'-' * 126}"
)


_QUIET: Final = 0.5


@dataclass(slots=True)
class Report:
    sizes: str
    command: str
    began: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))
    took_s: float = 0.0
    rows_s: dict[str, float] = field(default_factory=dict)
    load: list[float] = field(default_factory=lambda: [os.getloadavg()[0]])
    """The system's average load over the last minute, before and after: more than the work itself is noise."""
    outcomes: list[Outcome] = field(default_factory=list)
    not_measured: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """Rows that have no figure of ours, or not all."""
    remarks: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    """Devices that `fsck` could not look at."""
    wrong: list[str] = field(default_factory=list)
    """Contents that were not what was written: no figure of such a run counts."""
    stopped: bool = False
    """Whether it was ended before all rows were measured."""

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "machine": machine(), "all_met": self.all_met}, indent=2, ensure_ascii=False)

    @property
    def all_met(self) -> bool:
        return (
            not self.wrong
            and not self.failed
            and not self.stopped
            and not any(outcome.is_missed for outcome in self.outcomes)
        )


def table(outcome: Outcome) -> Iterator[str]:
    """The lines of one outcome: ours, then one for each baseline."""
    verdict = _verdict(outcome.asked, outcome.met)
    yield f"{outcome.name:33} {'HoloFS':15} {_figure(outcome.ours)} {outcome.unit:8} {'':20} {verdict}".rstrip()
    for name, compared in outcome.against.items():
        ratio, verdict = _ratio(compared.ratio), _verdict(compared.asked, compared.met)
        yield f"{'':33} {name:15} {_figure(compared.figure)} {outcome.unit:8} {ratio:20} {verdict}".rstrip()


def _figure(figure: Figure) -> str:
    return " ".join(f"{_number(value):>10}" for value in (figure.middle, figure.least, figure.most))


def _ratio(ratio: Figure) -> str:
    span = f" ({_number(ratio.least)} – {_number(ratio.most)})" if ratio.samples > 1 else ""
    return f"{_number(ratio.middle)}{span}"


def _number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _verdict(asked: Asked | None, met: bool | None) -> str:
    return f"{asked!s:9} {'met' if met else 'NOT MET'}" if asked else ""


def closing(report: Report) -> Iterator[str]:
    """Remarks below the table."""
    what = {name for outcome in report.outcomes for name in outcome.against}
    yield ""
    for name in BASELINES:
        if name in what:
            yield f"{name}: {BASELINES[name].what}."
    yield from report.remarks
    load = " before, ".join(f"{load:.1f}" for load in report.load)
    yield f"{report.sizes} sizes, {report.took_s:.0f} s, {os.cpu_count()} cores; load {load} after."
    if report.load[0] > _QUIET:
        yield "Other programs were busy when this began: these figures are noisy."
    for sentence in report.not_measured:
        yield f"Not measured: {' '.join(sentence.split())}"
    for sentence in report.unchecked:
        yield f"Not checked: {sentence}"
    if not report.wrong:
        fsck = "" if report.unchecked else ", and fsck --content found nothing wrong"
        yield f"Contents were compared with what was written, on every side{fsck}."
    for sentence in report.wrong:
        yield f"WRONG: {sentence}"
    if report.wrong:
        yield "HoloFS showed something else than what was written. No figure of this run counts."


def machine() -> dict[str, Any]:
    programs = sorted({known.program for known in BASELINES.values() if known.program and known.is_here})
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "commit": _said("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "baselines": {name: _version(name) for name in programs},
    }


def _version(program: str) -> str:
    found = re.search(r"\d+\.\d+[\w.]*", _said(program, "--version"))
    return found.group() if found else "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def keep(report: Report) -> list[Path]:
    """Writes JSON and picture, named after the time. Says on standard error where the picture cannot be had."""
    if not report.outcomes:
        return []
    OUT.mkdir(exist_ok=True)
    stem = re.sub(r"\W+", "-", report.began.removesuffix(" UTC"))
    numbers, picture = OUT / f"{stem}-{report.sizes}.json", OUT / f"{stem}-{report.sizes}.png"
    numbers.write_text(report.as_json() + "\n")
    try:
        draw(report.outcomes, picture, f"HoloFS beside its baselines, {report.sizes} sizes, {report.began}")
    except ImportError:
        print("No picture: matplotlib is not installed (scripts/setup --bench).", file=sys.stderr)
        return [numbers]
    return [numbers, picture]


def say_all(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)
