# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounts that are killed while news arrive and programs work in the same folder: no program hangs, nothing is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from support.device import Device, World
from support.processes import is_alive, kill
from support.wait import until

_CREATE = "import sys; open(sys.argv[1], 'x')"
_WORK = """
import os, sys
number = 0
while os.getppid() == int(sys.argv[3]):
    number += 1
    try:
        os.close(os.open(f"{sys.argv[1]}/{sys.argv[2]} {number}", os.O_CREAT | os.O_WRONLY))
        os.rename(f"{sys.argv[1]}/{sys.argv[2]} {number}", f"{sys.argv[1]}/{sys.argv[2]}")
    except OSError:
        pass
    os.write(1, b".")
"""


def _program(script: str, *arguments: str | Path, **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", script, *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload,no-any-return]


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def _threads(pid: int) -> list[str]:
    return [path.read_text().rsplit(")", 1)[1].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]


def test_programs_that_hang_in_a_killed_mount_are_freed_without_the_daemon(world: World) -> None:
    """Three that want one folder: the first is answered by no process, and the third is the mount itself, with
    news.

    The daemon is gone as well: a program that waits may be the one that would start it.
    """
    (a,) = world.running("a")
    a.create()
    here = a.mount()
    (here / "known").write_bytes(b"1")
    a.unmount(here)
    until(lambda: not a.mount_pids(), "the first mount's process to end")
    a.mount(path=here)
    assert (here / "known").read_bytes() == b"1"  # so that it knows this name, and has to ask for others
    (mount,) = a.mount_pids()
    daemon = a.daemon_pid()
    a.allowed += ["the daemon went away", "mount"]
    os.kill(daemon, signal.SIGSTOP)
    first = _program(_CREATE, here / "first")
    until(lambda: _waits_in(first.pid) == "an answer", "the first to be asked for")
    second = _program(_CREATE, here / "second")
    until(lambda: _waits_in(second.pid) == "the folder", "the second to wait for the first")
    kill([daemon])
    until(lambda: "D" in _threads(mount), "the mount to tell the kernel that it knows nothing any more")
    os.kill(mount, signal.SIGKILL)
    assert first.wait(60) != 0, "what was asked for has no answer"
    assert second.wait(60) != 0, "nor has the second"
    until(lambda: not is_alive(mount) and len(_threads(mount)) <= 1, "nothing of the mount to hang")
    a.up()
    until(lambda: (here / "known").read_bytes() == b"1", "the mount to be back")


def _waits_in(pid: int) -> str:
    """Place where its open waits, by what the kernel calls the functions in which it is."""
    stack = Path(f"/proc/{pid}/stack").read_text()
    if "fuse_lookup" in stack:
        return "an answer"
    return "the folder" if "path_openat" in stack and _state_of(pid) == "D" else "nothing"


def test_programs_go_on_when_mounts_are_killed_while_news_arrive(world: World) -> None:
    a, b = world.sharing("a", "b")
    here, there = a.mount(), b.mount()
    for device in (a, b):
        device.allowed += ["mount"]
        device.ctl("brake", "docs", "--off")
    # Not in the root: while there is no mount, a program must not find a folder that it can write to.
    (here / "work").mkdir()
    until((there / "work").is_dir, "both to have the folder")
    own = str(os.getpid())
    elsewhere = _program(_WORK, there / "work", "b", own, stdout=subprocess.DEVNULL)
    programs = [_program(_WORK, here / "work", name, own, stdout=subprocess.PIPE) for name in ("a1", "a2", "a3")]
    try:
        for _ in range(5):
            _kill_one(a, here)
            for program in programs:
                assert _goes_on(program), f"a program hangs in {here}"
    finally:
        for program in (*programs, elsewhere):
            program.kill()
            program.wait(45)
            if program.stdout is not None:
                program.stdout.close()
    until(lambda: sorted(os.listdir(here / "work")) == sorted(os.listdir(there / "work")), "both to see the same")


def _kill_one(device: Device, root: Path) -> None:
    until(lambda: device.mount_pids() and (root / "work" / "b").exists(), "the mount to be up")
    before = device.mount_pids()
    kill(before)
    until(lambda: device.mount_pids() not in ([], before) and (root / "work" / "b").exists(), "the mount to be back")


def _goes_on(program: subprocess.Popen[bytes]) -> bool:
    """Whether it does three things more, after what it has done by now."""
    assert program.stdout is not None
    os.set_blocking(program.stdout.fileno(), False)
    descriptor = program.stdout.fileno()
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 65_536):
            pass
    return bool(until(lambda: os.read(descriptor, 3), "a program to go on"))
