# SPDX-License-Identifier: GPL-3.0-or-later
"""A mount that is killed while it tells the kernel of news lets go of every program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mount.conftest import MakeMount, only
from mount.harness import FakeDaemon, Mount
from support.processes import is_alive, kill
from support.wait import until

_CREATE = "import os, sys; os.mkdir(sys.argv[1])"


def waits_for_the_kernel(pid: int) -> bool:
    """Whether a thread of the process is in a call that no signal ends."""
    states = [path.read_text().rsplit(")", 1)[1].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return "D" in states


@only("pyfuse3")
def test_a_program_in_a_folder_with_news_is_let_go_when_the_mount_is_killed(
    daemon: FakeDaemon, own_mount: Mount
) -> None:
    daemon.remote_write("known", b"1")
    assert os.listdir(own_mount.path) == ["known"]
    (own_mount.path / "known").stat()
    daemon.ask("hold", call="make_dir")
    program = subprocess.Popen([sys.executable, "-c", _CREATE, str(own_mount.path / "mine")], stderr=subprocess.DEVNULL)
    until(lambda: daemon.ask("calls").get("make_dir"), "the program's call to be on its way")
    daemon.ask("remote_unlink", path="known")
    until(lambda: waits_for_the_kernel(own_mount.process.pid), "news to wait for the program's call")
    kill([own_mount.process.pid])
    assert program.wait(60) != 0, "its folder is not made"
    assert own_mount.process.wait(60) == -9, "nothing of the mount is left"


@only("pyfuse3")
def test_news_of_a_folder_in_use_arrive_when_the_use_is_over(daemon: FakeDaemon, make_mount: MakeMount) -> None:
    mount = make_mount()
    (mount.path / "known").write_bytes(b"1")
    daemon.ask("hold", call="make_dir")
    program = subprocess.Popen([sys.executable, "-c", _CREATE, str(mount.path / "mine")])
    until(lambda: daemon.ask("calls").get("make_dir"), "the program's call to be on its way")
    daemon.ask("remote_unlink", path="known")
    until(lambda: waits_for_the_kernel(mount.process.pid), "news to wait for the program's call")
    daemon.ask("hold", call="")
    assert program.wait(60) == 0
    until(lambda: set(os.listdir(mount.path)) == {"mine"}, "both to be seen")
    assert not is_alive(program.pid)
