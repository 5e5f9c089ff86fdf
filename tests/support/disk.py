# SPDX-License-Identifier: GPL-3.0-or-later
"""A small disk that a test can fill: a tmpfs below the directory of its world, which the world's end unmounts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from support.device import Device, World

MIB = 1 << 20


class DiskFailed(AssertionError):
    pass


class SmallDisk:
    """Mounted at `path`, of `size` bytes. `fill` and `empty` are what other programs on this machine do to it."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self._ballast = path / "somebody-elses-file"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "small-disk", str(path)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=30)
        if done.returncode:
            raise DiskFailed(f"this test mounts a small disk, which needs root: {done.stderr.decode().strip()}")

    @property
    def free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Fill the disk until `leave` bytes are free."""
        with self._ballast.open("ab") as file:
            while (more := self.free - leave) > 0:
                try:
                    file.write(bytes(min(more, MIB)))
                    file.flush()
                except OSError:  # somebody else was quicker
                    break

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)


def device_on_small_disk(world: World, name: str, size: int = 256 * MIB) -> tuple[Device, SmallDisk]:
    """A device whose state directory is on a disk of its own."""
    device = world.device(name)
    disk = SmallDisk(device.home / "disk", size)
    device.state = disk.path / "state"
    device.environment["HOLOFS_STATE_DIR"] = str(device.state)
    # What a program says that meets a full disk.
    device.allowed += [r"disk|no-space|NoSpace|ENOSPC|No space left|full"]
    return device, disk
