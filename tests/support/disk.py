# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of a test, below the directory of its world, which the world's end unmounts: a small one that can be filled,
and ones of a format that the machine may be able to make."""

from __future__ import annotations

import os
import shutil
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
        return free_bytes(self.path)

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


class FormattedDisk:
    """A disk of a format like `btrfs`, in a file, mounted at `path`. The loop device goes with the mount."""

    def __init__(self, path: Path, kind: str, size: int = 400 * MIB) -> None:
        self.path = path
        image = path.with_suffix(f".{kind}")
        with image.open("wb") as file:
            file.truncate(size)
        path.mkdir()
        for command in ([f"mkfs.{kind}", "-q", str(image)], ["mount", "-o", "loop", str(image), str(path)]):
            done = subprocess.run(command, capture_output=True, check=False, timeout=60)
            if done.returncode:
                raise DiskFailed(f"{command[0]} failed: {done.stderr.decode().strip()}")

    @property
    def free(self) -> int:
        return free_bytes(self.path)


def formats_here(*kinds: str) -> list[str]:
    """Lists the formats of which this machine can make a disk: as real root, with the kernel's support and mkfs."""
    known = Path("/proc/filesystems").read_text().split()
    is_root = Path("/proc/self/uid_map").read_text().split()[:2] == ["0", "0"] and not os.geteuid()
    can_loop = is_root and os.access("/dev/loop-control", os.W_OK)
    return [kind for kind in kinds if can_loop and kind in known and shutil.which(f"mkfs.{kind}")]


def device_on_small_disk(world: World, name: str, size: int = 256 * MIB) -> tuple[Device, SmallDisk]:
    """A device whose state directory is on a disk of its own."""
    device = world.device(name)
    disk = SmallDisk(device.home / "disk", size)
    device.state = disk.path / "state"
    device.environment["HOLOFS_STATE_DIR"] = str(device.state)
    # What a program says that meets a full disk.
    device.allowed += [r"disk|no-space|NoSpace|ENOSPC|No space left|full"]
    return device, disk


def free_bytes(path: Path) -> int:
    """Returns how much a program may still write to the disk of that path."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
