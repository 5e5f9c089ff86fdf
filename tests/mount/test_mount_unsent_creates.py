# SPDX-License-Identifier: GPL-3.0-or-later
"""New files that the daemon hears of only when they are closed: nobody can tell, and what is closed is there."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.content import BufferedBody
from holofs_mount.core.openfile import Handle, OpenFile, Registration
from holofs_mount.write_behind.creates import Existence, InodeLease, UnsentCreates
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


class Daemon:
    """Answers when it is told to, and hears which guesses are over."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answers: list[asyncio.Future[Any]] = []
        self.guesses: list[int] = []

    def begin(self, name: str, request: Message) -> Awaitable[Any]:
        self.asked.append(request)
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]

    def in_background(self, work: Awaitable[None]) -> None:
        self.task = asyncio.ensure_future(work)

    async def patiently(self, waited: asyncio.Future[None]) -> None:
        await waited

    def attr_was_guess(self, ino: int) -> None:
        self.guesses.append(ino)


def _made(creates: UnsentCreates) -> OpenFile:
    """A new file of the mount alone, open under handle 1."""
    file = OpenFile(7, BufferedBody(stored=0), pb.Attr(ino=7), b"")
    file.handles[1] = Handle(1, file, True, False, 0, registration=Registration.UNREGISTERED)
    creates.add(file, pb.CreateRequest(parent=1, name=b"new"))
    return file


async def test_a_new_file_is_local_until_it_is_sent_and_known_when_the_daemon_has_it() -> None:
    daemon = Daemon()
    creates = UnsentCreates(daemon, InodeLease(), daemon)
    file = _made(creates)
    assert (file.existence, file.dirty, len(creates)) == (Existence.LOCAL, True, 1)
    assert creates.set_mode(file, 0o600)
    waiting = asyncio.ensure_future(creates.wait_until_known(file))
    await asyncio.sleep(0)
    assert (file.existence, len(creates), daemon.asked[0].mode) == (Existence.CREATING, 0, 0o600)
    assert not creates.set_mode(file, 0o640), "it is on its way"
    daemon.answers[0].set_exception(OSError(errno.ETIMEDOUT, "away"))
    while len(daemon.answers) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    daemon.answers[1].set_result(pb.CreateReply(map=pb.ContentMap(version=b"v")))
    await waiting
    assert (file.existence, file.dirty, file.version) == (Existence.KNOWN, False, b"v")
    assert file.handles[1].was_registered
    assert daemon.guesses == [7]


async def test_a_new_file_that_the_daemon_refuses_stays_refused_until_it_is_dropped() -> None:
    daemon = Daemon()
    creates = UnsentCreates(daemon, InodeLease(), daemon)
    file = _made(creates)
    waiting = asyncio.ensure_future(creates.all_known())
    await asyncio.sleep(0)
    daemon.answers[0].set_exception(OSError(errno.EROFS, "no"))
    await waiting
    assert (file.existence, file.dirty, len(creates)) == (Existence.REFUSED, True, 0)
    with pytest.raises(OSError, match="Read-only"):
        await creates.wait_until_known(file)
    dropped = creates.drop(file)
    assert dropped is not None
    assert dropped.request.name == b"new"


async def test_a_create_that_could_not_be_sent_is_unsent_again() -> None:
    daemon = Daemon()
    creates = UnsentCreates(daemon, InodeLease(), daemon)
    file = _made(creates)
    pending = creates.take(file)
    assert pending is not None
    assert file.existence is Existence.CREATING
    assert creates.take(file) is None
    creates.put_back(file)
    assert (file.existence, pending.reported, len(creates)) == (Existence.LOCAL, True, 1)
    assert creates.take(file) is pending
    creates.known(file)
    assert file.existence is Existence.KNOWN
