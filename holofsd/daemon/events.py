# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of this device, for `holofsctl events`: what changed and by whom, conflicts, devices that come and go, what
the brake holds, warnings, pauses and limits.

Nothing is noted before somebody asks for the first time. From then on the newest are kept, until the daemon ends.
Changes come from the trees, which tell after each transaction; everything else is looked at each second and compared
with what was there before.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Final

from holofsd.core.errors import BadArgument
from holofsd.daemon.event_changes import ChangeEvents
from holofsd.daemon.event_standing import StandingEvents
from holofsd.daemon.event_traffic import TrafficEvents
from holofsd.rpc.watching_api import Event
from holofsd.sync.tasks import Tasks

KEPT: Final = 10_000
_LOOK_S: Final = 1.0


class Events:
    """The newest events, numbered, for any number of listeners."""

    def __init__(
        self,
        changes: ChangeEvents,
        standing: StandingEvents,
        traffic: TrafficEvents,
        now_ms: Callable[[], int],
        kept: int = KEPT,
        look_s: float = _LOOK_S,
    ) -> None:
        self._changes = changes
        self._standing = standing
        self._traffic = traffic
        self._now_ms = now_ms
        self._look_s = look_s
        self._run = secrets.token_hex(4)
        """Names this run of the daemon in tokens: numbers begin anew with each."""
        self._events: deque[Event] = deque(maxlen=kept)
        self._next = 1
        """Number of the next event."""
        self._news = asyncio.Event()
        """Set, and replaced, with each event."""
        self._looking = asyncio.Lock()
        self._tasks = Tasks("events")
        self._closed = False

    async def listen(self, since: str, no_wait: bool) -> AsyncIterator[Event]:
        """Events after the one with the token `since`, the oldest first; without one, first an event `begin` of now.

        An event `missed` stands for those that are not kept any more. Raises BadArgument for what is no token.
        """
        number = self._after(since) if since else None
        await self._start()
        if number is None:
            number = self._next
            yield Event("begin", self._now_ms(), self._token(number - 1))
        if no_wait:
            await self._look()
        while True:
            news = self._news
            if number < self._oldest():
                number = self._oldest()
                yield Event("missed", self._now_ms(), self._token(number - 1))
            while self._oldest() <= number < self._next:
                yield self._events[number - self._oldest()]
                number += 1
            if self._closed or (no_wait and number == self._next):
                return
            if number == self._next:
                await news.wait()

    async def close(self) -> None:
        """Ends all streams. Idempotent."""
        self._closed = True
        self._changes.close()
        await self._tasks.close()
        self._wake()

    # ---- tokens
    def _token(self, number: int) -> str:
        return f"{self._run}-{number}"

    def _after(self, token: str) -> int:
        """Number of the first event after the one with this token; 0 where it is of another run, or of none."""
        run, _, number = token.partition("-")
        if len(run) != len(self._run) or not (number.isascii() and number.isdigit()) or len(number) > 18:
            raise BadArgument("This is no token of an event: take one as `holofsctl events` shows it.")
        return int(number) + 1 if run == self._run and int(number) < self._next else 0

    def _oldest(self) -> int:
        return self._next - len(self._events)

    # ---- noting
    async def _start(self) -> None:
        """The first time: notes what there is, and looks each second from then on."""
        if not self._tasks and not self._closed:
            self._tasks.spawn(self._keep_looking(), "look")
            await self._look()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._look_s)
            await self._look()

    async def _look(self) -> None:
        async with self._looking:
            self._changes.follow()
            for event in [*await self._changes.take(), *await self._standing.take(), *self._traffic.take()]:
                self._note(event)

    def _note(self, event: Event) -> None:
        self._events.append(replace(event, token=self._token(self._next)))
        self._next += 1
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
