# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that fills up, at each stage of what a device does: a clear error, nothing else harmed, and it goes on when
there is room again."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.device import Device, World
from support.disk import MIB, SmallDisk, device_on_small_disk
from support.trees import assert_same_tree, contents
from support.wait import until

pytestmark = pytest.mark.timeout(170)

FULL = 0
ALMOST = 8 * MIB
"""Less than the reserve: our own programs stop, while the index can still grow."""


def errno_of(work: Callable[[], Any]) -> int:
    try:
        work()
    except OSError as error:
        return error.errno or 0
    return 0


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def changes(folder: Path) -> dict[str, Callable[[], Any]]:
    """Operations that need room, by name."""
    return {
        "create": lambda: write(folder / "new", b"x"),
        "write over": lambda: write(folder / "small", b"y" * 3000),
        "write much over": lambda: write(folder / "large", b"y" * MIB),
        "mkdir": lambda: (folder / "newdir").mkdir(),
        "symlink": lambda: (folder / "newlink").symlink_to("small"),
        "hard link": lambda: os.link(folder / "small", folder / "second"),
        "attribute": lambda: os.setxattr(folder / "small", "user.x", b"v" * 1000),
    }


@pytest.fixture
def small(world: World) -> tuple[Device, SmallDisk, Path]:
    """A device on a small disk, with a volume that holds a small file, a large one and a directory."""
    device, disk = device_on_small_disk(world, "a")
    device.up()
    device.create()
    folder = device.mount()
    write(folder / "small", b"s" * 3000)
    write(folder / "large", b"l" * MIB)
    (folder / "dir").mkdir()
    until(device.is_settled, "all of it to be published")
    return device, disk, folder


BEFORE = {"small": b"s" * 3000, "large": b"l" * MIB}


@pytest.mark.parametrize("leave", [ALMOST, FULL], ids=["almost full", "full"])
def test_every_change_says_that_the_disk_is_full_and_changes_nothing(
    small: tuple[Device, SmallDisk, Path], leave: int
) -> None:
    device, disk, folder = small
    disk.fill(leave)
    answers = {name: errno_of(change) for name, change in changes(folder).items()}
    assert set(answers.values()) == {errno.ENOSPC}, answers
    assert contents(folder) == BEFORE
    assert errno_of((folder / "dir").rmdir) in (0, errno.ENOSPC)
    # Everything is as it was after a restart, too; with the disk still full, as after a crash.
    device.kill9_daemon()
    until(lambda: device.ctl("up", check=False).code == 0 or disk.empty(), "the daemon to come up")
    assert contents(folder) == BEFORE
    disk.empty()
    answers = {name: errno_of(change) for name, change in changes(folder).items()}
    assert set(answers.values()) == {0}, answers
    until(device.is_settled, "everything to be published")
    assert (folder / "large").read_bytes() == b"y" * MIB


def test_room_can_be_made_by_removing_files(small: tuple[Device, SmallDisk, Path]) -> None:
    _device, disk, folder = small
    disk.fill(ALMOST)
    (folder / "large").unlink()
    (folder / "small").rename(folder / "renamed")
    (folder / "dir").rmdir()
    assert contents(folder) == {"renamed": b"s" * 3000}


def test_a_large_file_that_does_not_fit_is_refused_and_what_it_would_replace_stays(
    small: tuple[Device, SmallDisk, Path],
) -> None:
    device, disk, folder = small
    disk.fill(48 * MIB)

    def too_much() -> None:
        with (folder / "large.part").open("wb") as file:
            for _ in range(100):
                file.write(b"z" * MIB)
                file.flush()
        os.rename(folder / "large.part", folder / "large")

    assert errno_of(too_much) == errno.ENOSPC
    assert (folder / "large").read_bytes() == BEFORE["large"]
    (folder / "large.part").unlink()
    disk.empty()
    too_much()
    assert (folder / "large").stat().st_size == 100 * MIB
    until(device.is_settled, "it to be published", 60)


def test_what_was_written_through_a_mapping_is_not_lost_when_the_disk_fills_up(
    small: tuple[Device, SmallDisk, Path],
) -> None:
    _device, disk, folder = small
    with (folder / "large").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:5] = b"first"
        mapped.flush()
        disk.fill(FULL)
        mapped[MIB - 4 :] = b"last"
    disk.empty()
    expected = b"first" + BEFORE["large"][5 : MIB - 4] + b"last"
    until(lambda: (folder / "large").read_bytes() == expected, "both changes")


@pytest.mark.parametrize("leave", [ALMOST, FULL], ids=["almost full", "full"])
def test_hashing_and_publishing_wait_for_room(world: World, leave: int) -> None:
    """The disk fills up right after the files were closed: what was accepted arrives, at last when there is room."""
    device, disk = device_on_small_disk(world, "a")
    other = world.device("b")
    for each in (device, other):
        each.up()
    device.create()
    other.join(device.share())
    here, there = device.mount(), other.mount()
    for number in range(20):
        write(here / f"large{number}", bytes([number]) * 400_000)
        write(here / f"small{number}", bytes([number]) * 2_000)
    disk.fill(leave)
    expected = contents(here)
    assert len(expected) == 40
    device.ctl("status")
    disk.empty()
    until(lambda: contents(there) == expected, "all of it to reach the other device", 60)
    assert contents(here) == expected
    until(device.is_settled, "everything to be published")


class Receiver:
    """A device on a small disk, with a volume that another one shares with it alone."""

    def __init__(self, world: World, other: Device, name: str, leave: int) -> None:
        self.device, self.disk = device_on_small_disk(world, name)
        self.device.up()
        self.volume = f"docs-{name}"
        other.create(self.volume)
        self.device.join(other.share(self.volume))
        self.there, self.here = other.mount(self.volume), self.device.mount(self.volume)
        write(self.there / "before", b"before")
        until(lambda: contents(self.here) == {"before": b"before"}, "the first file")
        self.disk.fill(leave)

    def agrees(self) -> bool:
        assert_same_tree(self.here, self.there)
        return self.device.is_settled(self.volume)


def test_what_others_write_waits_for_room_and_harms_nothing(world: World) -> None:
    """Records and content arrive at devices whose disks are full and almost full. They wait at the same time, because
    they look for room every half a minute only."""
    other = world.device("a")
    other.up()
    receivers = [Receiver(world, other, name, leave) for name, leave in (("b", ALMOST), ("c", FULL))]
    for receiver in receivers:
        for number in range(30):
            write(receiver.there / f"large{number}", bytes([number]) * 300_000)
            write(receiver.there / f"small{number}", bytes([number]) * 3_000)
        assert (receiver.here / "before").read_bytes() == b"before"
    for receiver in receivers:
        until(lambda: _says_full(receiver.device), "status to say why it waits", 60)  # noqa: B023
    other.kill9_daemon()
    other.up()
    for receiver in receivers:
        receiver.disk.empty()
    for receiver in receivers:
        until(receiver.agrees, "both to agree when there is room", 90)
        assert len(contents(receiver.here)) == 61


def _says_full(device: Device) -> bool:
    return "disk" in device.ctl("status").out.lower()


def test_a_volume_is_made_and_joined_when_there_is_room(world: World) -> None:
    other, (device, disk) = world.device("a"), device_on_small_disk(world, "b", 128 * MIB)
    for each in (other, device):
        each.up()
    other.create()
    ticket = other.share()
    disk.fill(FULL)
    for command, stdin in ((("create", "mine"), ""), (("join", "-"), ticket + "\n")):
        refused = device.ctl(*command, stdin=stdin, check=False)
        assert refused.code != 0
        assert "disk" in refused.err.lower(), refused.err
        assert len(refused.err.strip().splitlines()) == 1
    disk.empty()
    device.create("mine")
    if not any(volume["name"] == "docs" for volume in device.json("list")):
        device.join(ticket)
    here, there = device.mount("docs"), other.mount("docs")
    write(there / "f", b"f")
    until(lambda: contents(here) == {"f": b"f"}, "the joined volume to fill")


def test_a_device_that_starts_on_a_full_disk_says_so_or_serves(small: tuple[Device, SmallDisk, Path]) -> None:
    device, disk, folder = small
    device.down()
    disk.fill(FULL)
    started = device.ctl("up", check=False)
    if started.code:
        assert "disk" in started.err.lower() or "space" in started.err.lower(), started.err
        assert len(started.err.strip().splitlines()) == 1
    disk.empty()
    device.up()
    until(lambda: contents(folder) == BEFORE, "the mount to come back")


# ---- history makes room
def history(device: Device) -> dict[str, int]:
    found: dict[str, int] = device.volume_status()["history"]
    return found


def test_versions_never_fill_the_disk(small: tuple[Device, SmallDisk, Path]) -> None:
    """Twice what the disk holds is written over one file and through it; no write is refused."""
    device, disk, folder = small
    for number in range(100):
        write(folder / "large", bytes([number]) * 5 * MIB)
        if number % 10 == 0:
            (folder / "small").write_bytes(bytes([number]) * 3000)
    assert (folder / "large").read_bytes() == bytes([99]) * 5 * MIB
    until(device.is_settled, "it to be published", 60)
    until(lambda: disk.free > 128 * MIB, "what history had to be gone from the disk")
    until(lambda: history(device)["bytes"] <= disk.size // 10, "history to be within its budget")


def test_history_and_trash_go_before_a_write_is_refused(small: tuple[Device, SmallDisk, Path]) -> None:
    """All that the disk has left is taken by others; what history has is enough for what is written."""
    device, disk, folder = small
    device.ctl("history-policy", "docs", "--max", "1G")
    for number in range(8):
        write(folder / "large", bytes([number]) * 8 * MIB)
        # A version is made when the kernel has let go of the file, which is after close.
        until(lambda: history(device)["bytes"] >= number * 8 * MIB + MIB, "a version of it to be made")  # noqa: B023
        until(device.is_settled, "it to be published", 60)
    for number in range(4):
        write(folder / f"gone{number}", bytes([100 + number]) * 8 * MIB)
    until(device.is_settled, "them to be published", 60)
    for number in range(4):
        (folder / f"gone{number}").unlink()
    until(lambda: history(device)["trash_bytes"] == 32 * MIB, "the trash to be counted")
    until(lambda: history(device)["bytes"] >= 56 * MIB, "history to be counted")
    disk.fill(ALMOST)
    assert set(answers := {name: errno_of(change) for name, change in changes(folder).items()}.values()) == {0}, answers
    write(folder / "more", b"m" * 24 * MIB)
    assert (folder / "more").read_bytes() == b"m" * 24 * MIB
    assert (folder / "large").read_bytes() == b"y" * MIB
    until(device.is_settled, "it to be published", 60)


def test_a_full_disk_as_no_space_with_what_would_make_room(small: tuple[Device, SmallDisk, Path]) -> None:
    device, disk, folder = small
    write(folder / "small", b"new" * 100)
    write(folder / "gone", b"g" * 3000)
    until(device.is_settled, "both to be published")
    (folder / "gone").unlink()
    until(lambda: history(device)["trash_bytes"] == 3000, "the trash to be counted")
    assert not device.status()["space"]["refused"]
    assert device.ctl("doctor", check=False).out.count("Writing is refused") == 0
    disk.fill(ALMOST)
    assert errno_of(lambda: write(folder / "new", b"x")) == errno.ENOSPC
    space = device.status()["space"]
    assert space["refused"]
    assert space["free_bytes"] < space["reserve_bytes"] < space["total_bytes"]
    first = space["refused_since_ms"]
    assert 0 < first <= device.status()["space"]["refused_since_ms"]
    assert device.status()["space"]["refused_since_ms"] == first
    for told in (device.ctl("status").out, device.ctl("doctor", check=False).out):
        assert "Writing is refused (since " in told
        assert "holofsctl trash empty docs" in told
        assert "holofsctl history-policy docs" in told
        assert "will soon be refused" not in told
    doctor = device.ctl("doctor", check=False)
    assert doctor.code == 1
    assert doctor.out.count("PROBLEM") == 1, "one fact, one line"
    disk.empty()
    until(lambda: not device.status()["space"]["refused"], "room to be noticed")
    assert "Writing is refused" not in device.ctl("status").out


def test_down_ends_and_up_answers_on_a_full_disk_with_a_mount(world: World) -> None:
    device, disk = device_on_small_disk(world, "a", 40 * MIB)
    device.up()
    device.create()
    folder = device.mount()
    disk.fill(FULL)
    device.down()
    until(lambda: not device.pids(), "the daemon to have ended, and the mount")
    assert not os.path.ismount(folder)
    answer = device.ctl("up", check=False, timeout=60)
    assert answer.code == 1
    assert "full" in answer.err
    device.down()
    until(lambda: not device.pids(), "the daemon to have ended")
    disk.empty()
    device.up()
    until(lambda: device.status()["mounts"][0]["state"] == "up", "the mount to come back")


def test_a_name_that_could_not_be_written_down_is_not_in_use(small: tuple[Device, SmallDisk, Path]) -> None:
    device, disk, _folder = small
    disk.fill(FULL)
    refused = device.ctl("device", "name", "beta", check=False)
    assert (refused.code, "nothing was changed" in refused.err) == (1, True)
    assert device.ctl("device", "name").out.strip() == device.status()["device_name"] == "a"
    disk.empty()
    device.ctl("device", "name", "beta")
    assert device.status()["device_name"] == "beta"
