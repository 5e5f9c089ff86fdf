# SPDX-License-Identifier: GPL-3.0-or-later
"""New files that the daemon hears of only when they are closed: nobody can tell, and what is closed is there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.write_behind.creates import InodeLease
from mount.conftest import MakeMount, only
from mount.harness import FakeDaemon, Mount
from support.wait import until


def test_a_file_is_there_for_everybody_when_close_returns(daemon: FakeDaemon, mnt: Path) -> None:
    os.listdir(mnt)
    for size in (0, 5, 5_000, 60_000):
        (mnt / f"file {size}").write_bytes(b"x" * size)
        assert daemon.content(f"file {size}") == b"x" * size


def test_what_is_set_before_it_is_closed_is_not_lost(daemon: FakeDaemon, mnt: Path) -> None:
    os.listdir(mnt)
    fd = os.open(mnt / "file", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(fd, b"content")
    os.ftruncate(fd, 4)
    os.fchmod(fd, 0o640)
    os.utime(fd, ns=(1_500_000_000_000_000_000, 1_500_000_000_123_456_789))
    os.close(fd)
    found = (mnt / "file").stat()
    assert (found.st_mode & 0o777, found.st_mtime_ns, found.st_size) == (0o640, 1_500_000_000_123_456_789, 4)
    assert daemon.content("file") == b"cont"
    assert daemon.ask("mtime_ns", path="file") == 1_500_000_000_123_456_789


def test_a_time_that_is_set_while_the_daemon_hears_of_the_file_is_not_lost(daemon: FakeDaemon, mnt: Path) -> None:
    os.listdir(mnt)
    daemon.ask("reset_calls")
    daemon.ask("hold", call="create")
    fd = os.open(mnt / "file", os.O_WRONLY | os.O_CREAT)
    until(lambda: daemon.ask("calls").get("create"), "the daemon to be told of a file that stays open")
    os.utime(fd, ns=(1_500_000_000_000_000_000, 1_500_000_000_123_456_789))
    daemon.ask("hold", call="")
    os.fsync(fd)  # waits until the daemon knows the file
    os.close(fd)
    assert daemon.ask("mtime_ns", path="file") == 1_500_000_000_123_456_789
    assert (mnt / "file").stat().st_mtime_ns == 1_500_000_000_123_456_789


def test_a_file_that_is_made_elsewhere_at_the_same_moment_stands_beside(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "before").write_bytes(b"")
    os.listdir(mnt)
    daemon.ask("hold_news", held=True)
    try:
        daemon.remote_write("file", b"theirs")
        (mnt / "file").write_bytes(b"mine")
    finally:
        daemon.ask("hold_news", held=False)
    until(lambda: len(os.listdir(mnt)) == 3, "both to be seen")
    assert {(mnt / name).read_bytes() for name in os.listdir(mnt)} == {b"", b"mine", b"theirs"}


@pytest.mark.parametrize("size", [0, 7])
def test_a_daemon_that_dies_before_it_answers_has_made_it_once(daemon: FakeDaemon, mnt: Path, size: int) -> None:
    os.listdir(mnt)
    daemon.ask("drop_reply", call="create")
    (mnt / "file").write_bytes(b"x" * size)
    assert (daemon.ask("names"), daemon.content("file")) == (["file"], b"x" * size)
    (mnt / "file").unlink()
    until(lambda: daemon.ask("names") == [], "it goes")


def test_a_daemon_that_dies_with_a_file_that_was_only_begun_loses_nothing(daemon: FakeDaemon, mnt: Path) -> None:
    os.listdir(mnt)
    with open(mnt / "file", "wb", buffering=0) as file:
        file.write(b"begun, ")
        daemon.restart()
        file.write(b"and ended")
    assert daemon.content("file") == b"begun, and ended"


def test_a_file_that_the_daemon_refuses_says_so_at_close_and_is_gone(daemon: FakeDaemon, mnt: Path) -> None:
    os.listdir(mnt)
    daemon.ask("hold_news", held=True)
    try:
        daemon.ask("become_reader")
        fd = os.open(mnt / "file", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"x")
        with pytest.raises(OSError) as refused:
            os.close(fd)
    finally:
        daemon.ask("hold_news", held=False)
    assert refused.value.errno == errno.EROFS
    until(lambda: os.listdir(mnt) == [], "the name to go")
    assert not (mnt / "file").exists()


@only("pyfuse3")
def test_exclusive_means_exclusive_among_all_mounts(daemon: FakeDaemon, make_mount: MakeMount) -> None:
    one: Mount = make_mount("one")
    os.listdir(one.path)
    daemon.ask("reset_calls")
    with open(one.path / "alone", "x"):
        pass
    two = make_mount("two")
    until(lambda: "alone" in os.listdir(two.path), "two to see it")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    fd = os.open(one.path / "lock", flags)
    with pytest.raises(FileExistsError):
        os.open(two.path / "lock", flags)
    os.close(fd)


def test_a_file_that_outgrows_memory_before_it_is_known(daemon: FakeDaemon, mnt: Path) -> None:
    os.listdir(mnt)
    (mnt / "large").write_bytes(b"large" * 100_000)
    assert daemon.content("large") == b"large" * 100_000


def test_more_numbers_are_asked_for_at_half_and_by_who_never_had_any() -> None:
    lease = InodeLease()
    assert lease.asks_for_more(), "this device was a reader when the mount attached"
    assert not lease.asks_for_more(), "once until they come"
    lease = InodeLease()
    lease.renew(pb.Lease(first=100, count=10))
    taken = []
    while not lease.asks_for_more():
        taken.append(lease.take())
    assert taken == [100, 101, 102, 103, 104]


def test_numbers_do_not_run_out(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "d").mkdir()
    for number in range(700):
        (mnt / "d" / str(number)).write_bytes(b"")
    assert len({path.stat().st_ino for path in (mnt / "d").iterdir()}) == 700
    assert len(daemon.ask("names")) == 701
