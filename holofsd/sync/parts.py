# SPDX-License-Identifier: GPL-3.0-or-later
"""Large content on its way: one file that grows at its end, fed by one device, or by two that race.

A second device starts where the first one is. Bytes that are here already are dropped, so whoever is ahead makes the
file grow. Who sent some of it is remembered: if the whole does not hash right, only a device that sent all of it is
certainly to blame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from holofsd.core.ids import BlobHash, DeviceId
from holofsd.store import faults
from holofsd.store.content import Content, IncomingBlob

RACE: Final = 4.0
"""Seconds after which the slower of two devices is not waited for any more."""
UNKNOWN: Final = DeviceId(b"")
"""In the place of a device: what a run of this program before got, from whomever."""

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


@dataclass(slots=True, eq=False)
class Feeder:
    """One device that sends a part. `position`: of its next byte; `buffer` is not written yet."""

    device: DeviceId
    position: int
    began: float
    buffer: bytearray = field(default_factory=bytearray)
    mark: int = 0
    """Its position when the last feeder came."""

    @property
    def gain(self) -> int:
        return self.position - self.mark

    def take(self, data: bytes) -> None:
        self.buffer += data
        self.position += len(data)


class Part:
    """`in_thread` runs what blocks. Open it with `join`; the file closes with the last feeder that leaves."""

    def __init__(self, content: Content, blob: BlobHash, in_thread: InThread) -> None:
        self._content = content
        self._blob = blob
        self._in_thread = in_thread
        self._file: IncomingBlob | None = None
        self._lock = asyncio.Lock()
        self._feeders: list[Feeder] = []
        self.sources: set[DeviceId] = set()
        self.size: int | None = None
        """As the devices that send it say."""
        self.is_over = False
        """It is whole, or was thrown away."""

    async def join(self, device: DeviceId, owner: DeviceId | None = None) -> Feeder:
        """One more device sends it, from where the others are. `owner`: of a file that is one device's alone."""
        async with self._lock:
            if self._file is None:
                self._file = await self._in_thread(lambda: self._content.receive(self._blob, owner or b""))
                if self._file.offset and not self.sources:
                    self.sources.add(owner or UNKNOWN)
            for feeder in self._feeders:
                await self._write(feeder)
            now = asyncio.get_running_loop().time()
            joined = Feeder(device, self._file.offset, now)
            self._feeders.append(joined)
            for feeder in self._feeders:
                feeder.mark = feeder.position
            return joined

    async def leave(self, feeder: Feeder) -> None:
        """Ends a feeder's part in the content. What it sent stays, for the one that goes on."""
        async with self._lock:
            self._feeders.remove(feeder)
            if self._file is not None and not self._feeders:
                try:
                    if not self.is_over:
                        await self._write(feeder)
                finally:
                    self._file.abandon()
                    self._file = None

    async def write(self, feeder: Feeder) -> None:
        async with self._lock:
            await self._write(feeder)

    async def _write(self, feeder: Feeder) -> None:
        """Writes the part of a feeder's bytes that is new."""
        file = self._file
        data, feeder.buffer = bytes(feeder.buffer), bytearray()
        if file is None or self.is_over or not data:
            return
        fresh = data[max(file.offset - (feeder.position - len(data)), 0) :]
        if fresh:
            self.sources.add(feeder.device)
            await self._in_thread(lambda: file.write(fresh))
            faults.reach("fetching.part")

    async def finish(self) -> Path | None:
        """Verifies the whole; None if another device was faster. Raises Refused, and deletes it, if it is not right."""
        async with self._lock:
            if self.is_over or self._file is None:
                return None
            self.is_over = True
            path: Path = await self._in_thread(self._file.finish)
            return path

    def loser(self, now: float) -> tuple[DeviceId, bool] | None:
        """The device that need not go on, because another one is faster; whether it is slow beside that one."""
        if len(self._feeders) < 2:
            return None
        *before, newest = self._feeders
        ahead = max(before, key=lambda feeder: feeder.position)
        if newest.position > ahead.position and newest.gain >= 2 * ahead.gain:
            slowest = min(before, key=lambda feeder: feeder.position)
            return slowest.device, slowest.gain * 4 < newest.gain
        if now - newest.began > RACE:
            slowest = min(self._feeders, key=lambda feeder: feeder.position)
            best = max(self._feeders, key=lambda feeder: feeder.gain)
            return slowest.device, slowest.gain * 4 < best.gain
        return None
