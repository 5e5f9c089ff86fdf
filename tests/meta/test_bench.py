# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark: it asks for what was promised, it counts correctly, and the documents know each row."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks.contenders.cables import CABLES
from benchmarks.contenders.folders import FOLDERS
from benchmarks.contenders.known import BASELINES
from benchmarks.contenders.syncthing import PAIRS
from benchmarks.measuring import HOLOFS, Line, Outcome, Samples, at_least, at_most, in_turn
from benchmarks.plot import bars_of
from benchmarks.report import Report, closing, table
from benchmarks.rows import ROWS
from benchmarks.sizes import FULL, QUICK, TINY
from support.sources import ROOT

PROMISED = {
    "seq-read": {"seq-read ≥ 0.9 × bare"},
    "seq-write": {"seq-write ≥ 0.7 × bare"},
    "create": {"create ≥ 0.5 × bare", "create ≥ 1 × rclone"},
    "stat-cold": {"stat-cold ≥ 0.7 × bare", "stat-warm ≥ 0.9 × bare"},
    "read-small": {"read-small ≥ 0.5 × bare", "read-small ≥ 2 × rclone"},
    "remove": {"remove ≥ 0.4 × bare"},
    "apps": {f"apps: {what} ≤ 2 × bare" for what in ("git clone", "git status", "untar", "cp -a photos")},
    "import": {f"import: {what} ≤ 1 × cp -a" for what in ("small files", "photos")},
    "latency": {"latency p50 ≤ 30", "latency p99 ≤ 100"},
    "bulk": {"bulk ≥ 1 × syncthing"},
    "small": {"small ≥ 1.5 × syncthing"},
    "catch-up": {"catch-up ≥ 3 × syncthing"},
    "mounts": {"mounts p99 ≤ 10"},
    "bad-line": {f"bad-line: large, {what}" for what in ("no loss ≥ 250", "0.1 % loss ≥ 140", "1 % loss ≥ 40")}
    | {f"bad-line: small, {what} ≥ 300" for what in ("no loss", "0.1 % loss", "1 % loss")}
    | {"bad-line: failed reads, 2 % loss, 200 ms ≤ 0"},
    "memory": {f"memory: {what} ≤ 247.7" for what in ("A, after writing", "A, at rest")}
    | {f"memory: {what} ≤ 247.7" for what in ("B, after receiving", "B, at rest")},
    "start": {"start: first ls ≤ 2", "start: caught up ≤ 15"},
    "scale": {
        f"scale: {what}, {level} files {asked} × 1,000 files"
        for what, asked in (("create", "≥ 0.77"), ("stat-cold", "≥ 0.77"), ("latency", "≤ 1.3"))
        for level in ("10,000", "100,000")
    },
}


def test_every_row_asks_for_what_was_promised() -> None:
    asked = {
        row.name: {f"{line.name} {asked} {asked.against}".rstrip() for line in row.lines(FULL) for asked in line.asked}
        for row in ROWS
    }
    assert {name: found for name, found in asked.items() if found} == PROMISED


def test_full_sizes_are_those_of_the_promise() -> None:
    assert (FULL.big_mib, FULL.small_files, FULL.folders**2, FULL.synced_files) == (512, 2000, 10_000, 10_000)
    assert FULL.repository_files >= 2000
    assert FULL.latencies == 200
    assert FULL.levels == (1_000, 10_000, 100_000)
    assert min(FULL.rounds, FULL.sync_rounds) >= 5


def test_every_baseline_of_a_row_is_known_and_can_be_made() -> None:
    for row in ROWS:
        made = {*FOLDERS} if row.group == "mount" else {*CABLES} if row.group == "cable" else {*PAIRS}
        assert {*row.baselines} <= {*BASELINES} & made, row.name


def test_every_row_is_explained() -> None:
    explained = re.findall(r"^\| (`.+?) \|", (ROOT / "docs" / "performance.md").read_text(), re.MULTILINE)
    names = {name for cell in explained for name in re.findall(r"`([^`]+)`", cell)}
    assert {name for row in ROWS for name in (row.name, row.also) if name} <= names


def test_a_round_begins_with_another_contender_each_time() -> None:
    seen: list[tuple[str, int]] = []
    in_turn("abc", 3, lambda who, number: seen.append((who, number)))
    assert "".join(who for who, _ in seen) == "abcbcacab"
    assert [number for _, number in seen] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def _outcome(line: Line, ours: list[float], **baselines: list[float]) -> Outcome:
    samples = Samples()
    for name, values in {HOLOFS: ours, **baselines}.items():
        for value in values:
            samples.add(name, line.key, value)
    (found,) = samples.outcomes("row", [line])
    return found


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    found = _outcome(Line("create", "files/s", (at_least(0.5, "bare"),)), [10, 40, 30], bare=[20, 50, 100])
    assert (found.ours.middle, found.ours.least, found.ours.most) == (30, 10, 40)
    compared = found.against["bare"]
    assert (compared.ratio.middle, compared.ratio.least, compared.ratio.most) == (0.5, 0.3, 0.8)
    assert compared.met is True
    assert not found.is_missed


@pytest.mark.parametrize(("ours", "met"), [([30.0], True), ([30.1], False)])
def test_a_bound_on_our_own_figure_counts_without_any_baseline(ours: list[float], met: bool) -> None:
    found = _outcome(Line("latency p50", "ms", (at_most(30),), of="latency"), ours)
    assert found.met is met
    assert found.is_missed is not met


def test_p99_is_the_sample_that_at_most_one_in_a_hundred_exceeds() -> None:
    found = _outcome(
        Line("latency p99", "ms", of="latency", quantile=0.99), [float(n) for n in range(1, 201)], other=[396]
    )
    assert found.ours.middle == 198
    assert found.against["other"].ratio.middle == 0.5


def test_lines_without_a_figure_of_ours_are_left_out_and_failed_baselines_too() -> None:
    samples = Samples()
    samples.add("bare", "create", 1)
    assert not list(samples.outcomes("create", [Line("create", "files/s")]))
    samples.add(HOLOFS, "create", 1)
    samples.drop("bare")
    (found,) = samples.outcomes("create", [Line("create", "files/s")])
    assert not found.against


def test_the_table_says_what_is_asked_and_whether_it_is_met() -> None:
    found = _outcome(Line("create", "files/s", (at_least(0.5, "bare"),)), [40.0], bare=[100.0])
    assert [line.split() for line in table(found)] == [
        ["create", "HoloFS", "40.0", "40.0", "40.0", "files/s"],
        ["bare", "100", "100", "100", "files/s", "0.40", "≥", "0.5", "×", "NOT", "MET"],
    ]


def test_the_report_says_what_was_not_measured_and_is_json_too() -> None:
    report = Report("quick", "scripts/bench --quick")
    report.load.append(0.1)
    report.outcomes.append(_outcome(Line("create", "files/s", (at_least(0.5, "bare"),)), [60.0], bare=[100.0]))
    report.not_measured.append("bindfs: bindfs is not installed")
    assert "Not measured: bindfs: bindfs is not installed" in list(closing(report))
    told = json.loads(report.as_json())
    assert told["all_met"] is True
    assert told["outcomes"][0]["against"]["bare"]["ratio"]["middle"] == 0.6
    report.wrong.append("create: 1 of 2 files are not what was written")
    assert json.loads(report.as_json())["all_met"] is False


def test_in_the_picture_longer_is_better_for_times_too() -> None:
    slow = _outcome(Line("apps: untar", "s", (at_most(2, "bare"),)), [4.0], bare=[1.0])
    (bar,) = bars_of([slow])
    assert (bar.value, bar.asked) == (0.25, 0.5)


def test_quick_and_tiny_do_less_of_everything() -> None:
    for less, more in ((TINY, QUICK), (QUICK, FULL)):
        assert less.rounds <= more.rounds
        assert less.big_mib < more.big_mib
        assert less.small_files < more.small_files
        assert less.synced_files < more.synced_files
        assert less.levels[-1] < more.levels[-1]
