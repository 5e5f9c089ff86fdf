# SPDX-License-Identifier: GPL-3.0-or-later
"""The volume as it was at some time, as files that can only be read: `.holofs/at/<time>/…` in every mount, and mounts
of one time.

Inode numbers are made from the time and the node, so they are the same after a restart; what they mean is remembered
for the last 100,000. A number that was forgotten is stale, and the kernel looks the path up again. Those of open
files are written down, so that they are known after a restart.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from blake3 import blake3

from holofs_api import PAST_INO
from holofs_api.times import parse_time
from holofs_api.virtual_attributes import STATE, is_virtual
from holofsd.core.errors import (
    BadArgument,
    HoloError,
    IsADirectory,
    NoAttribute,
    NoSuchName,
    NotADirectory,
    StaleHandle,
)
from holofsd.core.ids import ROOT_INO, Ino, NodeId
from holofsd.core.project import token
from holofsd.core.retention import DAY_MS
from holofsd.core.state import Kind, Target, Version
from holofsd.fs.content.contents import Contents
from holofsd.fs.shared.virtual_attributes import of_version, require
from holofsd.fs.types import Attr, ContentMap, Listing
from holofsd.tree.past import Past, PastEntry

HIDDEN: Final = b".holofs"
"""In the root; found by name, never listed."""
_AT: Final = b"at"
_HIDDEN_INO: Final = Ino(PAST_INO)
_AT_INO: Final = Ino(PAST_INO + 1)
_KEPT: Final = 100_000
_HELD: Final = 1000
"""Inodes that are written down."""
_PAGE: Final = 1000
_SLICE: Final = 100
_MOST_DAYS: Final = 400
_DATED: Final = re.compile(r"\d{4}-\d\d-\d\d.*")
"""Names below `at`. A kernel remembers names, so one that means another time tomorrow will not do."""


@dataclass(frozen=True, slots=True)
class _Spot:
    at_ms: int
    entry: PastEntry


class PastFiles:
    """Inode numbers and attributes of files as they were, for mounts."""

    def __init__(self, past: Past, contents: Contents, now_ms: Callable[[], int]) -> None:
        self._past = past
        self._contents = contents
        self._now_ms = now_ms
        self._spots: OrderedDict[Ino, _Spot] = OrderedDict()
        self._history = past.tree.store.history

    # ---- numbers
    def _spot(self, ino: Ino) -> _Spot:
        spot = self._spots.get(ino) or self._written_down(ino)
        if spot is None:
            raise StaleHandle("This name has to be looked up again.")
        self._spots.move_to_end(ino)
        return spot

    def _written_down(self, ino: Ino) -> _Spot | None:
        known = self._history.past_inode(ino)
        entry = self._past.entry_of(known[1], known[2], known[0]) if known else None
        if known is None or entry is None:
            return None
        self._remember(known[0], entry)
        return self._spots.get(ino)

    def is_known(self, ino: Ino) -> bool:
        return ino in self._spots or self._written_down(ino) is not None

    def hold(self, ino: Ino, is_open: Callable[[Ino], bool]) -> None:
        """Writes down what an inode is that a program opens. What no program has open any more goes when there is much
        of it."""
        spot = self._spot(ino)
        # Where the disk is full, it can be read all the same, until the daemon ends.
        with suppress(HoloError), self._past.tree.store.db.transaction():
            held = self._history.past_inodes()
            if len(held) >= _HELD:
                self._history.forget_past_inodes(other for other in held if not is_open(other))
            self._history.keep_past_inode(ino, spot.at_ms, spot.entry.node, spot.entry.name)

    def root(self, at_ms: int) -> Attr:
        """The root directory as it was then."""
        return self._remember(at_ms, self._past.root(at_ms))

    def _remember(self, at_ms: int, entry: PastEntry) -> Attr:
        digest = blake3(at_ms.to_bytes(8, "big") + entry.node).digest(8)
        ino = Ino(PAST_INO | (int.from_bytes(digest, "big") >> 4) | 2)
        self._spots[ino] = _Spot(at_ms, entry)
        if len(self._spots) > _KEPT:
            self._spots.popitem(last=False)
        return self._attr(ino, at_ms, entry)

    def _attr(self, ino: Ino, at_ms: int, entry: PastEntry) -> Attr:
        version, was = entry.version, entry.settings
        mtime_ns, has_xattrs = was.mtime_ns, bool(was.xattrs)
        if version is None:
            when = at_ms * 1_000_000
            return Attr(ino, Kind.DIRECTORY, was.mode, 0, 2, mtime_ns, when, b"", has_xattrs, False)
        remote, when = not self._past.tree.is_here(version), version.stamp.wall_ms * 1_000_000
        return Attr(ino, entry.kind, was.mode, version.size, 1, mtime_ns, when, token(version.dot), has_xattrs, remote)

    def _folder(self, ino: Ino) -> Attr:
        # For the mount's own user alone: what others may not read any more, they may not read as it was.
        when = self._now_ms() // DAY_MS * DAY_MS * 1_000_000
        return Attr(ino, Kind.DIRECTORY, 0o500, 0, 3, when, when, b"", False, False)

    # ---- names
    def lookup(self, parent: Ino, name: bytes) -> Attr:
        """Raises NoSuchName, NotADirectory, StaleHandle."""
        if parent == ROOT_INO and name == HIDDEN:
            return self._folder(_HIDDEN_INO)
        if parent == _HIDDEN_INO and name == _AT:
            return self._folder(_AT_INO)
        if parent == _AT_INO:
            return self._remember(*self._time(name))
        if parent == _HIDDEN_INO:
            raise NoSuchName("There is no such file or directory.")
        spot = self._spot(parent)
        if spot.entry.kind is not Kind.DIRECTORY:
            raise NotADirectory("This is not a directory.")
        entry = self._past.child(spot.entry.node, name, spot.at_ms)
        if entry is None:
            raise NoSuchName("There was no such file or directory then, or it is not kept any more.")
        return self._remember(spot.at_ms, entry)

    def _time(self, name: bytes) -> tuple[int, PastEntry]:
        text = name.decode("utf-8", "replace")
        try:
            if _DATED.fullmatch(text):
                at_ms = parse_time(text, datetime.now(UTC).astimezone())
                return at_ms, self._past.root(at_ms)
        except ValueError:
            pass
        raise NoSuchName("Say a time like 2026-11-20 or '2026-11-20 14:30'.")

    def get_attr(self, ino: Ino) -> Attr:
        if ino in (_HIDDEN_INO, _AT_INO):
            return self._folder(ino)
        spot = self._spot(ino)
        return self._attr(ino, spot.at_ms, spot.entry)

    async def read_dir(self, ino: Ino, after: bytes, limit: int) -> Listing:
        wanted = min(limit, _PAGE) if limit > 0 else _PAGE
        if ino == _HIDDEN_INO:
            return Listing(() if after else ((_AT, self._folder(_AT_INO)),), True)
        if ino == _AT_INO:
            days = [day for day in self._days() if day > after][:wanted]
            return Listing(tuple((day, self.lookup(ino, day)) for day in days), len(days) < wanted)
        spot = self._spot(ino)
        if spot.entry.kind is not Kind.DIRECTORY:
            raise NotADirectory("This is not a directory.")
        found: list[tuple[bytes, Attr]] = []
        names = [pair for pair in self._past.names(spot.entry.node, spot.at_ms) if pair[0] > after]
        for number, (name, node) in enumerate(names):
            entry = self._past.entry_of(node, name, spot.at_ms)
            if entry is not None:
                found.append((name, self._remember(spot.at_ms, entry)))
            if len(found) == wanted:
                return Listing(tuple(found), number + 1 == len(names))
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
        return Listing(tuple(found), True)

    def _days(self) -> list[bytes]:
        """Days at whose beginning something was that is not now."""
        begins = self._past.tree.store.history.begins_ms()
        if begins is None:
            return []
        now_ms = self._now_ms()
        first = max(begins, now_ms - _MOST_DAYS * DAY_MS)
        days = {datetime.fromtimestamp(at / 1000).date() for at in range(first, now_ms + 1, DAY_MS // 2)}
        return sorted(day.isoformat().encode() for day in days)

    # ---- extended attributes
    def xattrs(self, ino: Ino) -> Mapping[bytes, bytes]:
        return {} if ino in (_HIDDEN_INO, _AT_INO) else self._spot(ino).entry.settings.xattrs

    def get_xattr(self, ino: Ino, name: bytes) -> bytes:
        if is_virtual(name):
            return self._virtual(ino, name)
        value = self.xattrs(ino).get(name)
        if value is None:
            raise NoAttribute("There was no such attribute then.")
        return value

    def list_xattr(self, ino: Ino) -> tuple[bytes, ...]:
        return tuple(sorted(name for name in self.xattrs(ino) if not is_virtual(name)))

    def _virtual(self, ino: Ino, name: bytes) -> bytes:
        if name == STATE:
            return b"past"
        return require(b"" if ino in (_HIDDEN_INO, _AT_INO) else of_version(self._spot(ino).entry.version, name))

    # ---- content
    def read_link(self, ino: Ino) -> bytes:
        version = self._spot(ino).entry.version
        if version is None or not isinstance(version.body, Target):
            raise BadArgument("This is not a symlink.")
        return version.body.path

    def map_of(self, ino: Ino) -> ContentMap:
        return self._contents.map_of_version(self.version(ino)[1])

    def version(self, ino: Ino) -> tuple[NodeId, Version]:
        entry = self._spot(ino).entry
        if entry.version is None:
            raise IsADirectory("This is a directory.")
        return entry.node, entry.version

    async def fetch(self, ino: Ino) -> ContentMap:
        node, version = self.version(ino)
        await self._contents.bring(node, version)
        return self._contents.map_of_version(version)
