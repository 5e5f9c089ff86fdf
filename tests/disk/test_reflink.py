# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports and exports on disks that can share blocks (reflink), and on one that cannot: what is cloned, moved and
copied, and how much room that takes.

Btrfs and XFS are made where this machine can: root, loop devices, and their mkfs. The tmpfs is there everywhere.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.device import Device, World
from support.disk import MIB, FormattedDisk, SmallDisk, formats_here
from support.trees import contents

SIZE = 8 * MIB
FORMATS = formats_here("btrfs", "xfs") or ["tmpfs"]
BTRFS = "btrfs" if "btrfs" in FORMATS else "tmpfs"


def made(path: Path, kind: str) -> FormattedDisk | SmallDisk:
    return SmallDisk(path, 256 * MIB) if kind == "tmpfs" else FormattedDisk(path, kind)


def on_disk(world: World, disk: FormattedDisk | SmallDisk) -> Device:
    device = world.device("a")
    device.state = disk.path / "state"
    device.environment["HOLOFS_STATE_DIR"] = str(device.state)
    device.up()
    device.create()
    return device


def files(folder: Path, *names: str) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(os.urandom(SIZE))
    return {name: (folder / name).read_bytes() for name in names}


def transferred(device: Device, *words: str | Path) -> dict[str, int]:
    """Returns how many files were moved, cloned and copied to their place."""
    done = device.json(*words)
    assert done["problem_count"] == 0, done
    return {how: done[how] for how in ("moved", "cloned", "copied") if done[how]}


def room(disk: FormattedDisk | SmallDisk) -> int:
    os.sync()
    return disk.free


@pytest.mark.parametrize("kind", FORMATS)
def test_on_a_disk_that_shares_blocks_nothing_takes_room_twice(world: World, kind: str) -> None:
    disk, mounted = made(world.root / "disk", kind), world.root / "docs"
    device, how = on_disk(world, disk), "copied" if kind == "tmpfs" else "cloned"
    before, moved = files(disk.path / "library", "one", "two"), files(disk.path / "more", "three")
    free = room(disk)
    assert transferred(device, "import", disk.path / "library", "docs", "--verify") == {how: 2}
    assert transferred(device, "export", "docs", disk.path / "out", "--verify") == {how: 2}
    assert transferred(device, "import", disk.path / "more", "docs", "--move") == {"moved": 1}
    taken = free - room(disk)
    assert taken >= 4 * SIZE if how == "copied" else taken < SIZE
    with (disk.path / "library" / "one").open("r+b") as file:
        file.write(b"of the source alone")
    assert contents(disk.path / "out") == before
    device.mount(path=mounted)
    assert contents(mounted) == before | moved, "a clone does not change with the file that it was made of"
    assert contents(disk.path / "more") == {}


def test_what_can_be_neither_linked_nor_cloned_is_copied(world: World) -> None:
    """A file without copy on write has no clone; between subvolumes of Btrfs there are clones, but no hard links."""
    disk = made(world.root / "disk", BTRFS)
    device, across = on_disk(world, disk), "copied" if BTRFS == "tmpfs" else "cloned"
    other, plain = disk.path / "other", disk.path / "plain"
    if BTRFS == "btrfs":
        plain.mkdir()
        for command in (["btrfs", "-q", "subvolume", "create", other], ["chattr", "+C", plain]):
            subprocess.run(command, check=True)
    else:
        SmallDisk(other, 64 * MIB)
    for folder, how in ((other, across), (plain, "copied")):
        before = files(folder, "one", "two")
        assert transferred(device, "import", folder, f"docs:{folder.name}") == {how: 2}
        assert contents(folder) == before
    assert transferred(device, "import", other, "docs:taken", "--move") == {across: 2}
    assert contents(other) == {}
