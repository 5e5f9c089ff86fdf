# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions and answers over one content stream that this device opened: each wait is bounded, each answer paced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.core.errors import ConnectionLost
from holofsd.core.pacing import TrafficLane
from holofsd.net.api import Stream
from holofsd.sync import frames
from holofsd.sync.config import BLOB_FRAME
from holofsd.sync.pacing import TrafficLimits

SILENCE = 20.0
"""Seconds without a frame after which a content stream is given up."""
LEAST: Final = 4096
"""Bytes of a blob that have to come in that time: who sends less keeps others from being asked."""


class Stopped(ConnectionLost):
    """Another device was faster: the stream is given up, for the rest of the answer would still come."""


class Stalled(ConnectionLost):
    """Given up although the connection may live."""


class _Window:
    """Whether enough comes: looked at each time SILENCE has passed, inside a blob."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._bytes = 0

    def arrived(self, count: int, end: bool) -> None:
        """Raises Stalled."""
        self._bytes += count
        now = time.monotonic()
        if now - self._began > SILENCE:
            if self._bytes < LEAST and not end:
                raise Stalled("The other device sends content too slowly to wait for it.")
            self._began, self._bytes = now, 0


class ContentExchange:
    """One stream to one device. `is_urgent()`: whether a program waits for what comes next."""

    def __init__(self, stream: Stream, limits: TrafficLimits, is_urgent: Callable[[], bool]) -> None:
        self.stream = stream
        self._limits = limits
        self._is_urgent = is_urgent
        self._next = 1
        self._window = _Window()
        self._deadline: asyncio.Timeout | None = None
        self._stopped = False

    def number(self) -> int:
        """Number of the next question."""
        self._next += 1
        return self._next - 1

    def most(self) -> int:
        """Bytes of content that one frame of an answer may have, because of a limit here; 0: it does not matter."""
        most = self._limits.most_received(self.stream, BLOB_FRAME)
        return 0 if most == BLOB_FRAME else most

    def stop(self) -> None:
        """Ends it soon: `receive` raises Stopped."""
        self._stopped = True
        if self._deadline is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time())

    async def send(self, frame: bytes) -> None:
        """Raises ConnectionLost."""
        try:
            async with asyncio.timeout(SILENCE):
                await self.stream.send(frame)
        except TimeoutError:
            raise Stalled("The other device does not take questions for content.") from None

    async def receive(self) -> pb.Frame:
        """The next frame. Raises ConnectionLost, also for a device that stopped answering; ProtocolViolation."""
        if self._stopped:
            raise Stopped("Another device was faster.")
        try:
            async with asyncio.timeout(SILENCE) as self._deadline:
                data = await self.stream.receive()
        except TimeoutError:
            if self._stopped:
                raise Stopped("Another device was faster.") from None
            raise Stalled("The other device stopped in the middle of some content.") from None
        finally:
            self._deadline = None
        if data is None:
            raise ConnectionLost("The other device closed the content stream.")
        if self._limits.down.rate is not None:
            lane = TrafficLane.URGENT if self._is_urgent() else TrafficLane.REST
            await self._limits.received(self.stream, len(data), lane)
        return frames.parse(data)

    def arrived(self, count: int, end: bool) -> None:
        """Notes bytes of content; `end`: the last of a question. Raises ConnectionLost where too few come."""
        self._window.arrived(count, end)
