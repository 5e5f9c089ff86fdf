# SPDX-License-Identifier: GPL-3.0-or-later
"""Random programs about directories of few names: made, moved over each other, removed and made again, apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from holofsd.core.state import Kind
from support.model import Device, meet
from tests.tree.programs import remove_tree

NAMES = (b"a", b"b", b"c")
OPERATIONS = (
    *("mkdir", "mkdir", "mkdir", "move", "move", "move", "over", "again", "again", "rmtree", "rmdir", "write", "write"),
    *("link", "chmod", "unlink", "meet"),
)


@dataclass(frozen=True)
class Folding:
    device: int
    operation: str
    a: int
    b: int

    def run(self, devices: Sequence[Device]) -> None:
        device = devices[self.device % len(devices)]
        tree = device.tree()
        folders = [b"", *sorted(path for path, shown in tree.items() if shown.kind is Kind.DIRECTORY)]
        files = sorted(path for path, shown in tree.items() if shown.kind is Kind.FILE)
        folder, other = folders[self.a % len(folders)], folders[self.b % len(folders)]
        new = (other + b"/" + NAMES[self.a % len(NAMES)]).lstrip(b"/")
        if self.operation == "meet":
            meet(device, devices[self.a % len(devices)])
        elif self.operation == "mkdir":
            device.mkdir(new)
        elif self.operation == "write":
            device.write((other + b"/" + (b"x", b"y")[self.a % 2]).lstrip(b"/"), b"%d" % (self.b % 3))
        elif self.operation == "link" and files:
            device.link(files[self.a % len(files)], (other + b"/z").lstrip(b"/"))
        elif self.operation == "unlink" and files:
            device.unlink(files[self.a % len(files)])
        elif folder:
            self._act(device, folder, new)

    def _act(self, device: Device, folder: bytes, new: bytes) -> None:
        match self.operation:
            case "move":
                device.rename(folder, new)
            case "over":
                device.rmdir(new)
                device.rename(folder, new)
            case "again":
                remove_tree(device, folder)
                device.mkdir(folder)
                device.write(folder + b"/x", b"again")
            case "rmtree":
                remove_tree(device, folder)
            case "rmdir":
                device.rmdir(folder)
            case "chmod":
                device.chmod(folder, 0o700 + self.b % 0o100)


FOLDINGS = st.lists(
    st.builds(
        Folding,
        device=st.integers(0, 2),
        operation=st.sampled_from(OPERATIONS),
        a=st.integers(0, 30),
        b=st.integers(0, 30),
    ),
    min_size=10,
    max_size=40,
)


def fold(program: Sequence[Folding]) -> list[Device]:
    devices = [Device("ada"), Device("ben", 7_000), Device("cyd", -3_600_000)]
    devices[0].mkdir(b"a")
    devices[0].mkdir(b"a/b")
    devices[0].write(b"a/b/x", b"first")
    meet(*devices)
    for step in program:
        step.run(devices)
    return devices
