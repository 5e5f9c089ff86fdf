# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes with many files: `memory`, `start`, `scale`. They are filled once, through a mount, and used by all three."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import work
from benchmarks.contenders.folders import VOLUME
from benchmarks.measuring import HOLOFS, Line, at_least, at_most, in_turn
from benchmarks.run import Row, Run
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage
from support.device import Device

_PROBE = "probe"
"""A folder that is the same at each level: as many files as the smallest level has."""
_LATENCIES = 20


@dataclass(slots=True)
class Crowd:
    """Two devices with one volume of so many files, mounted on both."""

    stage: Stage
    level: int
    first: Device
    second: Device
    here: Path
    there: Path
    resident: dict[str, float]
    """MiB of the daemons when they were filled, by device and stage."""

    def rest(self) -> None:
        self.stage.rest(self.first, VOLUME)
        self.stage.rest(self.second, VOLUME, self.stage.eye(self.first).files(VOLUME))


def crowd(run: Run, level: int) -> Crowd:
    kept = run.stage.kept.get(f"crowd {level}")
    if not isinstance(kept, Crowd):
        kept = run.stage.kept[f"crowd {level}"] = _filled(run, level)
    return kept


def _filled(run: Run, level: int) -> Crowd:
    stage = run.stage
    first = stage.device(f"a{level}")
    first.create(VOLUME)
    here = first.mount(VOLUME)
    smallest = run.sizes.levels[0]
    work.create(here / _PROBE, work.in_folders(10, smallest // 10, 100))
    for begin in range(smallest, level, 100):
        run.say(f"filling a volume: {begin:,} of {level:,} files")
        work.create(here / f"folder-{begin:06}", work.numbered(min(100, level - begin), 100, begin))
    stage.rest(first, VOLUME, level, every_s=0.5)
    resident = {"A": resident_mib(first)}
    run.say(f"a second device receives {level:,} files")
    second = stage.device(f"b{level}")
    stage.join(second, first.share(VOLUME))
    stage.rest(second, VOLUME, level, every_s=0.5)
    resident["B"] = resident_mib(second)
    for device in (first, second):
        device.ctl("brake", VOLUME, "--off")  # `scale` removes what it made
    return Crowd(stage, level, first, second, here, second.mount(VOLUME), resident)


def resident_mib(device: Device) -> float:
    for line in Path(f"/proc/{device.daemon_pid()}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not say how much memory the daemon has")


def memory(run: Run) -> None:
    """One filling, so one figure each."""
    found = crowd(run, run.sizes.levels[-1])
    run.add(HOLOFS, "memory: A, after writing", found.resident["A"])
    run.add(HOLOFS, "memory: B, after receiving", found.resident["B"])
    run.say(f"at rest for {run.sizes.rest_s:.0f} s")
    time.sleep(run.sizes.rest_s)
    run.add(HOLOFS, "memory: A, at rest", resident_mib(found.first))
    run.add(HOLOFS, "memory: B, at rest", resident_mib(found.second))


def start(run: Run) -> None:
    """B was off while A wrote a few files; `holofsctl up`, which also brings B's mount back."""
    found = crowd(run, run.sizes.levels[-1])
    for number in range(run.rounds):
        run.say(f"round {number + 1} of {run.rounds}")
        found.rest()
        run.stage.put_down(found.second)
        late = work.numbered(20, 100)
        work.create(found.here / f"late-{number}", late)
        run.stage.rest(found.first, VOLUME)
        files = run.stage.eye(found.first).files(VOLUME)
        began = time.perf_counter()
        starting = run.stage.begin_up(found.second)
        work.wait_for(lambda: _answers(found.there), "the first ls", every_s=0.005)
        run.add(HOLOFS, "start: first ls", time.perf_counter() - began)
        eye = run.stage.eye_when_up(found.second)
        work.wait_for(lambda: eye.rests(VOLUME, files), "B to have everything")  # noqa: B023 (called at once)
        run.add(HOLOFS, "start: caught up", time.perf_counter() - began)
        starting.wait(120)
        run.expect_files(HOLOFS, found.there / f"late-{number}", late)


def _answers(mountpoint: Path) -> bool:
    """Whether the mount answers: before that the directory is there and empty."""
    try:
        return bool(os.listdir(mountpoint))
    except OSError:
        return False


def scale(run: Run) -> None:
    crowds = [crowd(run, level) for level in run.sizes.levels]
    files = work.numbered(run.sizes.probed, 2)

    def each(found: Crowd, number: int) -> None:
        """Round 0 does not count: the daemons of small volumes have hardly run, those of large ones for long."""
        run.say(f"round {number} of {run.rounds}: {found.level:,} files")
        os.sync()
        created = work.create(found.here / f"new-{number}", files)
        found.rest()
        run.expect_files(HOLOFS, found.there / f"new-{number}", files)
        work.remove(found.here / f"new-{number}")
        found.rest()
        found.first.unmount(found.here)
        found.first.mount(VOLUME, path=found.here)
        listed = work.list_all(found.here / _PROBE)
        latency = _latency(found, number)
        found.rest()
        if number:
            _add(run, "create", found.level, len(files) / created)
            _add(run, "stat-cold", found.level, run.sizes.levels[0] / listed)
            _add(run, "latency", found.level, 1000 * latency)

    in_turn(crowds, run.rounds + 1, each)
    found = subprocess.run(["diff", "-r", crowds[-1].here / _PROBE, crowds[-1].there / _PROBE], capture_output=True)
    run.expect(HOLOFS, found.returncode == 0, "the two devices show different files")


def _latency(found: Crowd, number: int) -> float:
    return statistics.median(
        work.seconds_until_readable(found.here, found.there, f"latency-{number}-{index}", os.urandom(2000))
        for index in range(_LATENCIES)
    )


def _add(run: Run, what: str, level: int, value: float) -> None:
    """The smallest level is the baseline of the others."""
    smallest, *others = run.sizes.levels
    if level == smallest:
        for other in others:
            run.add(f"{smallest:,} files", _scale_line(what, other), value)
    else:
        run.add(HOLOFS, _scale_line(what, level), value)


def _scale_line(what: str, level: int) -> str:
    return f"scale: {what}, {level:,} files"


def _scale_lines(sizes: Sizes) -> tuple[Line, ...]:
    smallest, *others = sizes.levels
    base = f"{smallest:,} files"
    rates = tuple(
        Line(_scale_line(what, level), "files/s", (at_least(0.77, base),))
        for what in ("create", "stat-cold")
        for level in others
    )
    return (*rates, *(Line(_scale_line("latency", level), "ms", (at_most(1.3, base),)) for level in others))


def _memory_lines(sizes: Sizes) -> tuple[Line, ...]:
    asked = (at_most(round(150 + sizes.levels[-1] / 1024, 1)),)
    when = ("A, after writing", "A, at rest", "B, after receiving", "B, at rest")
    return tuple(Line(f"memory: {name}", "MiB", asked) for name in when)


ROWS = (
    Row("memory", "crowd", memory, _memory_lines),
    Row(
        "start",
        "crowd",
        start,
        lambda _: (Line("start: first ls", "s", (at_most(2),)), Line("start: caught up", "s", (at_most(15),))),
    ),
    Row("scale", "crowd", scale, _scale_lines),
)
