# SPDX-License-Identifier: GPL-3.0-or-later
"""Content that cannot be had now, told so that a person can act: the file, who wrote it, and why."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from holofsd.core.ids import BlobHash
from holofsd.sync.content import Fetcher
from holofsd.sync.members import Members
from holofsd.sync.status import UnavailableReport
from holofsd.tree.local import LocalVolume

MOST: Final = 20
NOWHERE: Final = "no device in reach has its content"
TOO_LARGE: Final = "it is said to be larger than the whole disk here"


def unavailable(volume: LocalVolume, fetcher: Fetcher, members: Members) -> tuple[UnavailableReport, ...]:
    """Lists content that cannot be had, at most `MOST` files."""
    return tuple(islice(_all(volume, fetcher, members), MOST))


def _all(volume: LocalVolume, fetcher: Fetcher, members: Members) -> Iterator[UnavailableReport]:
    content = volume.store.content
    too_large = dict.fromkeys(blob for blob, _size in content.beyond(fetcher.room.largest() - 1, MOST))
    for blob in too_large:
        yield from _report(volume, members, blob, TOO_LARGE)
    for blob in fetcher.hopeless():
        if blob not in too_large:
            yield from _report(volume, members, blob, NOWHERE)


def _report(volume: LocalVolume, members: Members, blob: BlobHash, why: str) -> Iterator[UnavailableReport]:
    wanted = volume.store.content.who_wants(blob)
    if wanted is None:
        return
    node, author, size = wanted
    device = members.membership.authors.get(author)
    name = members.told(device) if device is not None else ""
    yield UnavailableReport(volume.tree.path_of(node) or b"", device, name, size, why)
