# SPDX-License-Identifier: GPL-3.0-or-later
"""What rows run on: devices with a shared volume, and the passthrough baseline, made when a row asks for them first."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from types import TracebackType

from holofs_api.v1 import control_pb2 as pb
from holofsctl.client import Client
from support.device import Device, World
from support.wait import until

ROOT = Path(__file__).resolve().parents[1]


_IDLE = ("unpublished", "unsealed", "records_behind", "content_missing", "pending")


class Eye:
    """Looks at what a daemon has and still has to do, over one connection.

    Starting `holofsctl` each time would cost more than what is measured.
    """

    def __init__(self, device: Device) -> None:
        self._client = Client(device.state)

    def volume(self, name: str) -> pb.VolumeStatus | None:
        reply: pb.StatusReply = self._client.call("Status", pb.StatusRequest())
        return next((found for found in reply.volumes if found.volume.name == name), None)

    def rests(self, name: str, files: int = 0) -> bool:
        """At least so many files are there, with all their bytes, and there is nothing left to do."""
        found = self.volume(name)
        return found is not None and found.files >= files and not any(getattr(found, field) for field in _IDLE)

    def close(self) -> None:
        self._client.__exit__(None, None, None)


class Stage:
    """One per row: nothing that a row left behind weighs on the next."""

    def __init__(self, quick: bool, writeback: bool) -> None:
        self.quick = quick
        self._writeback = writeback
        self._world = World()
        self.scratch = self._world.root / "scratch"
        self.scratch.mkdir()
        self.first = cache(self._first)
        self.pair = cache(self._pair)
        self.own_mount = cache(self._own_mount)
        self.shared_mounts = cache(self._shared_mounts)
        self.passthrough = cache(self._passthrough)
        self.eye = cache(self._eye)
        self._eyes: list[Eye] = []

    def _first(self) -> Device:
        (device,) = self._world.running("a")
        device.create("bench")
        return device

    def _own_mount(self) -> Path:
        return self.first().mount("bench")

    def _pair(self) -> tuple[Device, Device]:
        first, (second,) = self.first(), self._world.running("b")
        second.join(first.share("bench"))
        return first, second

    def _shared_mounts(self) -> tuple[Path, Path]:
        _, second = self.pair()
        return self.own_mount(), second.mount("bench")

    def _eye(self, device: Device) -> Eye:
        self._eyes.append(Eye(device))
        return self._eyes[-1]

    def stranger(self) -> Device:
        """A device that shares nothing yet."""
        (device,) = self._world.running(f"stranger-{len(self._eyes)}")
        return device

    def _passthrough(self) -> Path:
        source, target = self._world.root / "pass-source", self._world.root / "pass"
        source.mkdir()
        target.mkdir()
        options = ["--writeback"] if self._writeback else []
        log = self._world.root / "passthrough.log"
        with log.open("wb") as output:
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.passthrough", *options, str(source), str(target)],
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )
        until(target.is_mount, "the passthrough to be mounted")
        return target

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for eye in self._eyes:
            eye.close()
        self._world.close()
