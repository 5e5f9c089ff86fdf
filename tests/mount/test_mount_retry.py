# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop that repeats what a program was told is done."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable

import pytest

from holofs_mount.write_behind import retry as module
from holofs_mount.write_behind.retry import DoublingPause, WhileOvertaken, retry, while_unanswered


class Attempts:
    """Fails with these errors, one each time, then succeeds with the number of the attempt."""

    def __init__(self, *errors: int) -> None:
        self._errors = list(errors)
        self.begun = 0

    async def begin(self) -> int:
        self.begun += 1
        if self._errors:
            raise OSError(self._errors.pop(0), "no")
        return self.begun


async def test_what_no_daemon_answered_is_repeated_and_any_answer_is_final() -> None:
    attempts = Attempts(errno.ETIMEDOUT, errno.ETIMEDOUT)
    assert await retry(attempts.begin(), attempts.begin, while_unanswered) == 3
    attempts = Attempts(errno.ETIMEDOUT, errno.ENOSPC)
    with pytest.raises(OSError) as refused:
        await retry(attempts.begin(), attempts.begin, while_unanswered)
    assert (refused.value.errno, attempts.begun) == (errno.ENOSPC, 2)


async def test_an_operation_that_came_too_early_is_repeated_a_limited_number_of_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_OVERTAKEN_SECONDS", 0.0)
    attempts = Attempts(errno.EAGAIN, errno.EAGAIN)
    assert await retry(attempts.begin(), attempts.begin, WhileOvertaken(lambda: True)) == 3
    for nothing_failed, most in ((True, 21), (False, 1)):
        attempts = Attempts(*[errno.EAGAIN] * 100)
        with pytest.raises(BlockingIOError):
            await retry(attempts.begin(), attempts.begin, WhileOvertaken(lambda kept=nothing_failed: kept))
        assert attempts.begun == most


async def test_pauses_double_up_to_the_last_and_begin_again_after_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> Awaitable[None]:
        slept.append(seconds)
        return nothing()

    async def nothing() -> None:
        pass

    monkeypatch.setattr(asyncio, "sleep", sleep)
    pauses = DoublingPause(1.0, 5.0)
    for _ in range(5):
        await pauses.pause()
    pauses.reset()
    await pauses.pause()
    assert slept == [1.0, 2.0, 4.0, 5.0, 5.0, 1.0]
