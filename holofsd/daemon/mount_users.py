# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that use files below a mount point, found by /proc alone: the mount is never touched, so nothing hangs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from holofs_api.places import mount_points

_LIMIT_S: Final = 3.0
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class User:
    """A process, and the first path below the mount that it was found to use."""

    pid: int
    program: str
    path: str

    def __str__(self) -> str:
        return f"{self.program} (process {self.pid})"


async def users_of(mount_point: str, but: int = 0) -> list[User]:
    """The processes with a working or root directory, an open file, a program or a mapping there; `but`: of the mount.

    Those of other people cannot be seen. Looking has a time limit: what was found until then counts.
    """
    found: list[User] = []
    done, loop = asyncio.Event(), asyncio.get_running_loop()

    def look() -> None:
        for user in _users(mount_point, but):
            found.append(user)
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(done.set)

    # A thread of its own that nobody joins: reading `maps` of a process that hangs can hang, too.
    threading.Thread(target=look, name="mount users", daemon=True).start()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), _LIMIT_S)
    return found[:]


def told(users: list[User]) -> str:
    """`vim (process 17) and bash (process 4)`, not too many."""
    names = [str(user) for user in users[:_SHOWN]]
    if len(users) > _SHOWN:
        names.append(f"{len(users) - _SHOWN} more")
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def mounts_below(mount_point: str) -> list[str]:
    """Mount points inside of it: they keep it from being unmounted as well."""
    points = mount_points() or {}
    return [point for point in points if _is_below(point, mount_point) and point != mount_point]


def _is_below(path: str, mount_point: str) -> bool:
    return path == mount_point or path.startswith(mount_point.rstrip("/") + "/")


def _users(mount_point: str, but: int) -> Iterator[User]:
    try:
        pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    except OSError:
        return
    for pid in pids:
        used = "" if pid in (but, os.getpid()) else _used(pid, mount_point)
        if used:
            yield User(pid, _program(pid), used)


def _used(pid: int, mount_point: str) -> str:
    for look in (_links, _mapped):
        with contextlib.suppress(OSError):
            for path in look(f"/proc/{pid}"):
                if _is_below(path, mount_point):
                    return path
    return ""


def _links(folder: str) -> Iterator[str]:
    """Reading such a link asks the kernel for a name that it knows; the file is not looked at."""
    for name in ("cwd", "root", "exe"):
        with contextlib.suppress(OSError):
            yield os.readlink(f"{folder}/{name}")
    for number in os.listdir(f"{folder}/fd"):
        with contextlib.suppress(OSError):
            yield os.readlink(f"{folder}/fd/{number}")


def _mapped(folder: str) -> Iterator[str]:
    with open(f"{folder}/maps", "rb") as lines:
        for line in lines:
            fields = line.rstrip(b"\n").split(None, 5)
            if len(fields) == 6 and fields[5].startswith(b"/"):
                yield os.fsdecode(fields[5].replace(b"\\012", b"\n"))


def _program(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            return file.read().decode("utf-8", "backslashreplace").strip()
    except OSError:
        return "a program"
