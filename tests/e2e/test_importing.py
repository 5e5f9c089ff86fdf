# SPDX-License-Identifier: GPL-3.0-or-later
"""`holofsctl import` and `export` with real daemons: a tree that goes in and out again, moves, kills, and two devices
that have it both."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.device import Device, World
from support.trees import assert_same_tree, contents, snapshot
from support.wait import until

TIME_NS = 1_400_000_000_987_654_321
LARGE = os.urandom(300_000)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(limit_s=150) as made:
        yield made


@pytest.fixture(scope="module")
def device(world: World) -> Device:
    """One device with a volume for all tests that need no other."""
    (made,) = world.running("a")
    made.create()
    made.mount(path=made.home / "docs")
    return made


def library(root: Path) -> Path:
    """A tree with everything that a volume keeps."""
    deep = root / "albums" / "2026 \N{SNOWMAN}"
    deep.mkdir(parents=True)
    (deep / "large").write_bytes(LARGE)
    (deep / "small").write_bytes(b"small" * 1000)
    (deep / "tiny").write_bytes(b"x")
    (root / "empty").touch()
    (root / os.fsdecode(b"not utf-8 \xff")).write_bytes(b"bytes")
    (root / "nothing in it").mkdir()
    os.link(deep / "large", root / "another name")
    os.symlink("albums/nowhere", root / "link")
    os.setxattr(deep / "small", "user.note", b"kept")
    with (root / "sparse").open("wb") as file:
        file.truncate(3 << 20)
    (deep / "tiny").chmod(0o751)
    deep.chmod(0o711)
    for path in [*root.rglob("*")]:
        os.utime(path, ns=(TIME_NS, TIME_NS), follow_symlinks=False)
    return root


def times(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): os.lstat(path).st_mtime_ns for path in root.rglob("*")}


def _is_the_same(source: Path, mounted: Path) -> bool:
    assert_same_tree(source, mounted, xattrs=True)
    return times(mounted) == times(source)


def stored(device: Device) -> dict[str, int]:
    """Inode numbers of the content files of a device, by hash."""
    return {path.name: path.stat().st_ino for path in device.state.glob("volumes/*/content/*/*")}


def test_a_tree_goes_in_and_out_and_a_second_run_does_nothing(device: Device) -> None:
    source, mounted = library(device.home / "source"), device.home / "docs" / "lib"
    done = device.json("import", source, "docs:lib", "--verify")
    assert (done["files"], done["folders"], done["symlinks"], done["links"]) == (6, 4, 1, 1)
    assert (done["problem_count"], done["removed"], done["verified"]) == (0, 0, 7)
    until(lambda: _is_the_same(source, mounted), "the mount to show what was imported")
    assert (mounted / "another name").stat().st_nlink == 2

    again = device.json("import", source, "docs:lib")
    assert (again["files"], again["folders"], again["same"], again["problem_count"]) == (0, 0, 8, 0)

    out = device.home / "out"
    done = device.json("export", "docs:lib", out)
    assert (done["files"], done["links"], done["problem_count"]) == (6, 1, 0)
    assert_same_tree(source, out, xattrs=True)
    assert times(out) == times(source)
    assert device.json("export", mounted, out, "--verify")["same"] == 8 + 3


def test_what_cannot_come_in_is_named_and_the_rest_is_imported(device: Device) -> None:
    source, mounted = device.home / "odd", device.home / "docs" / "odd"
    source.mkdir()
    mounted.mkdir()
    for name in ("changed", "new"):
        (source / name).write_bytes(b"of the source")
    (mounted / "changed").write_bytes(b"of the volume")
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(source / "socket"))
    done = device.ctl("import", source, mounted, "--move", check=False)
    assert done.code == 1
    told = done.err.splitlines()
    assert [line.rpartition("/")[2].partition(",")[0] for line in told[:3]] == [
        "changed: it is not imported",
        "pipe: it is a pipe",
        "socket: it is a socket",
    ]
    wanted = {"changed": b"of the volume", "new": b"of the source"}
    until(lambda: contents(mounted) == wanted, "the mount to show what was imported")
    assert sorted(path.name for path in source.iterdir()) == ["changed", "pipe", "socket"]


def test_a_folder_of_a_volume_or_of_the_device_itself_is_refused(device: Device) -> None:
    (device.home / "file").touch()
    (device.home / "docs" / "inside").mkdir()
    for folder in ("docs", "docs/inside", "state/volumes", "file", "nothing"):
        done = device.ctl("import", device.home / folder, "docs:new", check=False)
        assert (done.code, done.out) == (2, ""), folder
    assert not (device.home / "docs" / "new").exists()
    assert device.ctl("export", "docs", device.home / "docs" / "inside", check=False).code == 2
    long = device.ctl("import", device.home / "source", "docs:" + "n" * 300, check=False)
    assert (long.code, long.err.splitlines()[-1].endswith("cannot be made in the volume: say another path.")) == (
        2,
        True,
    )


def test_a_moved_tree_keeps_its_place_on_the_disk_whatever_is_killed(world: World) -> None:
    b = world.device("b")
    b.environment["HOLOFS_FAULTS"] = "importing.committed=kill"
    b.up()
    b.create()
    source = library(b.home / "source")
    before, when = snapshot(source), times(source)
    assert b.ctl("import", source, "docs", "--move", check=False).code == 3
    assert snapshot(source).keys() == before.keys()
    del b.environment["HOLOFS_FAULTS"]
    b.up()
    done = b.json("import", source, "docs", "--move")
    assert (done["problem_count"], done["removed"], [*source.iterdir()]) == (0, 8, [])
    out = b.home / "out"
    b.ctl("export", "docs", out)
    assert snapshot(out) == before
    assert times(out) == when
    other = b.home / "other"
    other.mkdir()
    (other / "sparse").write_bytes(os.urandom(100_000))
    inode = (other / "sparse").stat().st_ino
    assert b.json("import", other, "docs:other", "--move")["moved"] == 1
    assert inode in stored(b).values()
    b.down()


def test_two_devices_that_have_the_same_files_meet_without_conflict_and_without_sending_any(
    world: World, device: Device
) -> None:
    other = world.device("other")
    other.up()
    device.create("both")
    other.join(device.share("both"))
    source = library(world.root / "both")
    other.down()
    device.ctl("import", source, "both")
    device.down()
    other.up()
    (source / "empty").chmod(0o600)
    os.utime(source / "sparse", (1, 1))
    other.ctl("import", source, "both", "--verify")
    before = stored(other), stored(device)
    device.up()
    other.ctl("wait", "both", "--timeout", "30s")
    device.ctl("wait", "both", "--timeout", "30s")
    assert device.json("conflicts", "both") == other.json("conflicts") == []
    assert (stored(other), stored(device)) == before
    here, there = (one.home / "met" for one in (device, other))
    device.ctl("export", "both", here)
    other.ctl("export", "both", there)
    assert_same_tree(here, there)
    assert snapshot(there).keys() == snapshot(source).keys()
