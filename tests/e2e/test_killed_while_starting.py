# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon is killed while it makes a volume or a mount: the next start has nothing left over, and nothing twice."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from support.device import World
from support.wait import until


def test_a_mount_that_was_starting_when_the_daemon_was_killed_is_adopted(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    path = a.home / "mnt"
    path.mkdir()
    asking = threading.Thread(target=lambda: print(a.ctl("mount", "docs", path, check=False)))
    asking.start()
    begun = until(a.mount_pids, "the mount program to start")
    os.kill(begun[0], signal.SIGSTOP)  # on its way, for as long as it takes
    a.kill9_daemon()
    asking.join(60)
    coming_up = threading.Thread(target=a.up)
    coming_up.start()
    until(lambda: a.status()["mounts"], "the daemon to know of the mount")
    os.kill(begun[0], signal.SIGCONT)
    coming_up.join(60)
    until(lambda: a.status()["mounts"][0]["state"] == "up", "the mount to be up")
    path.joinpath("file").write_text("text")
    assert a.mount_pids() == begun
    assert [mount["pid"] for mount in a.status()["mounts"]] == begun


@pytest.mark.parametrize("point", ["mounting.noted", "mounting.started"])
def test_a_daemon_killed_between_two_steps_of_mounting_brings_the_mount_up_once(world: World, point: str) -> None:
    a = world.device("a")
    a.start_daemon(HOLOFS_FAULTS=f"{point}=kill")
    a.create()
    path = a.home / "mnt"
    path.mkdir()
    assert a.ctl("mount", "docs", path, check=False).code != 0
    assert a.ended_within(45)
    begun = a.mount_pids()
    assert len(begun) == (point == "mounting.started")
    a.up()
    path.joinpath("file").write_text("text")
    assert len(a.mount_pids()) == 1
    assert begun in ([], a.mount_pids())
    assert _mounts_at(path) == 1


def _mounts_at(path: Path) -> int:
    return sum(line.split()[1] == str(path) for line in Path("/proc/self/mounts").read_text().splitlines())


def test_the_rest_of_a_volume_is_swept_and_create_works_again(world: World) -> None:
    a = world.device("a")
    a.allowed += [r"never made is swept"]
    a.start_daemon(HOLOFS_FAULTS="creating.made=kill")
    assert a.ctl("create", "docs", check=False).code != 0
    assert a.ended_within(45)
    folder = a.state / "volumes"
    assert len(list(folder.iterdir())) == 1
    a.up()
    assert list(folder.iterdir()) == []
    a.create()
    a.mount().joinpath("file").write_text("text")
    assert [volume["name"] for volume in a.json("list")] == ["docs"]
