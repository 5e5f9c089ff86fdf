# SPDX-License-Identifier: GPL-3.0-or-later
"""Acknowledgements of changes: which batches a mount has got, while it may still show the state before them.

A call that changes names is answered after the other mounts of the device have dropped the old names, so that a
program that goes on through another mount never meets them. The wait is bounded: the kernel behind a mount drops a name
only when it gets the lock of the directory, and an operation that takes long may hold that. A mount that was too late
once is not waited for again before it has caught up.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from typing import Final

ACKNOWLEDGE_SECONDS: Final = 1.0
_MOST: Final = 1_000
"""Batches without an acknowledgement that are remembered of one mount."""

_numbers = itertools.count(1)
"""Never given twice, so an acknowledgement from an earlier connection means nothing on a later one."""


class Acknowledgements:
    """Acknowledgements of one mount: the batch that is being put together, and those that were sent."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None
        self._sent: dict[int, asyncio.Future[None]] = {}
        self._late = False

    def expect(self) -> None:
        """The batch that is sent next has to be acknowledged."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()

    def number(self) -> int:
        """The number of a batch that is sent now; 0: no acknowledgement is expected."""
        if self._next is None:
            return 0
        number = next(_numbers)
        self._sent[number], self._next = self._next, None
        while len(self._sent) > _MOST:
            _let_go(self._sent.pop(next(iter(self._sent))))
        return number

    def acknowledged(self, number: int) -> None:
        future = self._sent.pop(number, None)
        if future is not None:
            _let_go(future)
        self._late = self._late and bool(self._sent or self._next)

    def of_the_next(self) -> asyncio.Future[None] | None:
        """Done when the batch that is sent next is acknowledged; None: there is none, or the mount is late.

        Earlier batches are waited for by the calls that they are of. To wait for them here could be a circle: the mount
        may have got them before it made the call that another mount waits for.
        """
        return None if self._late else self._next

    def time_is_up(self) -> None:
        self._late = bool(self._sent or self._next)

    def close(self) -> None:
        """The mount is gone."""
        for future in (*self._sent.values(), *([self._next] if self._next is not None else [])):
            _let_go(future)
        self._sent.clear()
        self._next = None


def _let_go(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def all_given(mounts: Iterable[Acknowledgements], seconds: float = ACKNOWLEDGE_SECONDS) -> None:
    """Returns when these mounts have acknowledged their next batch, or `seconds` later."""
    waited = {future: mount for mount in mounts if (future := mount.of_the_next()) is not None}
    if not waited:
        return
    _, late = await asyncio.wait(waited, timeout=seconds)
    for future in late:
        waited[future].time_is_up()
