# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake daemon's fast lane: frames in, frames out, each call answered by a task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from holofs_api.framing import FrameParser, frame
from holofs_api.v1 import filesystem_pb2 as pb

Changes = Callable[[Any], AsyncIterator[pb.Change]]
Answer = Callable[[Any, pb.CallRequest], Awaitable[pb.CallReply | None]]


class FakeLane(asyncio.Protocol):
    def __init__(self, attachments: dict[str, Any], answer: Answer, changes: Changes, lanes: set[FakeLane]) -> None:
        self._attachments = attachments
        self._answer = answer
        self._changes = changes
        self._lanes = lanes
        self._parser = FrameParser()
        self._attachment: Any = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._lanes.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._lanes.discard(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        while (body := self._parser.pop()) is not None:
            if self._attachment is None:
                self._attachment = self._attachments[body.decode()]
                self.transport.write(frame(b""))
                continue
            task = asyncio.ensure_future(self._serve(pb.CallRequest.FromString(body)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, request: pb.CallRequest) -> None:
        if request.HasField("watch"):
            await self._tell(request.id)
            return
        reply = await self._answer(self._attachment, request)
        if reply is not None and not self.transport.is_closing():
            self.transport.write(frame(reply.SerializeToString()))

    async def _tell(self, number: int) -> None:
        async for change in self._changes(self._attachment):
            self.transport.write(frame(pb.CallReply(id=number, change=change).SerializeToString()))
        self.transport.write(frame(pb.CallReply(id=number).SerializeToString()))


class FakeLanes:
    """Listens from `start` until `stop`, which cuts everybody off."""

    def __init__(self, attachments: dict[str, Any], answer: Answer, changes: Changes) -> None:
        self._attachments = attachments
        self._answer = answer
        self._changes = changes
        self._lanes: set[FakeLane] = set()
        self._server: asyncio.Server | None = None

    async def start(self, socket: Path) -> None:
        socket.unlink(missing_ok=True)
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: FakeLane(self._attachments, self._answer, self._changes, self._lanes), str(socket)
        )

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for lane in self._lanes:
            lane.transport.abort()
