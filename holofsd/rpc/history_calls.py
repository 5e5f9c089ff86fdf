# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of holofs.v1.Control that is about what was: history, trash, restore, garbage collection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from holofs_api.v1 import control_pb2 as pb
from holofs_api.v1.control_pb2_grpc import ControlServicer
from holofsd.core.errors import BadArgument
from holofsd.rpc.convert import needed, to_message
from holofsd.rpc.history_api import HistoryService, Restoration, RetentionSettings

Context = Any


class HistoryCalls(ControlServicer):
    """Calls of Control about the past."""

    _device: HistoryService

    async def History(self, request: pb.HistoryRequest, context: Context) -> pb.HistoryReply:
        reply = await self._device.history(needed(request.volume, "The volume"), request.path)
        versions = [to_message(version, pb.PastVersion) for version in reply.versions]
        return pb.HistoryReply(versions=versions, taken=reply.taken)

    async def Restore(self, request: pb.RestoreRequest, context: Context) -> AsyncIterator[pb.Restored]:
        if request.version and request.at_ms:
            raise BadArgument("Say a version or a time, not both.")
        wanted = Restoration(
            needed(request.volume, "The volume"),
            request.path,
            request.version,
            request.at_ms,
            request.to,
            request.from_trash,
        )
        async with aclosing(self._device.restore(wanted)) as steps:  # type: ignore[type-var]
            async for step in steps:
                yield to_message(step, pb.Restored)

    async def ListTrash(self, request: pb.ListTrashRequest, context: Context) -> pb.ListTrashReply:
        items = await self._device.list_trash(needed(request.volume, "The volume"), request.path, request.single)
        return pb.ListTrashReply(items=[to_message(item, pb.TrashItem) for item in items])

    async def EmptyTrash(self, request: pb.EmptyTrashRequest, context: Context) -> pb.EmptyTrashReply:
        if request.older_seconds < 0:
            raise BadArgument("Nothing was removed in the future.")
        emptied = await self._device.empty_trash(
            needed(request.volume, "The volume"), request.path, request.older_seconds
        )
        return to_message(emptied, pb.EmptyTrashReply)

    async def KeepHistory(self, request: pb.KeepHistoryRequest, context: Context) -> pb.HistoryStatus:
        all_seconds = request.all_seconds if request.HasField("all_seconds") else None
        daily_seconds = request.daily_seconds if request.HasField("daily_seconds") else None
        max_bytes = request.max_bytes if request.HasField("max_bytes") else None
        if not request.volume and (all_seconds is not None or daily_seconds is not None):
            raise BadArgument("How long history is kept is set for one volume: say its name.")
        wanted = RetentionSettings(all_seconds, daily_seconds, max_bytes)
        status = await self._device.keep_history(request.volume, wanted)
        return to_message(status, pb.HistoryStatus)

    async def CollectGarbage(self, request: pb.CollectGarbageRequest, context: Context) -> pb.CollectGarbageReply:
        done = await self._device.collect_garbage(needed(request.volume, "The volume"), request.now)
        return to_message(done, pb.CollectGarbageReply)
