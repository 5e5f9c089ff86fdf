# SPDX-License-Identifier: GPL-3.0-or-later
"""Random programs for a few devices: what people do to files, while their devices meet now and then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.support.model import Device, meet

NAMES = (b"a", b"b.txt", b"c")
FOLDERS = (b"", b"a/", b"c/", b"a/a/", b"a/c/", b"c/a/")
PATHS = tuple(folder + name for folder in FOLDERS for name in NAMES)
OPERATIONS = ("mkdir", "write", "write", "unlink", "rmdir", "rename", "rename", "replace", "link", "chmod", "symlink")


@dataclass(frozen=True)
class Step:
    device: int
    operation: str
    which: int
    path: bytes
    value: int

    def run(self, devices: Sequence[Device], unique: bool = False) -> None:
        """With `unique` no content is ever written twice."""
        device = devices[self.device % len(devices)]
        if self.operation == "meet":
            meet(device, devices[self.value % len(devices)])
            return
        shown = sorted(device.tree())
        old = shown[self.which % len(shown)] if shown else self.path
        data = b"%s %d" % (device.author, len(device.log)) if unique else b"content %d" % (self.value % 4)
        match self.operation:
            case "mkdir":
                device.mkdir(self.path)
            case "write":
                device.write(self.path if self.which % 2 else old, data)
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
    operation=st.sampled_from((*OPERATIONS, "meet", "meet")),
    which=st.integers(0, 30),
    path=st.sampled_from(PATHS),
    value=st.integers(0, 30),
)
PROGRAMS = st.lists(STEPS, max_size=25)


def run(program: Sequence[Step], skews: Sequence[int] = (0, 5_000, -3_600_000)) -> list[Device]:
    devices = [Device(name, skew) for name, skew in zip(("ada", "ben", "cyd"), skews, strict=True)]
    for step in program:
        step.run(devices)
    return devices
