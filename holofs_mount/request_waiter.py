# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for the kernel's next request."""

from __future__ import annotations

import asyncio
import select
from typing import Any, Final

_TURN: Final = 8
"""Requests answered at once, before everything else on the loop has its turn."""


class RequestWaiter:
    """Waits for the kernel's next request with one registration on the loop for the life of the mount.

    pyfuse3's own registers and removes the descriptor for each request, which costs as much as answering a small one.
    """

    @classmethod
    def installed(cls, glue: Any) -> RequestWaiter:
        """Installs a waiter in `pyfuse3.asyncio` (`glue`)."""
        waiter = cls(glue.ClosedResourceError)
        glue.wait_readable, glue.notify_closing = waiter.wait_readable, waiter.stop
        glue.enable()
        return waiter

    def __init__(self, closed: type[Exception]) -> None:
        self._closed = closed
        self._fd = -1
        self._waiting: asyncio.Future[None] | None = None
        self._poll = select.poll()
        self._at_once = 0

    async def wait_readable(self, fd: int) -> None:
        """Replaces `pyfuse3.asyncio.wait_readable`. Called by one task at a time: pyfuse3 holds a lock."""
        if self._fd < 0:
            self._fd = fd
            self._poll.register(fd, select.POLLIN)
            asyncio.get_running_loop().add_reader(fd, self._readable)
        if self._poll.poll(0):
            # A kernel that always has more to ask must not keep the loop from everything else.
            self._at_once += 1
            if self._at_once % _TURN == 0:
                await asyncio.sleep(0)
            return
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _readable(self) -> None:
        # Looks again: what the loop saw may be read already, and a read of nothing would block everything.
        if self._waiting is not None and not self._waiting.done() and self._poll.poll(0):
            self._waiting.set_result(None)

    def stop(self, fd: int) -> None:
        """Replaces `pyfuse3.asyncio.notify_closing`."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(self._closed())

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
