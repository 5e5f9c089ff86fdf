# SPDX-License-Identifier: GPL-3.0-or-later
"""State of the device as it changes, for all pages that are open: one look at the daemon, however many there are.

Nothing is asked of the daemon while no page is open.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any, Final

from holofs_api.plain import plain
from holofs_api.v1 import control_pb2 as pb
from holofs_window.calls import MOST_ITEMS
from holofs_window.control_client import CallFailed, ControlClient

LOOK_S: Final = 2.0
"""Between two looks while nothing happens."""
LEAST_S: Final = 0.4
"""Between two looks in any case."""
SIGN_S: Final = 15.0
_AGAIN_S: Final = 1.0
_MOST_WAITING: Final = 256
"""Messages that a page may be behind; then it gets the newest state, and what happened in between is left out."""
_IDLE_FIELDS: Final = ("uptime_seconds", "resident_bytes")
"""Fields that change without anything having happened."""
_COUNTERS: Final = ("sent_bytes", "received_bytes")
"""Fields of peers and of the traffic that the page does without, for it has the rates: a message is sent where it
differs from the last."""
_SIGN: Final = b": \n\n"
_END: Final = b""


class Live:
    """Messages for pages, as server-sent events: `state`, all of `Status`; `event`, one of `Events`; `failed`, why
    there is no state now."""

    def __init__(self, daemon: ControlClient) -> None:
        self._daemon = daemon
        self._listeners: set[asyncio.Queue[bytes]] = set()
        self._work: asyncio.Task[None] | None = None
        self._happened = asyncio.Event()
        self._last = b""
        self._token = ""

    async def listen(self) -> AsyncIterator[bytes]:
        """Messages for one page, until it goes."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(_MOST_WAITING)
        self._listeners.add(queue)
        if self._last:
            queue.put_nowait(self._last)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._look(), name="live")
        try:
            while True:
                try:
                    message = await asyncio.wait_for(queue.get(), SIGN_S)
                except TimeoutError:
                    message = _SIGN
                if message == _END:
                    return
                yield message
        finally:
            self._listeners.discard(queue)
            if not self._listeners:
                await self.close()

    async def close(self) -> None:
        """Ends all looking; pages that still listen get no more."""
        for queue in self._listeners:
            _put(queue, _END)
        work, self._work = self._work, None
        self._last, self._token = b"", ""
        if work is not None:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work

    # ---- looking
    async def _look(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_events())
            group.create_task(self._follow_state())

    async def _follow_events(self) -> None:
        while True:
            try:
                events = self._daemon.stream("Events", pb.EventsRequest(since=self._token))
                async with aclosing(events) as found:  # type: ignore[type-var]
                    async for event in found:
                        self._token = event.token
                        self._happened.set()
                        self._tell(_message("event", plain(event)))
            except CallFailed:
                self._token = ""  # of a daemon that is gone
            await asyncio.sleep(_AGAIN_S)

    async def _follow_state(self) -> None:
        while True:
            self._happened.clear()
            message = await self._state()
            if message != self._last:
                self._last = message
                self._tell(message)
            await asyncio.sleep(LEAST_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._happened.wait(), LOOK_S - LEAST_S)

    async def _state(self) -> bytes:
        try:
            status = plain(await self._daemon.call("Status", pb.StatusRequest()))
        except CallFailed as error:
            return _message("failed", {"code": error.code, "message": error.message})
        for field in _IDLE_FIELDS:
            del status[field]
        for counter in (status["traffic"], *status["peers"]):
            for field in _COUNTERS:
                del counter[field]
        return _message("state", {"status": shortened(status)})

    def _tell(self, message: bytes) -> None:
        for queue in self._listeners:
            if queue.full():
                _put(queue, self._last or message)
            else:
                queue.put_nowait(message)


def _put(queue: asyncio.Queue[bytes], message: bytes) -> None:
    """Puts a message in the place of all that wait."""
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(message)


def shortened(data: Any) -> Any:
    """The same with at most MOST_ITEMS items in every list."""
    if isinstance(data, dict):
        return {name: shortened(value) for name, value in data.items()}
    return [shortened(item) for item in data[:MOST_ITEMS]] if isinstance(data, list) else data


def _message(kind: str, data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
