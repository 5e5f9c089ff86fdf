# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage that rows run on: devices in a temporary directory, whose processes, mounts and files go when it ends."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from benchmarks.sizes import Sizes
from holofs_api.v1 import control_pb2 as pb
from holofsctl.client import Client
from holofsctl.errors import CommandError
from support import lan
from support.device import CommandFailed, Device, World

ROOT: Final = Path(__file__).resolve().parents[1]
_LONGEST_S: Final = 1800.0
_STUCK_S: Final = 90.0
_WAITING: Final = ("unpublished", "unsealed", "records_behind", "content_missing", "pending")


class Eye:
    """Looks at what a daemon has and still has to do, over one connection.

    Starting `holofsctl` each time would cost more than what is measured.
    """

    def __init__(self, device: Device) -> None:
        self._client = Client(device.state)

    def status(self, volume: str = "") -> pb.StatusReply:
        reply: pb.StatusReply = self._client.call("Status", pb.StatusRequest(volume=volume))
        return reply

    def volume(self, name: str) -> pb.VolumeStatus | None:
        try:
            return next(iter(self.status(name).volumes), None)
        except CommandError:
            return None  # it is not here yet

    def files(self, name: str) -> int:
        found = self.volume(name)
        return found.files if found is not None else 0

    def rests(self, name: str, files: int = 0) -> bool:
        """Check whether at least so many files are there, with all their bytes, and there is nothing left to do."""
        found, *waiting = self.progress(name)
        return found >= files and not any(waiting)

    def progress(self, name: str) -> tuple[int, ...]:
        """Files that are there, and what waits. Without the volume: -1."""
        found = self.volume(name)
        return (-1,) if found is None else (found.files, *(getattr(found, field) for field in _WAITING))

    def close(self) -> None:
        self._client.__exit__(None, None, None)


class Stage:
    """Devices of a row, or of a group of rows: nothing that others left behind weighs on it."""

    def __init__(self, sizes: Sizes, writeback: bool = False) -> None:
        self.sizes = sizes
        self.writeback = writeback
        self._world = World()
        self.root = self._world.root
        self.scratch = self.root / "scratch"
        self.scratch.mkdir()
        self._devices: dict[str, Device] = {}
        self._lan: lan.Lan | None = None
        self._eyes: dict[str, Eye] = {}
        self.kept: dict[str, object] = {}
        """Contenders that rows of one group share, by name."""

    def device(self, name: str) -> Device:
        """A running device; its first use starts it."""
        if name not in self._devices:
            (self._devices[name],) = self._world.running(name)
        return self._devices[name]

    def host(self, name: str) -> lan.Host:
        """A machine on a network of the stage's own. Raises RuntimeError where none can be made."""
        if self._lan is None:
            if problem := lan.problem():
                raise RuntimeError(f"this needs a network of its own, and {problem}")
            self._lan = lan.Lan()
        return self._lan.host(name)

    def device_on(self, host: lan.Host) -> Device:
        """A running device that lives on that machine."""
        device = self._devices[host.name] = self._world.device(host.name)
        device.network = host.space.pid
        device.environment["HOLOFS_BIND"] = "0.0.0.0:0"
        device.up()
        return device

    def eye(self, device: Device) -> Eye:
        if device.name not in self._eyes:
            self._eyes[device.name] = Eye(device)
        return self._eyes[device.name]

    def rest(self, device: Device, volume: str, files: int = 0, every_s: float = 0.05) -> None:
        """Wait until the daemon rests: background work would slow the contender that is measured next."""
        eye = self.eye(device)
        last, since = eye.progress(volume), time.monotonic()
        while last[0] < files or any(last[1:]):
            time.sleep(every_s)
            if (now := eye.progress(volume)) != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > _STUCK_S:
                known = ", ".join(f"{value:,} {name}" for name, value in zip(("files", *_WAITING), last, strict=False))
                raise TimeoutError(f"{device.name} makes no progress: {known}; {files:,} files are expected")

    def join(self, device: Device, ticket: str) -> None:
        """However many files come with it."""
        device.ctl("join", "-", stdin=ticket + "\n", timeout=_LONGEST_S)

    # ---- a device that is off for a while
    def put_down(self, device: Device) -> None:
        if device.name in self._eyes:
            self._eyes.pop(device.name).close()
        device.down()

    def begin_up(self, device: Device) -> subprocess.Popen[bytes]:
        """`holofsctl up`, without waiting for it."""
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            ["holofsctl", "up"], env=device.environment, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        )

    def eye_when_up(self, device: Device, limit_s: float = 120.0) -> Eye:
        """Eye on a device as soon as its daemon answers."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                return self.eye(device)
            except CommandError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    # ---- baselines
    def spawn(self, name: str, command: Sequence[str | Path], cwd: Path | None = None) -> subprocess.Popen[bytes]:
        """A process of a baseline: Ctrl-C does not reach it, the end of the stage does."""
        with (self.root / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [str(part) for part in command],
                cwd=cwd or self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self, name: str) -> str:
        """The last of what a baseline said."""
        with contextlib.suppress(OSError):
            return (self.root / f"{name}.log").read_text(errors="replace")[-500:].strip()
        return ""

    # ---- the end
    def check(self) -> tuple[list[str], list[str]]:
        """Findings of `fsck` on each device (every record, every name, every byte of content); where it failed."""
        found, failed = [], []
        for device in self._devices.values():
            try:
                done = device.ctl("fsck", "--content", "--json", check=False, timeout=_LONGEST_S)
            except (subprocess.TimeoutExpired, CommandFailed) as error:
                failed.append(f"fsck on {device.name}: {error}"[:300])
                continue
            if done.out.lstrip().startswith("{"):
                findings = [
                    said["message"] for volume in json.loads(done.out)["volumes"] for said in volume["findings"]
                ]
                found += [f"fsck on {device.name}: {message}" for message in findings]
            else:
                failed.append(f"fsck on {device.name} ended with {done.code}: {done.err[-300:]}")
        return found, failed

    def close(self) -> None:
        for eye in self._eyes.values():
            eye.close()
        self._world.close()
        if self._lan is not None:
            self._lan.close()

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
