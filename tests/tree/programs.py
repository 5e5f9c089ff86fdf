# SPDX-License-Identifier: GPL-3.0-or-later
"""Random programs that seek trouble: directories moved into each other, removed under somebody's feet, conflicts,
in `.git` too, names cut for their length, and names that nobody can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from holofsd.core import edit
from holofsd.core.ids import ROOT_ID, NodeId
from holofsd.core.state import Inline, Kind, Marker, Place
from support.model import Device, meet

LONG = b"l" * 251
FILES = (b"x", b"y.txt", LONG + b"1", LONG + b"2")
OPERATIONS = (
    *("move", "move", "move", "move", "rmdir", "rmtree", "write", "write", "link", "unlink", "mkdir", "rename"),
    *("git", "ungit", "bad", "claim", "meet"),
)


@dataclass(frozen=True)
class Trouble:
    device: int
    operation: str
    a: int
    b: int

    def run(self, devices: Sequence[Device]) -> None:
        device = devices[self.device % len(devices)]
        tree = device.tree()
        folders = sorted(path for path, shown in tree.items() if shown.kind is Kind.DIRECTORY)
        files = sorted(path for path, shown in tree.items() if shown.kind is Kind.FILE)
        if self.operation == "meet":
            meet(device, devices[self.a % len(devices)])
        elif not folders or not files:
            device.mkdir(b"again")
            device.write(b"again/x", b"again")
        else:
            folder, other = folders[self.a % len(folders)], folders[self.b % len(folders)]
            file = files[self.a % len(files)]
            self._act(device, folder, other, file, (other + b"/" + FILES[self.a % len(FILES)]))

    def _act(self, device: Device, folder: bytes, other: bytes, file: bytes, new: bytes) -> None:
        name = folder.rpartition(b"/")[2]
        match self.operation:
            case "move":
                device.rename(folder, other + b"/" + name)
            case "git":
                device.rename(folder, folder.rpartition(b"/")[0] + b"/.git" if b"/" in folder else b".git")
            case "ungit":
                device.rename(folder, (other + b"/plain").lstrip(b"/"))
            case "rename":
                device.rename(file, new)
            case "rmdir":
                device.rmdir(folder)
            case "rmtree":
                remove_tree(device, folder)
            case "write":
                device.write(file if self.b % 3 else new, b"%s %d" % (device.name.encode(), device.dots % 5))
            case "link":
                device.link(file, new)
            case "unlink":
                device.unlink(file)
            case "mkdir":
                device.mkdir(other + b"/" + name)
            case "bad":
                _make(device, NodeId(b"b" * 16), (b"..", b"a/b", b"")[self.b % 3], self.a)
            case "claim":
                _claim(device, file, self.b)


TROUBLE = st.builds(
    Trouble,
    device=st.integers(0, 2),
    operation=st.sampled_from(OPERATIONS),
    a=st.integers(0, 30),
    b=st.integers(0, 30),
)
TROUBLES = st.lists(TROUBLE, min_size=10, max_size=40)


def cause(program: Sequence[Trouble]) -> list[Device]:
    devices = [Device("ada"), Device("ben", 7_000), Device("cyd", -3_600_000)]
    for folder in (b"p", b"q", b"r", b"p/s", b"q/t", b"r/.git"):
        devices[0].mkdir(folder)
    for path in (b"x", b"p/x", b"q/t/y.txt", b"r/.git/x", b"p/s/" + FILES[2]):
        devices[0].write(path, b"first " + path)
    meet(*devices)
    for step in program:
        step.run(devices)
    return devices


def remove_tree(device: Device, folder: bytes) -> None:
    below = sorted((p for p in device.tree() if p.startswith(folder + b"/")), reverse=True)
    for path in (*below, folder):
        device.unlink(path)
        device.rmdir(path)


def _make(device: Device, parent: NodeId, name: bytes, which: int) -> None:
    """Make what no honest device writes: a name that cannot be, or a parent that nobody knows."""
    version = device.version(Marker() if which % 2 else Inline(b"bad"))
    node = edit.split_id(NodeId(b"random-for-tests"), version.dot)
    kind = Kind.DIRECTORY if which % 2 else Kind.FILE
    place = Place(ROOT_ID if which % 3 else parent, name)
    device.put(edit.new_node(node, kind, 0, place, edit.link_id(node), version, 0o644, version.stamp))


def _claim(device: Device, file: bytes, which: int) -> None:
    """A real file at the very name that a conflict copy has, or a directory where a file is."""
    folder, _, name = file.rpartition(b"/")
    if which % 2 and b"conflict" in name:
        shown = device.tree()[file]
        version = device.version(Inline(b"claimed"))
        node = edit.split_id(NodeId(b"random-for-tests"), version.dot)
        place = Place(shown.placement.place.parent, name)
        device.put(edit.new_node(node, Kind.FILE, 0, place, edit.link_id(node), version, 0o644, version.stamp))
    else:
        device.rename(file, folder + b"/s" if folder else b"s")
