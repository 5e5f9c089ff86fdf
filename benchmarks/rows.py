# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured.

A row is a function that yields rounds; each round measures HoloFS and, where there is one, the baseline right after
it, so that both meet the same machine.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stage import Stage
from support.device import Device
from support.trees import differences, names, walk
from support.wait import until

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement: ours and the baseline's (None where nothing is compared), in the row's unit."""

    ours: float
    baseline: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    unit: str
    measure: Callable[[Stage], Iterator[Round]]
    target: str
    """For a person: what issue and design ask for."""
    is_met: Callable[[float, float | None], bool]
    """Given the median and the median ratio."""


def latency(stage: Stage) -> Iterator[Round]:
    """Close on A until the bytes can be read through B's mount, in ms."""
    here, there = stage.shared_mounts()
    for number in range(10 if stage.quick else 60):
        data = os.urandom(2000)
        here.joinpath(f"latency-{number}").write_bytes(data)
        closed = time.perf_counter()
        seen = there / f"latency-{number}"
        while _read(seen) != data:
            time.sleep(0.0005)
        yield Round((time.perf_counter() - closed) * 1000)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def tree(stage: Stage) -> Iterator[Round]:
    """The standard library is on A, B joins: until B has every name and every byte, in files per second."""
    source = _standard_library(stage.scratch / "library", limit=600 if stage.quick else 0)
    count, files = len(names(source)), _files(source)
    first = stage.first()
    for number in range(1 if stage.quick else 3):
        volume = f"library-{number}"
        first.create(volume)
        here = first.mount(volume)
        shutil.copytree(source, here / "library", symlinks=True)
        until(lambda: stage.eye(first).rests(volume, files), "A to have it", seconds=600)  # noqa: B023
        second, ticket = stage.stranger(), first.share(volume)
        eye = stage.eye(second)
        began = time.perf_counter()
        second.join(ticket)
        until(lambda: eye.rests(volume, files), "every byte", seconds=600, every=0.05)  # noqa: B023
        seconds = time.perf_counter() - began
        found = differences(source, second.mount(volume) / "library")
        assert not found, f"B shows something else: {found[:3]}"
        second.down()
        yield Round(count / seconds)


def copy(stage: Stage) -> Iterator[Round]:
    """The standard library copied into A's mount while B follows, until B has every byte, in files per second."""
    here, there = stage.shared_mounts()
    source = _standard_library(stage.scratch / "library", limit=600 if stage.quick else 0)
    count, files = len(names(source)), _files(source)
    first, second = stage.pair()
    for number in range(1 if stage.quick else 3):
        before = stage.eye(first).volume("bench")
        wanted = files + (before.files if before is not None else 0)
        ours = _seconds_to_copy(source, here / f"library-{number}", lambda: stage.eye(second).rests("bench", wanted))  # noqa: B023
        _rest(stage)
        found = differences(source, there / f"library-{number}")
        assert not found, f"B shows something else: {found[:3]}"
        theirs = _seconds_to_copy(source, stage.passthrough() / f"library-{number}", lambda: True)
        yield Round(count / ours, count / theirs)


def _seconds_to_copy(source: Path, target: Path, is_done: Callable[[], bool]) -> float:
    began = time.perf_counter()
    shutil.copytree(source, target, symlinks=True)
    until(is_done, "every byte", seconds=600, every=0.05)
    return time.perf_counter() - began


def _files(root: Path) -> int:
    return sum(path.is_file() and not path.is_symlink() for path in map(Path, walk(root)))


def _standard_library(target: Path, limit: int) -> Path:
    source = Path(sysconfig.get_paths()["stdlib"])
    ignore = shutil.ignore_patterns("site-packages", "dist-packages", "*.a", "config-*")
    shutil.copytree(source, target, symlinks=True, ignore=ignore)
    if limit:
        for name in sorted(names(target), reverse=True)[limit:]:
            path = target / name
            if path.is_symlink() or path.is_file():
                path.unlink()
    return target


def write(stage: Stage) -> Iterator[Round]:
    """One large file written in pieces of 1 MiB and closed, in MiB/s."""
    size = 64 if stage.quick else 512
    for number in range(2 if stage.quick else 5):
        ours = size / _write_file(stage.own_mount() / f"big-{number}", size)
        _rest(stage)
        theirs = size / _write_file(stage.passthrough() / f"big-{number}", size)
        for root in (stage.own_mount(), stage.passthrough()):
            root.joinpath(f"big-{number}").unlink()
        _rest(stage)
        yield Round(ours, theirs)


def read(stage: Stage) -> Iterator[Round]:
    """One large file read in pieces of 1 MiB, not from the kernel's cache of the mount, in MiB/s."""
    size = 64 if stage.quick else 512
    roots = (stage.own_mount(), stage.passthrough())
    for root in roots:
        _write_file(root / "to-read", size)
    _rest(stage)
    for _ in range(2 if stage.quick else 5):
        ours, theirs = (size / _read_file(root / "to-read") for root in roots)
        yield Round(ours, theirs)


def _write_file(path: Path, size: int) -> float:
    piece = os.urandom(MIB)
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(size):
            file.write(piece)
    return time.perf_counter() - began


def _read_file(path: Path) -> float:
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began = time.perf_counter()
        while file.read(MIB):
            pass
        return time.perf_counter() - began


def creates(stage: Stage) -> Iterator[Round]:
    """2,000 files of 100 bytes created in one directory, in files per second."""
    count = 200 if stage.quick else 2000
    for number in range(2 if stage.quick else 5):
        roots = (stage.own_mount(), stage.passthrough())
        ours = count / _create(roots[0] / f"small-{number}", count)
        _rest(stage)
        theirs = count / _create(roots[1] / f"small-{number}", count)
        yield Round(ours, theirs)


def _rest(stage: Stage) -> None:
    """What our daemon still does in the background would slow the baseline, or our next round."""
    until(lambda: stage.eye(stage.first()).rests("bench"), "the daemon to have nothing to do", seconds=300)


def _create(folder: Path, count: int) -> float:
    folder.mkdir()
    began = time.perf_counter()
    for number in range(count):
        folder.joinpath(f"file-{number}").write_bytes(b"x" * 100)
    return time.perf_counter() - began


def memory(stage: Stage) -> Iterator[Round]:
    """Resident memory of the daemon after 20,000 files were written through its mount, in MiB."""
    root = stage.own_mount()
    for number in range(4 if stage.quick else 40):
        _create(root / f"many-{number}", 500)
    _rest(stage)
    yield Round(resident_mib(stage.first()))


def resident_mib(device: Device) -> float:
    for line in Path(f"/proc/{device.daemon_pid()}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel does not say how much memory the daemon has")


def _at_least(ratio: float) -> Callable[[float, float | None], bool]:
    return lambda _median, found: found is not None and found >= ratio


ROWS = (
    Row("latency", "ms", latency, "p50 at most 50 ms", lambda median, _: median <= 50),
    Row("tree", "files/s", tree, "at least 500 files/s", lambda median, _: median >= 500),
    Row("copy", "files/s", copy, "at least 0.5 of a passthrough", _at_least(0.5)),
    Row("read", "MiB/s", read, "at least 0.5 of a passthrough", _at_least(0.5)),
    Row("write", "MiB/s", write, "at least 0.5 of a passthrough", _at_least(0.5)),
    Row("creates", "files/s", creates, "at least 0.3 of a passthrough", _at_least(0.3)),
    Row("memory", "MiB", memory, "at most 200 MiB with 20,000 files", lambda median, _: median <= 200),
)


def python_version() -> str:
    return sys.version.split()[0]
