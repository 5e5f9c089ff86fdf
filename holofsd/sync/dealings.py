# SPDX-License-Identifier: GPL-3.0-or-later
"""Allowances of other devices: how much each may cost this one, kept from one session to the next.

A device that asks for more than its allowance is answered later, never refused: its stream is not read meanwhile, and
QUIC holds it back. An honest device meets none of these limits, and what one device uses up is taken from no other.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

from holofsd.core.allowance import Allowance, Recent
from holofsd.core.ids import AuthorId, BlobHash, DeviceId
from holofsd.sync.config import SyncConfig

DEVICES = 1024
"""Devices whose dealings are remembered."""
BLOBS = 4096
"""Blobs of which is remembered how far a device had them from here; as many bodies."""
PIECE = 4096
"""Bytes that a piece of content which was sent before counts for at least."""


class Dealings:
    """Allowances of one device in one volume. Times are the loop's."""

    def __init__(self, config: SyncConfig) -> None:
        self._talk = Allowance(config.talk_rate, config.talk_burst)
        self._again = Allowance(config.again_rate, config.again_burst)
        self._openings = Allowance(config.opening_rate, config.opening_burst)
        self._pages: dict[AuthorId, int] = {}
        """How far each author's records were sent."""
        self._blobs: OrderedDict[BlobHash, int] = OrderedDict()
        """How far each was sent."""
        self._bodies: OrderedDict[BlobHash, int] = OrderedDict()
        """How much of each was sent, in any order."""

    def talked(self, cost: float, now: float) -> float:
        """Counts a frame that was acted on; returns the seconds to wait before the next is read. Cost 1: some 50 µs."""
        return self._talk.take(cost, now)

    def opened(self, now: float) -> float:
        """Counts a stream that was opened; returns the seconds to wait before it is answered."""
        return self._openings.take(1, now)

    def page_sent(self, author: AuthorId, after: int, last: int, size: int, now: float) -> None:
        """Counts a page of records, from `after` to `last`, if it was sent before."""
        if after < self._pages.get(author, 0):
            self._again.take(size, now)
        self._pages[author] = max(last, self._pages.get(author, 0))

    def page_wait(self, now: float) -> float:
        """The seconds to wait before the next page."""
        return self._again.wait(now)

    def latest_blobs(self, most: int) -> dict[BlobHash, int]:
        """Bytes of each of the contents that the device asked for last that were sent."""
        found = dict(islice(reversed(self._bodies.items()), most))
        return found | dict(islice(reversed(self._blobs.items()), most))

    def piece_wanted(self, blob: BlobHash, start: int, end: int, now: float) -> float:
        """The seconds to wait before these bytes of a blob are sent. Only what was sent before counts: a device that
        goes on where a connection broke waits for nothing, however much is left."""
        sent = self._blobs.get(blob)
        _remember(self._blobs, blob, max(end, sent or 0))
        if sent is None or sent <= start < end:
            return 0.0
        return self._again.take(max(min(end, sent) - start, PIECE), now)

    def chunk_wanted(self, cid: BlobHash, whole: int, size: int, now: float) -> float:
        """The seconds to wait before so many bytes are sent of content that has `whole` bytes, its list included. Its
        chunks are asked for in any order, over several streams, so only what goes beyond all of it counts."""
        sent = self._bodies.get(cid, 0) + size
        _remember(self._bodies, cid, min(sent, whole))
        return self._again.take(max(min(sent - whole, size), PIECE), now) if sent > whole else 0.0


def _remember(known: OrderedDict[BlobHash, int], content: BlobHash, sent: int) -> None:
    known[content] = sent
    known.move_to_end(content)
    if len(known) > BLOBS:
        known.popitem(last=False)


class AllDealings:
    """Dealings of one volume with each other device."""

    def __init__(self, config: SyncConfig) -> None:
        self._devices: Recent[DeviceId, Dealings] = Recent(lambda: Dealings(config), DEVICES)

    def of(self, device: DeviceId) -> Dealings:
        return self._devices.of(device)

    def latest_blobs(self, device: DeviceId, most: int) -> dict[BlobHash, int]:
        """See `Dealings.latest_blobs`. A look like this makes no dealings, and does not count as some."""
        dealings = self._devices.known(device)
        return dealings.latest_blobs(most) if dealings is not None else {}
