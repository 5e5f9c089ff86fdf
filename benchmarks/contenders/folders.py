# SPDX-License-Identifier: GPL-3.0-or-later
"""Contenders that are a mounted folder. All keep their data on the same disk, below the stage's directory."""

from __future__ import annotations

import abc
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from benchmarks.measuring import HOLOFS
from benchmarks.stage import ROOT, Stage
from benchmarks.work import wait_for

VOLUME: Final = "bench"


class Folder(abc.ABC):
    """`root` is where programs work."""

    name: ClassVar[str]

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.root = stage.root / f"at-{self.name}"
        self.root.mkdir()

    @abc.abstractmethod
    def fill(self, make: Callable[[Path], object]) -> None:
        """Lets `make` put files below a root, in the quickest way that there is."""

    @abc.abstractmethod
    def remount(self) -> None:
        """Drop everything that the kernel or the mount remembers."""

    @abc.abstractmethod
    def settle(self) -> None:
        """Waits for whatever goes on after a program got its answer."""


class HoloFolder(Folder):
    name = HOLOFS

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.device = stage.device("a")
        self.device.create(VOLUME)
        self.device.mount(VOLUME, path=self.root)

    def fill(self, make: Callable[[Path], object]) -> None:
        make(self.root)  # there is no other way in
        self.settle()

    def remount(self) -> None:
        self.settle()
        self.device.unmount(self.root)
        self.device.mount(VOLUME, path=self.root)

    def settle(self) -> None:
        self.stage.rest(self.device, VOLUME)


class Passthrough(Folder):
    """Contender that shows a local directory, `source`, through one process."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.source = stage.root / f"source-{self.name}"
        self.source.mkdir()
        self._mount()

    @abc.abstractmethod
    def command(self) -> list[str | Path]: ...

    def _mount(self) -> None:
        self._process = self.stage.spawn(self.name, self.command(), cwd=ROOT)
        try:
            wait_for(lambda: self.root.is_mount() or self._process.poll() is not None, "the mount", 30)
            if self._process.poll() is not None:
                raise RuntimeError("its process ended")
        except (TimeoutError, RuntimeError) as error:
            raise RuntimeError(f"{self.name} did not mount: {error}. {self.stage.log(self.name)}") from None

    def fill(self, make: Callable[[Path], object]) -> None:
        make(self.source)
        self.remount()

    def remount(self) -> None:
        self.settle()
        subprocess.run(["fusermount3", "-u", self.root], check=True, capture_output=True)
        self._process.wait(30)
        self._mount()

    def settle(self) -> None:
        return


class Bare(Passthrough):
    name = "bare"

    def command(self) -> list[str | Path]:
        options = ["--writeback"] if self.stage.writeback else []
        return [sys.executable, "-m", "benchmarks.passthrough", *options, self.source, self.root]


class Bindfs(Passthrough):
    name = "bindfs"

    def command(self) -> list[str | Path]:
        return ["bindfs", "-f", self.source, self.root]


class Rclone(Passthrough):
    name = "rclone"

    def __init__(self, stage: Stage) -> None:
        self._port = free_port()
        super().__init__(stage)

    def command(self) -> list[str | Path]:
        own = self.stage.root / "rclone"
        control = ["--rc", "--rc-no-auth", "--rc-addr", f"127.0.0.1:{self._port}"]
        places: list[str | Path] = ["--config", own / "rclone.conf", "--cache-dir", own / "cache"]
        return ["rclone", "mount", self.source, self.root, "--vfs-cache-mode", "writes", *places, *control]

    def settle(self) -> None:
        """Wait until rclone has written all: it writes what was closed to the directory below after five seconds."""
        wait_for(self._has_written, "rclone to write back what it holds", every_s=0.1)

    def _has_written(self) -> bool:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/vfs/stats", method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            cache = json.load(answer)["diskCache"]
        return not cache["uploadsInProgress"] and not cache["uploadsQueued"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


FOLDERS: Final[dict[str, type[Folder]]] = {found.name: found for found in (HoloFolder, Bare, Bindfs, Rclone)}
