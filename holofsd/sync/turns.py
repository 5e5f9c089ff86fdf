# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns of other devices at being sent content: only while they are members, within their allowance, and within the
limits of this device."""

from __future__ import annotations

import asyncio

from holofsd.core.errors import ConnectionLost
from holofsd.core.ids import DeviceId
from holofsd.core.pacing import LEAST_PIECE, TrafficLane
from holofsd.net.api import CloseCode, Stream
from holofsd.store.threads import Pool
from holofsd.sync.config import BLOB_FRAME
from holofsd.sync.dealings import AllDealings, Dealings
from holofsd.sync.members import Members
from holofsd.sync.pacing import NO_LIMITS


class ServingTurns:
    """Turns in one volume."""

    def __init__(self, members: Members, dealings: AllDealings) -> None:
        self.members = members
        self._dealings = dealings
        self.limits = NO_LIMITS
        """The device's own, from `SyncHub.add` on."""

    def of(self, peer: DeviceId) -> Dealings:
        return self._dealings.of(peer)

    @staticmethod
    async def wait(seconds: float) -> None:
        """Longer than the other side would like: it asks for more than its allowance."""
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def wait_as_member(self, stream: Stream, peer: DeviceId, seconds: float) -> None:
        """Waits. Raises ConnectionLost for a device that was removed from the volume by then."""
        await self.wait(seconds)
        if not self.members.is_member(peer):
            stream.abort(CloseCode.REFUSED)
            raise ConnectionLost("Removed from the volume before all of it was sent.")

    def frame_bytes(self, stream: Stream, most: int) -> int:
        """Bytes of content in one frame. `most`: as the other side asks; 0: it does not matter."""
        asked = max(most, LEAST_PIECE) if most else BLOB_FRAME
        return self.limits.most_sent(stream, min(asked, BLOB_FRAME))

    async def send(self, stream: Stream, frame: bytes, size: int, urgent: bool) -> None:
        """Sends a frame with so many bytes of content when it is its turn."""
        await self.limits.sending(stream, size, TrafficLane.URGENT if urgent else TrafficLane.REST)
        await stream.send(frame)


def pool_of(urgent: bool) -> Pool:
    return Pool.FOREGROUND if urgent else Pool.BACKGROUND


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()
