# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of what is still to be sent: files and bytes that each other device of a volume lacks, as far as is known.

It follows from what the devices say in their marks, and from the records that are here. It is shown and nothing else:
whether something is safe on another device is decided by `Marks.safety` alone.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from holofsd.core.document import Head, Mark
from holofsd.core.ids import AuthorId, BlobHash, DeviceId, Dot
from holofsd.core.project import token
from holofsd.store.lacking import MOST_RECORDS, HeldUpTo, Lacking, lacking_counter
from holofsd.store.threads import Pool, in_thread
from holofsd.store.volume import VolumeStore
from holofsd.sync.dealings import AllDealings
from holofsd.sync.marks import Marks
from holofsd.sync.members import Members

log = structlog.get_logger(__name__)

LEAST_REST_S: Final = 2.0
"""Figures are as old as this at most times: whoever asks meanwhile gets those of before."""
_REST: Final = 20
"""A count is not repeated before this many times as long as it took."""
_MOST_S: Final = 1.0
"""Devices that have to wait longer than this for their turn keep the figures of before. Those come first next time."""
_AT_ONCE: Final = 8
"""Contents on their way to one device that are looked at; it fetches fewer at once."""


class ToSendFigures:
    """Figures of one volume, counted when somebody asks and kept for some seconds. `clock` gives seconds."""

    def __init__(
        self,
        store: VolumeStore,
        members: Members,
        marks: Marks,
        dealings: AllDealings,
        clock: Callable[[], float] = time.monotonic,
        most: int = MOST_RECORDS,
    ) -> None:
        self._store = store
        self._members = members
        self._marks = marks
        self._dealings = dealings
        self._clock = clock
        self._most = most
        self._figures: dict[DeviceId, Lacking] = {}
        self._counted_at: dict[DeviceId, float] = {}
        self._under_way: dict[DeviceId, tuple[Mark, dict[BlobHash, int]]] = {}
        """Bytes sent of contents that were seen on their way since the device last said what it holds."""
        self._rest_until = float("-inf")
        self._turn = asyncio.Lock()

    def of(self, device: DeviceId) -> Lacking | None:
        """Returns what a device lacked when that was counted last; None where it is not known, because the device never
        said what it holds, has left, or answers for this volume no more."""
        return self._figures.get(device) if self._marks.said(device) is not None else None

    def sent_of(self, device: DeviceId) -> int:
        """Returns how many of the bytes that a device lacks were sent to it already, in contents on their way. One that
        was sent to its end counts until the device says anew what it holds: else its bytes would be to go again."""
        lacking, mark = self.of(device), self._marks.said(device)
        if lacking is None or mark is None or not lacking.bytes:
            self._under_way.pop(device, None)
            return 0
        said, blobs = self._under_way.get(device, (mark, {}))
        if said is not mark:
            blobs = {}
        for blob, sent in self._dealings.latest_blobs(device, _AT_ONCE).items():
            size = self._store.content.size(blob)
            if size is not None and (sent < size or blob in blobs):
                blobs[blob] = min(sent, size)
        self._under_way[device] = mark, blobs
        return min(sum(blobs.values()), lacking.bytes)

    async def refresh(self) -> None:
        """Counts anew unless that was done a moment ago. The counting itself is off the loop."""
        async with self._turn:
            if self._clock() < self._rest_until:
                return
            began = self._clock()
            try:
                await self._count()
            except sqlite3.Error as error:
                log.warning("what is to be sent cannot be counted now", why=str(error))
                self._figures = {}
            took = self._clock() - began
            self._rest_until = self._clock() + max(LEAST_REST_S, _REST * took)

    async def _count(self) -> None:
        marks = [mark for device in self._members.others() if (mark := self._marks.said(device)) is not None]
        marks.sort(key=lambda mark: self._counted_at.get(mark.device, float("-inf")))
        heads, is_all_told = self._store.documents.heads(), not self._store.outbox.count()
        figures = await in_thread(Pool.FOREGROUND, self._count_for, marks, heads, is_all_told) if marks else {}
        of = {mark.device for mark in marks}
        earlier = {device: before for device, before in self._figures.items() if device in of}
        self._figures = earlier | figures
        self._counted_at = {device: self._counted_at[device] for device in earlier} | dict.fromkeys(
            figures, self._clock()
        )

    def _count_for(
        self, marks: Sequence[Mark], heads: Mapping[AuthorId, Head], is_all_told: bool
    ) -> dict[DeviceId, Lacking]:
        """Counts in a thread, as many devices as there is time for. Those that hold the same are counted once."""
        until = self._clock() + _MOST_S
        published = {author: token(Dot(author, head.dots)) for author, head in heads.items()}
        known: dict[tuple[int, ...], Lacking] = {}
        if is_all_told:
            known[tuple(head.seq for head in heads.values())] = Lacking()
        figures: dict[DeviceId, Lacking] = {}
        with lacking_counter(self._store.db.path, self._most) as counter:
            for mark in marks:
                if figures and self._clock() >= until:
                    break
                said = {item.author: item.seq for item in mark.authors}
                # What a device says beyond what there is, is worth as much as there is.
                held = tuple(min(said.get(author, 0), head.seq) for author, head in heads.items())
                if held not in known:
                    known[held] = counter.count(map(HeldUpTo, heads, held, published.values()))
                figures[mark.device] = known[held]
        return figures
