# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of content with a list of chunks: several streams to several devices bring parts of one of them.

A job begins with its list, which one device is asked for; from then on every stream takes the next span of chunks that
no other one brings.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from holofsd.core.chunk_list import ChunkList
from holofsd.core.ids import DeviceId
from holofsd.core.runs import Places
from holofsd.sync.arriving import ArrivingBody
from holofsd.sync.jobs import Job
from holofsd.sync.promised_room import PromisedRoom
from holofsd.sync.spans import Span, Spans

ALL: Final = Places(None)


@dataclass(slots=True, eq=False)
class BodyJob(Job):
    """Content that is fetched in chunks. `chunks`: its list, None until it is here."""

    is_body: ClassVar[bool] = True
    chunks: ChunkList | None = None
    spans: Spans | None = None
    arriving: ArrivingBody | None = None
    room: PromisedRoom | None = None
    """Where its bytes go; from its list on."""
    has: dict[DeviceId, Places] = field(default_factory=dict)
    """Chunks of devices that do not have all of them, as they say."""
    streams: Counter[DeviceId] = field(default_factory=Counter)
    """Streams to each device that bring parts of it."""

    def start_over(self) -> None:
        """Forgets its list, which is read again when a device can be asked for more."""
        self.chunks = self.spans = self.arriving = None

    def claim_room(self) -> int:
        """Claims room on the disk for all that lacks; how many bytes that is. Raises NoSpace."""
        needed = self.spans.lacking_bytes if self.spans is not None else 0
        if self.room is not None:
            self.room.claim(needed)
        return needed

    # ---- streams
    def enter(self, device: DeviceId, now: float) -> None:
        """One more stream to that device."""
        Job.enter(self, device, now)
        self.streams[device] += 1

    def leave(self, device: DeviceId) -> None:
        self.streams[device] -= 1
        if self.streams[device] <= 0:
            del self.streams[device]
            self.has.pop(device, None)  # it may have more when it is asked again
            Job.leave(self, device)

    # ---- what a device can do for it
    def is_open_to(self, device: DeviceId, now: float, urgent_only: bool) -> bool:
        if self.spans is None:
            return not self.takers
        return self.spans.has_work(device, now, self.has.get(device, ALL), self.patience)

    def hedge_at(self, limited: bool) -> float:
        """The list is asked of a second device as a blob is. Spans that are late are asked of another one, too."""
        if self.spans is None:
            return Job.hedge_at(self, limited)
        return self.spans.slow_at(self.patience)

    def needs_another(self, now: float, limited: bool = False) -> bool:
        return self.spans is None and Job.needs_another(self, now, limited)

    def take(self, device: DeviceId, most: int) -> Span | None:
        """The next span for a stream to that device, of at most so many bytes unless one chunk has more."""
        if self.spans is None:
            return None
        now = asyncio.get_running_loop().time()
        return self.spans.take(device, now, self.has.get(device, ALL), self.patience, most=most)

    def lacks_at(self, device: DeviceId, missing: Iterable[int]) -> None:
        """Notes chunks that a device said it does not have."""
        assert self.chunks is not None
        parts = [range(chunk, chunk + 1) for chunk in missing]
        self.has[device] = self.has.get(device, ALL).cleared(parts, self.chunks.count)
