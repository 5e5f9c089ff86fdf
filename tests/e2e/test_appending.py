# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs on several mounts of one device append to one file; it holds every line of each, as on a local disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.device import Device, World
from support.wait import until

LINES = 400
BINDINGS = ("pyfuse3", "fusepy")

APPENDER = """
import os, sys
path, name, lines, size, way = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
fd = os.open(path, flags) if way != "reopen" else -1
print("ready", flush=True)
sys.stdin.readline()
for number in range(lines):
    if way == "reopen":
        fd = os.open(path, flags)
    line = f"{name}-{number:04}".ljust(size - 1, "x").encode() + b"\\n"
    assert os.write(fd, line) == len(line)
    if way == "fsync" and number % 10 == 0:
        os.fsync(fd)
    if way == "reopen":
        os.close(fd)
"""


@dataclass
class Appender:
    """A program that appends `lines` lines to a path once it is let go. `way`: keep, reopen or fsync."""

    path: Path
    name: str
    size: int
    lines: int = LINES
    way: str = "keep"

    def __post_init__(self) -> None:
        arguments = [str(self.path), self.name, str(self.lines), str(self.size), self.way]
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", APPENDER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> None:
        assert self.process.wait(100) == 0
        assert self.process.stdout is not None
        self.process.stdout.close()

    def wrote(self) -> Counter[bytes]:
        return Counter(f"{self.name}-{n:04}".ljust(self.size - 1, "x").encode() for n in range(self.lines))


def run(appenders: Sequence[Appender]) -> Counter[bytes]:
    """All at the same time; returns the lines that they wrote."""
    for appender in appenders:
        appender.wait_ready()
    for appender in appenders:
        appender.go()
    for appender in appenders:
        appender.end()
    return sum((appender.wrote() for appender in appenders), Counter[bytes]())


def lines(path: Path) -> Counter[bytes]:
    return Counter(path.read_bytes().split(b"\n")[:-1])


def check(mounts: Sequence[Path], name: str, expected: Counter[bytes]) -> None:
    for mount in mounts:
        found = lines(mount / name)
        assert (found - expected, expected - found) == (Counter(), Counter()), f"{name} in {mount.name}"
    assert [path for path in os.listdir(mounts[0]) if "conflict" in path] == []


def mounted(device: Device, count: int, binding: str) -> list[Path]:
    return [device.mount("docs", "--binding", binding) for _ in range(count)]


@pytest.mark.parametrize("binding", BINDINGS)
def test_no_line_is_lost_whatever_its_size_and_however_the_file_is_opened(world: World, binding: str) -> None:
    (device,) = world.running("a")
    device.create()
    mounts = mounted(device, 2, binding)
    for size, count in ((10, LINES), (5_000, LINES // 4), (100 * 1024, LINES // 8)):
        for way in ("keep", "reopen", "fsync"):
            name = f"{way} {size}"
            made = [
                Appender(root / name, f"{number}{program}", size, count, way)
                for number, root in enumerate(mounts)
                for program in "ab"
            ]
            check(mounts, name, run(made))


@pytest.mark.parametrize("binding", BINDINGS)
def test_three_mounts_and_two_bindings(world: World, binding: str) -> None:
    (device,) = world.running("a")
    device.create()
    mounts = [*mounted(device, 2, "pyfuse3"), *mounted(device, 1, binding)]
    mounts[0].joinpath("small").write_bytes(b"first\n")
    mounts[1].joinpath("large").write_bytes(b"first\n" + b"y" * 3_000_000 + b"\n")
    until(lambda: all((root / "large").stat().st_size > 3_000_000 for root in mounts), "all to see both")
    for name in ("small", "large"):
        before = lines(mounts[0] / name)
        made = [Appender(root / name, str(number), 80) for number, root in enumerate(mounts)]
        check(mounts, name, before + run(made))


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("size", [10, 40_000])
def test_a_file_that_was_open_before_the_other_mount_came(world: World, binding: str, size: int) -> None:
    (device,) = world.running("a")
    device.create()
    (first,) = mounted(device, 1, binding)
    os.listdir(first)
    early = Appender(first / "log", "early", size, 100)
    early.wait_ready()
    with open(first / "kept", "ab", buffering=0) as kept:
        kept.write(b"before anybody else came\n")
        (second,) = mounted(device, 1, binding)
        late = Appender(second / "log", "late", size, 100)
        expected = run_on(early, late)
        with open(second / "kept", "ab", buffering=0) as also:
            also.write(b"by the other\n")
            kept.write(b"by the first again\n")
    check([first, second], "log", expected)
    wanted = [b"before anybody else came", b"by the other", b"by the first again"]
    assert (second / "kept").read_bytes().splitlines() == wanted


def run_on(early: Appender, late: Appender) -> Counter[bytes]:
    late.wait_ready()
    for appender in (early, late):
        appender.go()
    for appender in (early, late):
        appender.end()
    return early.wrote() + late.wrote()


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_file_cut_off_by_one_mount_holds_what_the_other_appends_after(world: World, binding: str) -> None:
    (device,) = world.running("a")
    device.create()
    one, two = mounted(device, 2, binding)
    (one / "log").write_bytes(b"old\n" * 1000)
    until(lambda: (two / "log").stat().st_size == 4000, "the other mount to see it")
    with open(one / "log", "ab", buffering=0) as first, open(two / "log", "ab", buffering=0) as second:
        for number in range(20):
            first.write(b"first\n")
            second.write(b"second\n")
            second.truncate(0) if number % 2 else os.truncate(two / "log", 0)
            first.write(b"after %d\n" % number)
            assert (two / "log").read_bytes() == b"after %d\n" % number
            second.write(b"and\n")
            assert (one / "log").read_bytes() == b"after %d\nand\n" % number
            assert os.fstat(second.fileno()).st_size == len(b"after %d\nand\n" % number)


@pytest.mark.parametrize("binding", BINDINGS)
def test_what_one_mount_writes_shows_on_the_other_while_the_file_is_open(world: World, binding: str) -> None:
    (device,) = world.running("a")
    device.create()
    one, two = mounted(device, 2, binding)
    with open(one / "log", "ab", buffering=0) as first, open(two / "log", "ab", buffering=0) as second:
        first.write(wanted := b"begun\n")
        until(lambda: (two / "log").read_bytes() == wanted, "the other mount to hear that the file is written")
        for number in range(200):
            for writer, reader in ((first, two), (second, one)):
                line = b"line %d of %d\n" % (number, writer.fileno())
                writer.write(line)
                wanted += line
                assert (reader / "log").stat().st_size == len(wanted)
                assert (reader / "log").read_bytes() == wanted


WHILE_RESTARTED = """
import os, select, sys
path, name, way = sys.argv[1:4]
flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
fd = os.open(path, flags)
number = 0
while not select.select([sys.stdin], [], [], 0.02)[0]:
    if way == "reopen":
        os.close(fd)
        fd = os.open(path, flags)
    line = f"{name}-{number:04}".ljust(200, "x").encode() + b"\\n"
    assert os.write(fd, line) == len(line)
    number += 1
os.close(fd)
print(number)
"""


def test_no_line_is_lost_while_the_daemon_is_killed_and_stopped(world: World) -> None:
    (device,) = world.running("a")
    device.create()
    device.allowed += ["finalized meanwhile", "written to after it was finalized"]
    mounts = [*mounted(device, 1, "pyfuse3"), *mounted(device, 1, "fusepy")]
    made = [
        (f"{way} {number}", _begin_appending(root / "log", f"{way} {number}", way))
        for number, root in enumerate(mounts)
        for way in ("keep", "reopen")
    ]
    for size, end in ((20_000, device.kill9_daemon), (60_000, device.stop_daemon), (100_000, device.kill9_daemon)):
        until(lambda size=size: _holds(mounts[0] / "log", size), "the programs to append")  # type: ignore[misc]
        end()
        device.start_daemon()
    expected: Counter[bytes] = Counter()
    for name, process in made:
        told, _ = process.communicate(b"", 100)
        assert process.returncode == 0
        expected += Counter(f"{name}-{n:04}".ljust(200, "x").encode() for n in range(int(told)))
    check(mounts, "log", expected)
    until(device.is_settled, "all of it to be numbered and stored")
    assert device.json("fsck", "docs", "--content")["volumes"][0]["findings"] == []


def _begin_appending(path: Path, name: str, way: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-S", "-c", WHILE_RESTARTED, str(path), name, way]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _holds(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size >= size
