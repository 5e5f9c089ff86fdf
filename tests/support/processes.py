# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes and mounts that belong to a directory: finding them, ending them, leaving nothing.

A process belongs to a directory if its environment or command line names something below it; that holds for daemons and
mounts of a device, whoever started them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

_MNT_FORCE = 1


def command_line(pid: int) -> list[str]:
    try:
        return [os.fsdecode(part) for part in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") if part]
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """A zombie is not: nothing of it can act any more (nobody may be there to reap an orphan in a container)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def processes_of(directory: Path) -> list[int]:
    """Process ids, without this process and those above it."""
    needle = os.fsencode(directory)
    own = _ancestors()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in own and _names(entry, needle):
            found.append(int(entry.name))
    return found


def _names(process: Path, needle: bytes) -> bool:
    for part in ("environ", "cmdline"):
        with contextlib.suppress(OSError):
            for value in process.joinpath(part).read_bytes().split(b"\0"):
                at = value.find(needle)
                if at >= 0 and value[at + len(needle) : at + len(needle) + 1] in (b"", b"/"):
                    return is_alive(int(process.name))
    return False


def _ancestors() -> set[int]:
    found, pid = set(), os.getpid()
    while pid > 1:
        found.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return found


def kill(pids: list[int], how: int = signal.SIGKILL, seconds: float = 45.0) -> None:
    """Signals and waits until none is alive."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
    deadline = time.monotonic() + seconds
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            raise AssertionError(f"still alive after {seconds:.0f} s: {[command_line(pid) for pid in pids]}")
        time.sleep(0.005)


def mounts_below(directory: Path) -> list[str]:
    """Mount points at or below `directory`, deepest first."""
    prefix = str(directory)
    found = []
    for line in Path("/proc/self/mounts").read_bytes().splitlines():
        # Bytes in octal: decoding them as text would take the letters of UTF-8 apart.
        point = os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), line.split(b" ")[1]))
        if point == prefix or point.startswith(prefix + "/"):
            found.append(point)
    return sorted(found, key=len, reverse=True)


def unmount_lazily(point: str) -> None:
    for command in (["fusermount3", "-u", "-z", "-q", point], ["umount", "-l", point]):
        if shutil.which(command[0]) and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return


def sweep(directory: Path, seconds: float = 45.0) -> None:
    """Kills every process of `directory`, unmounts everything below it, removes it. Never deletes through a mount."""
    deadline = time.monotonic() + seconds
    for point in mounts_below(directory):
        # A program may hang in a mount that was killed, where no daemon has come back to free it.
        ctypes.CDLL(None).umount2(os.fsencode(point), _MNT_FORCE)
    while True:
        kill(processes_of(directory))
        for point in mounts_below(directory):
            unmount_lazily(point)
        # Twice, because a process that was just being started may have come after the list was made.
        if not mounts_below(directory) and not processes_of(directory):
            break
        if time.monotonic() > deadline:
            raise AssertionError(f"cannot clean up {directory}: {processes_of(directory)} {mounts_below(directory)}")
        time.sleep(0.02)
    shutil.rmtree(directory, onerror=_make_writable)


def _make_writable(function: object, path: str, _info: object) -> None:
    with contextlib.suppress(OSError):
        os.chmod(os.path.dirname(path), 0o700)
        os.chmod(path, 0o700, follow_symlinks=False) if os.path.islink(path) else os.chmod(path, 0o700)
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
