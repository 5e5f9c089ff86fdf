# SPDX-License-Identifier: GPL-3.0-or-later
"""Contenders that bring what is written in one folder, `here`, into another, `there`."""

from __future__ import annotations

import abc
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from benchmarks.contenders.folders import VOLUME, free_port
from benchmarks.measuring import HOLOFS
from benchmarks.stage import Stage
from benchmarks.work import all_files, wait_for
from support.device import Device


class Pair(abc.ABC):
    name: ClassVar[str]
    here: Path
    there: Path

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def push(self, name: str) -> None:  # noqa: B027 (for most there is nothing to do)
        """Tells whoever has to be told that all of that file or folder is written."""

    @abc.abstractmethod
    def arrived(self, folder: str, files: int) -> bool:
        """Check whether so many new files are complete below `there / folder`. Asked often: cheap."""

    @abc.abstractmethod
    def settle(self) -> None:
        """Waits until neither side has anything to do."""

    @abc.abstractmethod
    def stop_there(self) -> None: ...

    @abc.abstractmethod
    def start_there(self) -> None:
        """Returns at once; `arrived` may be asked, and says no until it knows."""


class HoloPair(Pair):
    name = HOLOFS

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.first, self.second = self._devices()
        self.first.create(VOLUME)
        self.second.join(self.first.share(VOLUME))
        self.here, self.there = self.first.mount(VOLUME), self.second.mount(VOLUME)
        self._starting: subprocess.Popen[bytes] | None = None
        self._before = 0

    def _devices(self) -> tuple[Device, Device]:
        return self.stage.device("a"), self.stage.device("b")

    def arrived(self, folder: str, files: int) -> bool:
        """Counted and complete by its own word; the contents are compared afterwards, as for everybody."""
        return self.stage.eye_when_up(self.second).rests(VOLUME, self._before + files)

    def settle(self) -> None:
        if self._starting:
            self._starting.wait(120)
            self._starting = None
        self.stage.rest(self.first, VOLUME)  # only then it has counted what was closed
        self.stage.rest(self.second, VOLUME, self.stage.eye(self.first).files(VOLUME))
        self._before = self.stage.eye(self.second).files(VOLUME)

    def stop_there(self) -> None:
        self.settle()
        self.stage.put_down(self.second)

    def start_there(self) -> None:
        self.stage.rest(self.first, VOLUME)
        self._starting = self.stage.begin_up(self.second)


class Rsync(Pair):
    name = "rsync"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.here, self.there = stage.root / "rsync-a", stage.root / "rsync-b"
        for folder in (self.here, self.there):
            folder.mkdir()
        self._port = free_port()
        config = stage.root / "rsyncd.conf"
        whom = f"uid = {os.getuid()}\ngid = {os.getgid()}\n" if os.getuid() == 0 else ""  # as root it would be nobody
        config.write_text(f"use chroot = no\n{whom}[bench]\npath = {self.there}\nread only = no\n")
        arguments = ("--daemon", "--no-detach", f"--config={config}", f"--port={self._port}", "--address=127.0.0.1")
        self._daemon = stage.spawn("rsync", ["rsync", *arguments])
        wait_for(self._answers, "the rsync daemon", 30)

    def _answers(self) -> bool:
        return subprocess.run(["rsync", "-q", self._url()], capture_output=True).returncode == 0

    def _url(self) -> str:
        return f"rsync://127.0.0.1:{self._port}/bench/"

    def push(self, name: str) -> None:
        subprocess.run(["rsync", "-a", str(self.here / name), self._url()], check=True, capture_output=True)

    def arrived(self, folder: str, files: int) -> bool:
        return count_below(self.there / folder) == files

    def settle(self) -> None:
        return

    def stop_there(self) -> None:
        raise NotImplementedError("rsync has no other side that could be off")

    def start_there(self) -> None:
        raise NotImplementedError


def count_below(folder: Path) -> int:
    """Files under their final names: Syncthing and rsync write others and rename them."""
    try:
        return sum(1 for entry in all_files(folder) if not entry.name.startswith("."))
    except OSError:
        return 0


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def seconds_to_arrive(
    pair: Pair, folder: str, files: int, is_told: bool = True, is_whole: Callable[[], bool] = lambda: True
) -> float:
    """Seconds until a folder is complete there. A look takes 2 ms from the daemon, so they are few.

    `is_whole`: what arrived is not an earlier version, as of a large file that took seconds to write.
    """
    every_s = 0.1 if files > 1 else 0.025
    began = time.perf_counter()
    if is_told:
        pair.push(folder)
    what = f"{pair.name} to have {files} files on the other side"
    wait_for(lambda: is_whole() and pair.arrived(folder, files), what, every_s=every_s)
    return time.perf_counter() - began
