# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of holofs.v1.Control that tells what happens, and how another device is reached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from holofs_api.v1 import control_pb2 as pb
from holofs_api.v1.control_pb2_grpc import ControlServicer
from holofsd.core.errors import BadArgument
from holofsd.rpc.convert import needed, to_message
from holofsd.rpc.watching_api import WatchingService

Context = Any

_MOST_PINGS: Final = 1_000_000
_PAUSE_MS: Final = 1_000
_LEAST_PAUSE_MS: Final = 10


class WatchingCalls(ControlServicer):
    """Calls of Control about events and pings."""

    _device: WatchingService

    async def Events(self, request: pb.EventsRequest, context: Context) -> AsyncIterator[pb.Event]:
        async with aclosing(self._device.events(request.since, request.no_wait)) as found:  # type: ignore[type-var]
            async for event in found:
                yield to_message(event, pb.Event)

    async def Ping(self, request: pb.PingRequest, context: Context) -> AsyncIterator[pb.PingReply]:
        device = needed(request.device, "The device")
        if request.count > _MOST_PINGS:
            raise BadArgument(f"A device can be pinged {_MOST_PINGS} times at most.")
        count, pause = max(request.count, 1), max(request.pause_ms or _PAUSE_MS, _LEAST_PAUSE_MS)
        async with aclosing(self._device.ping(device, count, pause, request.measure)) as answers:  # type: ignore[type-var]
            async for answer in answers:
                yield to_message(answer, pb.PingReply)
