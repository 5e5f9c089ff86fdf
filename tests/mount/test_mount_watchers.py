# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that watch a folder of the mount by inotify hear of what arrives from elsewhere; nothing is done twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mount.conftest import MakeMount, only
from mount.harness import FakeDaemon, Mount
from support.inotify import Inotify
from support.wait import until

pytestmark = only("pyfuse3")

CHANGING = {"create", "make_dir", "symlink", "set_attr", "unlink", "remove_dir", "open", "commit", "release"}


@pytest.fixture
def watch(mnt: Path, daemon: FakeDaemon) -> Iterator[Inotify]:
    with Inotify(mnt) as inotify:
        yield inotify
    assert not CHANGING & set(daemon.ask("calls")), "an echo is done nowhere"


def heard(watch: Inotify, *wanted: tuple[str, str]) -> None:
    until(lambda: set(wanted) <= set(watch.events()), f"{wanted} to be heard")


def echo_processes(mount: Mount) -> list[int]:
    children = Path(f"/proc/{mount.process.pid}/task/{mount.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"echo_process.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.parametrize("numbered", [True, False])
def test_a_file_that_arrives_changes_and_goes_is_heard_of(
    watch: Inotify, mnt: Path, daemon: FakeDaemon, numbered: bool
) -> None:
    daemon.remote_write("f", b"one", numbered=numbered)
    heard(watch, ("create", "f"), ("close_write", "f"))
    assert (mnt / "f").read_bytes() == b"one"
    before = (mnt / "f").stat()
    daemon.ask("reset_calls")
    del watch.events()[:]
    daemon.remote_write("f", b"longer", numbered=numbered)
    heard(watch, ("modify", "f"), ("close_write", "f"))
    assert ("create", "f") not in watch.events()
    assert (mnt / "f").read_bytes() == b"longer"
    assert (mnt / "f").stat().st_ino == before.st_ino
    assert (mnt / "f").stat().st_mtime_ns == daemon.ask("mtime_ns", path="f")
    daemon.ask("reset_calls")
    daemon.ask("remote_unlink", path="f")
    heard(watch, ("delete", "f"))
    assert os.listdir(mnt) == []
    assert not (mnt / "f").exists()


def test_what_happens_here_is_heard_once(watch: Inotify, mnt: Path, daemon: FakeDaemon) -> None:
    (mnt / "own").write_bytes(b"x")
    (mnt / "own").unlink()
    daemon.remote_write("last", b"x")
    heard(watch, ("create", "last"))
    assert [event for event in watch.events() if event[1] == "own"] == [
        ("create", "own"),
        ("modify", "own"),
        ("close_write", "own"),
        ("delete", "own"),
    ]
    daemon.ask("reset_calls")


def test_an_echo_process_is_there_when_wanted_and_comes_back_when_killed(own_mount: Mount, daemon: FakeDaemon) -> None:
    daemon.remote_write("unwatched", b"x")
    until(lambda: (own_mount.path / "unwatched").exists(), "the file")
    assert not echo_processes(own_mount)
    daemon.ask("remote_unlink", path="unwatched")
    with Inotify(own_mount.path) as watch:
        daemon.remote_write("a", b"x")
        heard(watch, ("create", "a"))
        (running,) = echo_processes(own_mount)
        os.kill(running, signal.SIGKILL)
        daemon.remote_write("b", b"x")
        heard(watch, ("create", "b"))
        assert sorted(os.listdir(own_mount.path)) == ["a", "b"]


def test_echoes_can_be_switched_off(make_mount: MakeMount, daemon: FakeDaemon) -> None:
    with_echoes, without = make_mount(), make_mount("without", "--watching", "off")
    with Inotify(with_echoes.path) as watch, Inotify(without.path) as unaware:
        daemon.remote_write("a", b"x")
        heard(watch, ("create", "a"))
        until(lambda: (without.path / "a").exists(), "the file")
        assert not echo_processes(without)
        assert ("create", "a") not in unaware.events()
