# SPDX-License-Identifier: GPL-3.0-or-later
"""The bounds of waits, without a mount: a daemon that says nothing, turns with a file, and what waits for either."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from holofs_mount.patience import GRACE, PATIENCE, Silence, Turns, left, no_answer, within


class Listener:
    """A daemon that owes answers."""

    def __init__(self, patience: float = 0.2, answers: bool = False) -> None:
        self.owes = True
        self.answers = answers
        self.pings = 0
        self.over = asyncio.Event()
        self.silence = Silence(patience, lambda: self.owes, self._pinged, self.over.set)

    def _pinged(self) -> None:
        self.pings += 1
        if self.answers:
            self.silence.heard = True


async def test_a_daemon_that_says_nothing_is_asked_once_and_then_given_up() -> None:
    listener = Listener()
    began = asyncio.get_running_loop().time()
    await asyncio.wait_for(listener.over.wait(), 30)
    assert asyncio.get_running_loop().time() - began >= 0.2
    assert listener.pings == 1
    assert listener.silence.since >= began


@pytest.mark.parametrize("owes", [True, False])
async def test_a_busy_daemon_and_one_that_owes_nothing_are_not_given_up(owes: bool) -> None:
    listener = Listener(answers=True)
    listener.owes = owes
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(listener.over.wait(), 1.0)
    assert bool(listener.pings) is owes
    listener.silence.stop()


async def test_time_in_which_the_mount_itself_was_stopped_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    listener = Listener(patience=5.0)
    real, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + ahead)
    ahead = 3_600.0
    await asyncio.sleep(0)
    listener.silence._timer.cancel()
    listener.silence._look()
    assert not listener.over.is_set()
    assert listener.silence.since >= real() + 3_000.0
    listener.silence.stop()


async def test_turns_are_given_in_order_and_one_at_a_time() -> None:
    turns, seen, inside = Turns(), [], 0

    async def visit(number: int) -> None:
        nonlocal inside
        async with turns:
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            seen.append(number)
            inside -= 1

    await asyncio.gather(*(visit(number) for number in range(20)))
    assert seen == list(range(20))
    assert not turns.locked()


async def test_who_gives_up_or_is_cancelled_leaves_the_line_and_the_others_have_their_turn() -> None:
    turns = Turns()
    patient = turns.patiently

    async def impatient(waited: asyncio.Future[Any]) -> Any:
        return await within(0.05, waited)

    async def visit() -> None:
        async with turns:
            pass

    async with turns:
        turns.patiently = impatient
        with pytest.raises(OSError) as given_up:
            await visit()
        assert given_up.value.errno == errno.ETIMEDOUT
        turns.patiently = patient
        cancelled, last = asyncio.ensure_future(visit()), asyncio.ensure_future(visit())
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait({cancelled})
    await asyncio.wait_for(last, 30)
    assert not turns.locked()


async def test_a_turn_that_comes_in_the_moment_of_giving_up_is_passed_on() -> None:
    turns = Turns()

    async def too_late(waited: asyncio.Future[Any]) -> Any:
        await waited
        raise no_answer()

    async def visit() -> None:
        async with turns:
            pass

    async with turns:
        turns.patiently = too_late
        waiting = asyncio.ensure_future(visit())
        await asyncio.sleep(0)
    with pytest.raises(OSError):
        await waiting
    assert not turns.locked()


def test_what_is_left_of_the_patience() -> None:
    assert left(0.0, PATIENCE) == PATIENCE
    assert left(PATIENCE - 0.5, PATIENCE) == GRACE
    assert left(PATIENCE + 1, PATIENCE) == GRACE
    assert 0 < left(10 * PATIENCE, PATIENCE) < GRACE
