# SPDX-License-Identifier: GPL-3.0-or-later
"""Modes, times and removals that nobody waits for: in order, sent again, and never seen half done."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.write_behind.queue import WriteBehindQueue
from mount.conftest import Shared
from mount.harness import FakeDaemon, Mount
from support.wait import until


@pytest.fixture(autouse=True, scope="module")
def journals(shared: Shared) -> None:
    """Let the daemon keep journals: without one, a removal is waited for."""
    shared.daemon().ask("keep_journals")


class Daemon:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answers: list[asyncio.Future[Any]] = []
        self.tasks: list[Any] = []
        self.numbers: list[int] = []

    def begin(self, name: str, request: Message, number: int = 0, late: bool = False) -> Awaitable[Any]:
        self.numbers.append(number)
        kinds = {pb.SetAttrRequest: "set_attr", pb.UnlinkRequest: "unlink", pb.CreateRequest: "create"}
        assert name == kinds[type(request)]
        asked = type(request)()
        asked.CopyFrom(request)
        self.asked.append(asked)
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]

    def in_background(self, work: Awaitable[None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    def answer(self, number: int, mode: int) -> None:
        self.answers[number].set_result(pb.Attr(ino=self.asked[number].ino, mode=mode))


@dataclass
class Told:
    changes: list[tuple[int, pb.Attr | None]] = field(default_factory=list)
    there: list[tuple[int, bytes]] = field(default_factory=list)

    def set_attr_done(self, ino: int, attr: pb.Attr | None, since: int) -> None:
        self.changes.append((ino, attr))

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        self.there.append((parent, name))


class Kept:
    """A journal that keeps everything."""

    def __init__(self) -> None:
        self.number = 0
        self.cleared = 0

    def append(self, request: pb.CallRequest) -> int:
        self.number += 1
        return self.number

    def clear(self) -> None:
        self.cleared += 1


def _queue(daemon: Daemon, told: Told) -> WriteBehindQueue:
    return WriteBehindQueue(daemon, lambda: 0, told, Kept())


def _away() -> OSError:
    return OSError(errno.ETIMEDOUT, "the daemon does not answer")


async def test_times_and_mode_of_one_file_become_one_call() -> None:
    daemon, told = Daemon(), Told()
    queue = _queue(daemon, told)
    queue.set_attr(pb.SetAttrRequest(ino=7, mtime_ns=5))
    queue.set_attr(pb.SetAttrRequest(ino=8, mode=0o600))
    queue.set_attr(pb.SetAttrRequest(ino=7, mode=0o644))
    queue.send()
    assert [(r.ino, r.mtime_ns, r.mode) for r in daemon.asked] == [(7, 5, 0o644), (8, 0, 0o600)]


async def test_whoever_asks_waits_for_the_last_answer() -> None:
    daemon, told = Daemon(), Told()
    queue = _queue(daemon, told)
    queue.set_attr(pb.SetAttrRequest(ino=7, mode=0o600))
    queue.send()
    queue.set_attr(pb.SetAttrRequest(ino=7, mode=0o644))
    waiting = asyncio.ensure_future(queue.set_attr_answered(7, 60))
    await asyncio.sleep(0)
    assert len(daemon.asked) == 2
    daemon.answer(0, 0o600)
    await asyncio.wait([daemon.tasks[0]])
    assert 7 in queue
    assert not waiting.done()
    assert told.changes == [], "an answer that is overtaken is not believed"
    daemon.answer(1, 0o644)
    await waiting
    await asyncio.gather(*daemon.tasks)
    assert [(ino, attr.mode) for ino, attr in told.changes if attr is not None] == [(7, 0o644)]
    assert 7 not in queue


async def test_what_the_daemon_refuses_is_not_believed() -> None:
    daemon, told = Daemon(), Told()
    queue = _queue(daemon, told)
    queue.set_attr(pb.SetAttrRequest(ino=7, mode=0o600))
    queue.send()
    daemon.answers[0].set_exception(OSError(28, "the disk is full"))
    await asyncio.gather(*daemon.tasks)
    assert told.changes == [(7, None)]


async def test_a_daemon_that_stays_away_is_asked_again_when_it_is_back() -> None:
    daemon, told = Daemon(), Told()
    queue = _queue(daemon, told)
    queue.set_attr(pb.SetAttrRequest(ino=7, mode=0o600))
    queue.send()
    daemon.answers[0].set_exception(_away())
    with pytest.raises(OSError, match="does not answer"):
        await queue.set_attr_answered(7, 0.01)
    assert len(daemon.asked) == 2
    daemon.answer(1, 0o600)
    await asyncio.gather(*daemon.tasks)
    assert [ino for ino, attr in told.changes if attr is not None] == [7]


async def test_a_time_set_before_a_write_is_not_set_after_it() -> None:
    daemon, told = Daemon(), Told()
    queue = _queue(daemon, told)
    queue.set_attr(pb.SetAttrRequest(ino=7, mtime_ns=5, mode=0o600))
    queue.file_written(7)
    queue.send()
    assert not daemon.asked[0].HasField("mtime_ns")
    assert daemon.asked[0].mode == 0o600


async def test_a_removal_goes_at_once_and_after_what_was_set_before() -> None:
    daemon, told = Daemon(), Told()
    queue = _queue(daemon, told)
    queue.set_attr(pb.SetAttrRequest(ino=7, mode=0o600))
    queue.remove("unlink", pb.UnlinkRequest(parent=1, name=b"seven", ino=7))
    assert [type(asked) for asked in daemon.asked] == [pb.SetAttrRequest, pb.UnlinkRequest]
    daemon.answer(0, 0o600)
    daemon.answers[1].set_result(pb.Done())
    await asyncio.gather(*daemon.tasks)
    assert not queue.any_pending
    assert told.there == []


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EROFS])
async def test_a_name_that_is_not_removed_is_asked_for_again(number: int) -> None:
    daemon, told = Daemon(), Told()
    queue = _queue(daemon, told)
    queue.remove("unlink", pb.UnlinkRequest(parent=1, name=b"seven", ino=7))
    daemon.answers[0].set_exception(OSError(number, "no"))
    await asyncio.gather(*daemon.tasks)
    assert told.there == [(1, b"seven")]


async def test_no_more_are_on_their_way_than_the_daemon_can_follow() -> None:
    daemon, told = Daemon(), Told()
    queue = _queue(daemon, told)

    def remove_until_full() -> int:
        while not queue.must_wait:
            queue.remove("unlink", pb.UnlinkRequest(parent=1, name=b"%d" % len(daemon.asked), ino=7))
        return len(daemon.asked)

    with queue.foreground_call():
        assert 10 < remove_until_full() < 100, "few come before the next call of who waits"
    assert 1000 < remove_until_full() < 10_000
    daemon.answers[0].set_result(pb.Done())
    await asyncio.wait(daemon.tasks[:1])
    assert not queue.must_wait
    for task in daemon.tasks:
        task.cancel()


async def test_nothing_overtakes_what_is_said_again_after_the_daemon_went_away() -> None:
    daemon, told = Daemon(), Told()
    queue = _queue(daemon, told)
    queue.connection_lost()
    await queue.barrier(0)
    queue.remove("unlink", pb.UnlinkRequest(parent=1, name=b"seven", ino=7))
    queue.set_attr(pb.SetAttrRequest(ino=8, mode=0o600))
    await queue.barrier(0)
    queue.connection_lost()
    assert queue.must_wait
    with pytest.raises(OSError, match="does not answer"):
        await queue.barrier(0.01)
    daemon.answers[0].set_exception(_away())
    await asyncio.wait(daemon.tasks, timeout=0.01)
    next_call = asyncio.ensure_future(queue.barrier(60))
    daemon.answers[2].set_result(pb.Done())
    await asyncio.wait(daemon.tasks[:1])
    assert not next_call.done()
    daemon.answer(1, 0o600)
    await next_call
    await asyncio.gather(*daemon.tasks)
    assert not queue.must_wait


def test_a_copied_file_costs_one_call_for_times_and_mode(daemon: FakeDaemon, mount: Mount) -> None:
    file = mount.path / "file"
    file.write_bytes(b"content")
    until(lambda: daemon.ask("handles") == 0, "the file is let go")
    os.stat(file)
    daemon.ask("reset_calls")
    os.utime(file, ns=(5_000_000_000, 5_000_000_000))
    os.chmod(file, 0o640)
    found = os.stat(file)
    assert (found.st_mtime_ns, found.st_mode & 0o777) == (5_000_000_000, 0o640)
    until(lambda: daemon.ask("mtime_ns", path="file") == 5_000_000_000, "the time to arrive: nobody waited for it")
    assert 1 <= daemon.ask("calls")["set_attr"] <= 2


def test_a_mode_on_its_way_when_the_daemon_dies_arrives_all_the_same(daemon: FakeDaemon, mnt: Path) -> None:
    file = mnt / "file"
    file.write_bytes(b"content")
    os.stat(file)
    daemon.ask("drop_reply", call="set_attr")
    os.chmod(file, 0o640)
    os.utime(file, ns=(5_000_000_000, 5_000_000_000))
    assert os.stat(file).st_mode & 0o777 == 0o640
    until(lambda: daemon.ask("mtime_ns", path="file") == 5_000_000_000, "the time arrives")
    (mnt / "directory").mkdir()  # comes after what is said again


def _known_file(daemon: FakeDaemon, mnt: Path, data: bytes) -> Path:
    """The mount knows its name and attributes, and nobody has it open."""
    file = mnt / "file"
    file.write_bytes(data)
    until(lambda: daemon.ask("handles") == 0, "the file is let go")
    os.stat(file)
    os.listdir(mnt)
    return file


def test_removing_many_files_waits_for_none_and_the_directory_goes_last(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "many").mkdir()
    for number in range(20):
        (mnt / "many" / str(number)).write_bytes(b"content")
    until(lambda: daemon.ask("handles") == 0, "the files are let go")
    names = {entry.name for entry in os.scandir(mnt / "many") if entry.stat()}
    daemon.ask("hold", call="unlink")
    for name in sorted(names):
        os.unlink(mnt / "many" / name)
    assert os.listdir(mnt / "many") == []
    assert not (mnt / "many" / "0").exists()
    daemon.ask("hold", call="")
    os.rmdir(mnt / "many")
    until(lambda: daemon.ask("names") == [], "the directory to go, after what was in it")


def test_a_removal_on_its_way_when_the_daemon_dies_is_carried_out_once(daemon: FakeDaemon, mnt: Path) -> None:
    file = _known_file(daemon, mnt, b"old")
    daemon.ask("drop_reply", call="unlink")
    os.unlink(file)
    file.write_bytes(b"new")
    assert file.read_bytes() == b"new"
    assert daemon.content("file") == b"new"


def test_a_refused_removal_shows_the_file_again(daemon: FakeDaemon, mnt: Path) -> None:
    file = _known_file(daemon, mnt, b"content")
    daemon.ask("hold_news", held=True)
    daemon.ask("become_reader")
    os.unlink(file)
    until(lambda: os.listdir(mnt) == ["file"], "the file shows again")
    assert file.read_bytes() == b"content"
    daemon.ask("hold_news", held=False)


async def test_what_is_refused_holds_up_what_follows_and_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holofs_mount.write_behind.queue._FIRST_PAUSE", 0.0)
    monkeypatch.setattr("holofs_mount.write_behind.queue._LAST_PAUSE", 0.0)
    daemon, told, journal = Daemon(), Told(), Kept()
    queue = WriteBehindQueue(daemon, lambda: 0, told, journal)
    made: list[Any] = []
    assert queue.create("create", pb.CreateRequest(parent=1, name=b"a", ino=7), made.append)
    queue.set_attr(pb.SetAttrRequest(ino=7, mode=0o600))
    queue.remove("unlink", pb.UnlinkRequest(parent=1, name=b"b", ino=5))
    daemon.answers[0].set_exception(OSError(errno.ENOSPC, "full"))
    for number in (1, 2):
        daemon.answers[number].set_exception(OSError(errno.EAGAIN, "not yet"))
    await _turns(lambda: len(daemon.asked) == 4)
    assert queue.has_failed
    assert queue.must_wait, "nothing joins what is said again"
    assert told.there == [(1, b"a"), (1, b"b")]
    assert told.changes == [(7, None)]
    daemon.answers[3].set_exception(OSError(errno.ENOSPC, "still full"))
    await _turns(lambda: len(daemon.asked) == 5)
    for number in (4, 5, 6):
        await _turns(lambda: len(daemon.asked) == number + 1)  # noqa: B023
        daemon.answers[number].set_result(pb.Done())
    await _turns(lambda: not queue.has_failed)
    assert daemon.numbers == [1, 2, 3, 1, 1, 2, 3]
    assert (journal.cleared, queue.decided, queue.must_wait, made) == (1, 3, False, [])


async def test_what_can_never_be_done_holds_up_nobody() -> None:
    daemon, told, journal = Daemon(), Told(), Kept()
    queue = WriteBehindQueue(daemon, lambda: 0, told, journal)
    queue.remove("unlink", pb.UnlinkRequest(parent=1, name=b"b", ino=5))
    assert not journal.cleared
    daemon.answers[0].set_exception(OSError(errno.ENOENT, "gone"))
    await _turns(lambda: journal.cleared)
    assert (queue.has_failed, queue.decided, told.there) == (False, 1, [(1, b"b")])


async def _turns(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)
