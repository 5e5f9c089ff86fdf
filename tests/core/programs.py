# SPDX-License-Identifier: GPL-3.0-or-later
"""Random programs for a few devices: what people do to files, while their devices meet now and then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from support.model import Device, meet

NAMES = (b"a", b"b.txt", b"c")
FOLDERS = (b"", b"a/", b"c/", b"a/a/", b"a/c/", b"c/a/")
PATHS = tuple(folder + name for folder in FOLDERS for name in NAMES)
OPERATIONS = (
    *("mkdir", "write", "write", "write", "unlink", "unlink", "rmdir", "rename", "rename", "rename"),
    *("replace", "link", "chmod", "symlink", "meet", "meet"),
)


@dataclass(frozen=True)
class Step:
    device: int
    operation: str
    which: int
    path: bytes
    value: int

    def run(self, devices: Sequence[Device], unique: bool = False) -> None:
        """Run the program. With `unique` no content is ever written twice."""
        device = devices[self.device % len(devices)]
        if self.operation == "meet":
            meet(device, devices[self.value % len(devices)])
            return
        shown = sorted(device.tree())
        old = shown[self.which % len(shown)] if shown else self.path
        data = b"%s %d" % (device.author, len(device.log)) if unique else b"content %d" % (self.value % 2)
        match self.operation:
            case "mkdir":
                device.mkdir(self.path)
            case "write":
                device.write(self.path if self.which % 3 == 0 else old, data)
            case "unlink" | "rmdir":
                getattr(device, self.operation)(old)
            case "rename" | "link":
                getattr(device, self.operation)(old, self.path)
            case "replace":
                device.replace(old, self.path if self.which % 2 else shown[self.value % len(shown)] if shown else old)
            case "chmod":
                device.chmod(old, 0o600 + self.value % 8)
            case "symlink":
                device.symlink(self.path, data)


STEPS = st.builds(
    Step,
    device=st.integers(0, 2),
    operation=st.sampled_from(OPERATIONS),
    which=st.integers(0, 30),
    path=st.sampled_from(PATHS),
    value=st.integers(0, 30),
)
PROGRAMS = st.lists(STEPS, min_size=12, max_size=30)


def start(skews: Sequence[int] = (0, 5_000, -3_600_000)) -> list[Device]:
    """Three devices with clocks that differ, which share a few files and folders to disagree about."""
    devices = [Device(name, skew) for name, skew in zip(("ada", "ben", "cyd"), skews, strict=True)]
    for folder in (b"a", b"c", b"a/a"):
        devices[0].mkdir(folder)
    for path in (b"b.txt", b"a/b.txt", b"a/a/c"):
        devices[0].write(path, b"first " + path)
    meet(*devices)
    return devices


def run(program: Sequence[Step]) -> list[Device]:
    devices = start()
    for step in program:
        step.run(devices)
    return devices
