# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames over any stream of bytes: four bytes of length (big endian), then that many bytes.

This is where cancellation is made safe: a read or write under way is a task of its own that outlives the cancelled
caller, so no byte is ever lost and no frame is ever cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from holofsd.core.errors import ConnectionLost, ProtocolViolation
from holofsd.net.api import CloseCode
from holofsd.net.keep import ResumableCall, TaskSet
from holofsd.net.traffic import Traffic

if TYPE_CHECKING:
    from holofsd.net.api import Connection

HEADER: Final = 4
READ_LEAST: Final = 64 * 1024
READ_MOST: Final = 1024 * 1024
SLICE: Final = 0.005
"""Seconds after which a stream with more frames in its buffer lets others have a turn."""


class RawStream(Protocol):
    """A stream of bytes both ways. Everything raises ConnectionLost when the stream or connection is gone."""

    async def read(self, most: int) -> bytes:
        """Reads at least one byte; none means that the other side finished."""

    async def write_all(self, data: bytes) -> None: ...
    async def finish(self) -> None: ...
    async def reset(self, code: int) -> None:
        """Ends both directions; no read or write is pending when this is called."""


class FramedStream:
    """Implements `api.Stream` over a raw stream. `heard` is told whenever bytes arrive; `traffic` counts them."""

    def __init__(
        self,
        connection: Connection,
        raw: RawStream,
        max_frame: int,
        tasks: TaskSet,
        heard: Callable[[], None],
        traffic: Traffic,
    ) -> None:
        self._connection = connection
        self._raw = raw
        self._max_frame = max_frame
        self._tasks = tasks
        self._heard = heard
        self._traffic = traffic
        self._buffer = bytearray()
        self._want = READ_LEAST
        self._reading = ResumableCall(self._read, tasks)
        self._writing: asyncio.Task[None] | None = None
        self._send_lock = asyncio.Lock()
        self._receiving = False
        self._turn_began = 0.0
        self._ended = False
        self._broken: ConnectionLost | None = None
        self._finished = False
        self._aborted: CloseCode | int | None = None

    @property
    def connection(self) -> Connection:
        return self._connection

    # ---- sending ----
    async def send(self, frame: bytes) -> None:
        if len(frame) > self._max_frame:
            raise ProtocolViolation(f"a frame of {len(frame)} bytes is above the limit of {self._max_frame}")
        async with self._send_lock:
            await self._write(len(frame).to_bytes(HEADER, "big") + frame)

    async def finish(self) -> None:
        async with self._send_lock:
            if self._finished:
                return
            await self._written()
            self._check_usable()
            self._finished = True
            await self._raw.finish()

    async def _write(self, data: bytes) -> None:
        await self._written()
        self._check_usable()
        if self._finished:
            raise ConnectionLost("This side of the stream is finished already.")
        self._traffic.note_sent(len(data))
        self._writing = self._tasks.spawn(self._raw.write_all(data))
        await self._written()

    async def _written(self) -> None:
        """Waits for the write under way, which may be that of a cancelled `send`."""
        if (task := self._writing) is None:
            return
        await asyncio.wait((task,))
        self._writing = None
        if task.cancelled():
            raise ConnectionLost("The stream was aborted here.")
        task.result()

    # ---- receiving ----
    async def receive(self, limit: int | None = None) -> bytes | None:
        if self._receiving:
            raise RuntimeError("two receivers on one stream")
        self._receiving = True
        try:
            return await self._receive(self._max_frame if limit is None else min(limit, self._max_frame))
        finally:
            self._receiving = False

    async def _receive(self, limit: int) -> bytes | None:
        while True:
            self._check_usable()
            missing = self._missing(limit)
            if missing == 0:
                await self._let_others_work()
                return self._take()
            if self._ended:
                if self._buffer:
                    raise ConnectionLost("The stream ended inside a frame.")
                return None
            # A frame's bytes are buffered only as they arrive: a length alone reserves nothing.
            self._want = min(max(missing, READ_LEAST), READ_MOST)
            chunk = await self._next_chunk()
            self._ended = not chunk
            self._buffer += chunk

    async def _let_others_work(self) -> None:
        """A buffer of a megabyte holds a hundred thousand small frames, and taking one waits for nothing."""
        now = asyncio.get_running_loop().time()
        if now - self._turn_began > SLICE:
            await asyncio.sleep(0)
            self._turn_began = asyncio.get_running_loop().time()
            self._check_usable()

    async def _next_chunk(self) -> bytes:
        if self._broken is not None:
            raise ConnectionLost(self._broken.message)
        try:
            return await self._reading.next()
        except ConnectionLost as error:
            # Kept, since Iroh tells of a reset once and then pretends that the stream finished.
            self._broken = error
            raise

    def _missing(self, limit: int) -> int:
        """Counts the bytes that the first frame in the buffer still lacks."""
        if len(self._buffer) < HEADER:
            return HEADER - len(self._buffer)
        length = int.from_bytes(self._buffer[:HEADER], "big")
        if length > limit:
            self.abort(CloseCode.PROTOCOL)
            raise ProtocolViolation(f"the other side sent a frame of {length} bytes, the limit is {limit}")
        return max(0, HEADER + length - len(self._buffer))

    def _take(self) -> bytes:
        end = HEADER + int.from_bytes(self._buffer[:HEADER], "big")
        with memoryview(self._buffer) as view:
            frame = bytes(view[HEADER:end])
        del self._buffer[:end]
        return frame

    async def _read(self) -> bytes:
        chunk = await self._raw.read(self._want)
        self._heard()
        self._traffic.note_received(len(chunk))
        return chunk

    # ---- the end ----
    def abort(self, code: int) -> None:
        if self._aborted is not None:
            return
        self._aborted = code
        self._buffer.clear()
        # A pending read would block `stop`, a blocked write `reset`; their bytes are thrown away anyway.
        self._reading.cancel()
        if self._writing is not None:
            self._writing.cancel()
        if not self._connection.closed:
            self._tasks.spawn(self._reset(code))

    async def _reset(self, code: int) -> None:
        await self._reading.ended()
        if self._writing is not None:
            await asyncio.wait((self._writing,))
        await self._raw.reset(max(code, 0))

    def _check_usable(self) -> None:
        if self._aborted is not None:
            raise ConnectionLost("The stream was aborted here.")
