# SPDX-License-Identifier: GPL-3.0-or-later
"""Modes and times that nobody waits for: joined, in order, sent again, and never seen half done."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.later import Later
from mount.harness import FakeDaemon, Mount
from support.wait import until


class Daemon:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[pb.SetAttrRequest] = []
        self.answers: list[asyncio.Future[pb.Attr]] = []
        self.tasks: list[Any] = []

    def begin(self, name: str, request: pb.SetAttrRequest) -> Awaitable[pb.Attr]:
        assert name == "set_attr"
        asked = pb.SetAttrRequest()
        asked.CopyFrom(request)
        self.asked.append(asked)
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]

    def in_background(self, work: Awaitable[None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    def answer(self, number: int, mode: int) -> None:
        self.answers[number].set_result(pb.Attr(ino=self.asked[number].ino, mode=mode))


def _later(daemon: Daemon, told: list[tuple[int, pb.Attr | None]]) -> Later:
    return Later(lambda: daemon, lambda: 0, lambda ino, attr, since: told.append((ino, attr)))


async def test_times_and_mode_of_one_file_become_one_call() -> None:
    daemon, told = Daemon(), list[tuple[int, pb.Attr | None]]()
    later = _later(daemon, told)
    later.put(pb.SetAttrRequest(ino=7, mtime_ns=5))
    later.put(pb.SetAttrRequest(ino=8, mode=0o600))
    later.put(pb.SetAttrRequest(ino=7, mode=0o644))
    later.send()
    assert [(r.ino, r.mtime_ns, r.mode) for r in daemon.asked] == [(7, 5, 0o644), (8, 0, 0o600)]


async def test_whoever_asks_waits_for_the_last_answer() -> None:
    daemon, told = Daemon(), list[tuple[int, pb.Attr | None]]()
    later = _later(daemon, told)
    later.put(pb.SetAttrRequest(ino=7, mode=0o600))
    later.send()
    later.put(pb.SetAttrRequest(ino=7, mode=0o644))
    waiting = asyncio.ensure_future(later.answered(7, 60))
    await asyncio.sleep(0)
    assert len(daemon.asked) == 2
    daemon.answer(0, 0o600)
    await asyncio.wait([daemon.tasks[0]])
    assert 7 in later
    assert not waiting.done()
    assert told == [], "an answer that is overtaken is not believed"
    daemon.answer(1, 0o644)
    await waiting
    await asyncio.gather(*daemon.tasks)
    assert [(ino, attr.mode) for ino, attr in told if attr is not None] == [(7, 0o644)]
    assert 7 not in later


async def test_what_the_daemon_refuses_is_not_believed() -> None:
    daemon, told = Daemon(), list[tuple[int, pb.Attr | None]]()
    later = _later(daemon, told)
    later.put(pb.SetAttrRequest(ino=7, mode=0o600))
    later.send()
    daemon.answers[0].set_exception(OSError(28, "the disk is full"))
    await asyncio.gather(*daemon.tasks)
    assert told == [(7, None)]


async def test_a_daemon_that_stays_away_is_asked_again_when_it_is_back() -> None:
    daemon, told = Daemon(), list[tuple[int, pb.Attr | None]]()
    later = _later(daemon, told)
    later.put(pb.SetAttrRequest(ino=7, mode=0o600))
    later.send()
    daemon.answers[0].set_exception(OSError(errno.ETIMEDOUT, "the daemon does not answer"))
    with pytest.raises(OSError, match="does not answer"):
        await later.answered(7, 0.01)
    assert len(daemon.asked) == 2
    daemon.answer(1, 0o600)
    await asyncio.gather(*daemon.tasks)
    assert [ino for ino, attr in told if attr is not None] == [7]


async def test_a_time_set_before_a_write_is_not_set_after_it() -> None:
    daemon, told = Daemon(), list[tuple[int, pb.Attr | None]]()
    later = _later(daemon, told)
    later.put(pb.SetAttrRequest(ino=7, mtime_ns=5, mode=0o600))
    later.written(7)
    later.send()
    assert not daemon.asked[0].HasField("mtime_ns")
    assert daemon.asked[0].mode == 0o600


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
    assert daemon.ask("mtime_ns", path="file") == 5_000_000_000
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
