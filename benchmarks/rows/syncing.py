# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows from one device to another: `latency`, `bulk`, `small`, `catch-up`, `tree`; and between two mounts: `mounts`."""

from __future__ import annotations

import os
import shutil
import sysconfig
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from benchmarks import work
from benchmarks.contenders.known import SYNCS
from benchmarks.contenders.pairs import Pair, seconds_to_arrive, size_of
from benchmarks.measuring import HOLOFS, Line, at_least, at_most
from benchmarks.run import Row, Run, digest_of
from support.trees import differences, names


def latency(run: Run) -> None:
    """Many times for us, once a round for those who take seconds each time."""

    def each(pair: Pair, name: str, number: int) -> None:
        count = max(run.sizes.latencies // run.rounds, 1) if pair.name == HOLOFS else 1
        for index in range(count):
            data = os.urandom(2000)
            took = work.seconds_until_readable(pair.here, pair.there, f"{name}-{index}", data, pair.push)
            run.add(pair.name, "latency", took * 1000)

    run.each_pair(each)


def bulk(run: Run) -> None:
    mib = run.sizes.big_mib

    @lru_cache(maxsize=1)
    def pieces(number: int) -> tuple[list[bytes], str]:
        fresh = work.random_pieces(mib)
        return fresh, digest_of(fresh)

    def each(pair: Pair, name: str, number: int) -> None:
        data, digest = pieces(number)
        pair.here.joinpath(name).mkdir()
        work.write_large(pair.here / name / "big", data)
        large = pair.there / name / "big"
        run.add(pair.name, "bulk", mib / seconds_to_arrive(pair, name, 1, is_whole=lambda: size_of(large) == mib << 20))
        pair.settle()
        for side in (pair.here, pair.there):
            run.expect_large(pair.name, side / name / "big", digest)

    run.each_pair(each)


def small(run: Run) -> None:
    files = _small_files(run)

    def each(pair: Pair, name: str, number: int) -> None:
        given = files(number)
        began = time.perf_counter()
        work.create(pair.here / name, given)
        seconds_to_arrive(pair, name, len(given))
        run.add(pair.name, "small", len(given) / (time.perf_counter() - began))
        pair.settle()
        for side in (pair.here, pair.there):
            run.expect_files(pair.name, side / name, given)

    run.each_pair(each)


def catch_up(run: Run) -> None:
    files = _small_files(run)

    def each(pair: Pair, name: str, number: int) -> None:
        given = files(number)
        pair.stop_there()
        work.create(pair.here / name, given)
        pair.start_there()
        took = seconds_to_arrive(pair, name, len(given), is_told=False)
        run.add(pair.name, "catch-up", len(given) / took)
        pair.settle()
        for side in (pair.here, pair.there):
            run.expect_files(pair.name, side / name, given)

    run.each_pair(each)


def _small_files(run: Run) -> Callable[[int], work.Files]:
    @lru_cache(maxsize=1)
    def of(_number: int) -> work.Files:
        return work.spread(run.sizes.synced_files, 4096)

    return of


# ---- HoloFS alone
def mounts(run: Run) -> None:
    device = run.stage.device("a")
    volume = "mounted-twice"
    device.create(volume)
    here, there = device.mount(volume), device.mount(volume)
    for index in range(run.sizes.latencies):
        run.say(f"{index + 1} of {run.sizes.latencies}")
        took = work.seconds_until_readable(here, there, f"file-{index}", os.urandom(2000))
        run.add(HOLOFS, "mounts", took * 1000)
    found = differences(here, there)
    run.expect(HOLOFS, not found, f"the two mounts differ: {found[:2]}")
    for path in (here, there):
        device.unmount(path)


def tree(run: Run) -> None:
    """The standard library is on A, B joins: until B has every name and every byte."""
    source = _standard_library(run.stage.scratch / "library", run.sizes.tree_files)
    count, files = len(names(source)), sum(1 for _ in work.all_files(source))
    first = run.stage.device("a")
    for number in range(min(run.rounds, 3)):
        run.say(f"round {number + 1} of {min(run.rounds, 3)}")
        volume = f"library-{number}"
        first.create(volume)
        here = first.mount(volume)
        shutil.copytree(source, here / "library", symlinks=True)
        run.stage.rest(first, volume)
        second, ticket = run.stage.device(f"newcomer-{number}"), first.share(volume)
        eye = run.stage.eye(second)
        began = time.perf_counter()
        run.stage.join(second, ticket)
        work.wait_for(lambda: eye.rests(volume, files), "every byte", every_s=0.02)  # noqa: B023 (called at once)
        run.add(HOLOFS, "tree", count / (time.perf_counter() - began))
        found = differences(source, second.mount(volume) / "library")
        run.expect(HOLOFS, not found, f"B shows something else: {found[:2]}")
        run.stage.put_down(second)
        first.unmount(here)


def _standard_library(target: Path, limit: int) -> Path:
    source = Path(sysconfig.get_paths()["stdlib"])
    ignore = shutil.ignore_patterns("site-packages", "dist-packages", "*.a", "config-*")
    if not limit:
        return target if target.exists() else Path(shutil.copytree(source, target, symlinks=True, ignore=ignore))
    parts = [part for part in sorted(source.iterdir()) if part.is_file() or part.name in ("asyncio", "email", "json")]
    files = [file for part in parts for file in ([part] if part.is_file() else sorted(part.glob("*.py")))]
    for file in files[:limit]:
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    return target


ROWS = (
    Row(
        "latency",
        "pair",
        latency,
        lambda _: (
            Line("latency p50", "ms", (at_most(30),), of="latency"),
            Line("latency p99", "ms", (at_most(100),), of="latency", quantile=0.99),
        ),
        ("syncthing", "syncthing-told"),
    ),
    Row("bulk", "pair", bulk, lambda _: (Line("bulk", "MiB/s", (at_least(1, "syncthing"),)),), SYNCS),
    Row("small", "pair", small, lambda _: (Line("small", "files/s", (at_least(1.5, "syncthing"),)),), SYNCS),
    Row(
        "catch-up",
        "pair",
        catch_up,
        lambda _: (Line("catch-up", "files/s", (at_least(3, "syncthing"),)),),
        ("syncthing",),
    ),
    Row(
        "mounts",
        "mount",
        mounts,
        lambda _: (
            Line("mounts p50", "ms", of="mounts"),
            Line("mounts p99", "ms", (at_most(10),), of="mounts", quantile=0.99),
        ),
    ),
    Row("tree", "pair", tree, lambda _: (Line("tree", "files/s"),)),
)
