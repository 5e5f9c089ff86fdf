# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of holofs.v1.Control that is about the brake, damaged content and record budgets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from holofs_api.v1 import control_pb2 as pb
from holofs_api.v1.control_pb2_grpc import ControlServicer
from holofsd.core.errors import BadArgument
from holofsd.rpc.convert import needed, to_message
from holofsd.rpc.safety_api import CareService

Context = Any


class CareCalls(ControlServicer):
    """Calls of Control about the brake, scrubbing and record budgets."""

    _device: CareService

    async def Brake(self, request: pb.BrakeRequest, context: Context) -> pb.BrakeReply:
        needed(request.volume, "The volume")
        if request.act not in ("", "limit", "off", "accept", "refuse", "skip"):
            raise BadArgument("The brake can be set, put off, and what it holds accepted or refused.")
        reply = await self._device.brake(
            request.volume, request.act, request.files, request.percent, tuple(request.skip)
        )
        return to_message(reply, pb.BrakeReply)

    async def RecordBudget(self, request: pb.RecordBudgetRequest, context: Context) -> pb.RecordBudgetReply:
        needed(request.volume, "The volume")
        max_bytes = request.max_bytes if request.HasField("max_bytes") else None
        return to_message(await self._device.record_budget(request.volume, max_bytes), pb.RecordBudgetReply)

    async def Scrub(self, request: pb.ScrubRequest, context: Context) -> AsyncIterator[pb.ScrubProgress]:
        async with aclosing(self._device.scrub(request.volume, request.no_wait)) as steps:  # type: ignore[type-var]
            async for step in steps:
                yield to_message(step, pb.ScrubProgress)
