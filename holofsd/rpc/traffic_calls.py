# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of holofs.v1.Control that is about pauses and limits."""

from __future__ import annotations

from typing import Any, Final

from holofs_api.v1 import control_pb2 as pb
from holofs_api.v1.control_pb2_grpc import ControlServicer
from holofsd.core.errors import BadArgument
from holofsd.rpc.convert import to_message
from holofsd.rpc.traffic_api import TrafficService

Context = Any

_MOST_SECONDS: Final = 1_000_000 * 86400
"""Limit of a time on the command line, too: no date beyond that can be printed."""


class TrafficCalls(ControlServicer):
    """Calls of Control about pauses and limits."""

    _device: TrafficService

    async def Pause(self, request: pb.PauseRequest, context: Context) -> pb.TrafficStatus:
        _one(request.volume, request.device)
        if request.for_seconds > _MOST_SECONDS:
            raise BadArgument("A pause cannot be that long: without a time it is until it is resumed.")
        reply = await self._device.pause(request.volume, request.device, request.for_seconds)
        return to_message(reply, pb.TrafficStatus)

    async def Resume(self, request: pb.ResumeRequest, context: Context) -> pb.TrafficStatus:
        _one(request.volume, request.device)
        return to_message(await self._device.resume(request.volume, request.device), pb.TrafficStatus)

    async def Traffic(self, request: pb.TrafficRequest, context: Context) -> pb.TrafficStatus:
        return to_message(await self._device.traffic(), pb.TrafficStatus)


def _one(volume: str, device: str) -> None:
    if volume and device:
        raise BadArgument("Pause or resume a volume or a device: one at a time.")
