# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of holofs.v1.Control about files without a mount, and the window."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from holofs_api.v1 import control_pb2 as pb
from holofs_api.v1.control_pb2_grpc import ControlServicer
from holofsd.rpc.browsing_api import BrowsingService
from holofsd.rpc.convert import needed, to_message

Context = Any


class BrowsingCalls(ControlServicer):
    """Calls of Control about files without a mount, and the window."""

    _device: BrowsingService

    async def ListFolder(self, request: pb.ListFolderRequest, context: Context) -> pb.ListFolderReply:
        needed(request.volume, "The volume")
        listing = await self._device.list_folder(request.volume, request.path, request.after, request.limit)
        return to_message(listing, pb.ListFolderReply)

    async def ListIgnored(self, request: pb.ListIgnoredRequest, context: Context) -> pb.ListIgnoredReply:
        needed(request.volume, "The volume")
        return to_message(await self._device.list_ignored(request.volume, request.limit), pb.ListIgnoredReply)

    async def ReadFile(self, request: pb.ReadFileRequest, context: Context) -> AsyncIterator[pb.ReadFileReply]:
        needed(request.volume, "The volume")
        async with aclosing(self._device.read_file(request.volume, request.path)) as pieces:  # type: ignore[type-var]
            async for data in pieces:
                yield pb.ReadFileReply(data=data)

    async def OpenWindow(self, request: pb.OpenWindowRequest, context: Context) -> pb.OpenWindowReply:
        return to_message(await self._device.open_window(), pb.OpenWindowReply)
