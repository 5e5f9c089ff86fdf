# SPDX-License-Identifier: GPL-3.0-or-later
"""Caches of attributes, content maps and whole directory listings: bounded, kept right by the Watch stream."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from holofs_api.stamps import LEAD_NS
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.gone import GoneDirectories

MAX_ATTRS: Final = 200_000
MAX_ENTRIES: Final = 400_000
MAX_CONTENT: Final = 16 << 20
"""Bytes of small files in the cache; each file counts `_EACH` more."""
_EACH: Final = 512
PATCH_SECONDS: Final = 0.5
"""Seconds for which the times of a directory may be a guess, after this mount changed a name in it."""


class AttrCache:
    """Attributes by inode, oldest out first. Entries are shared: copy before changing one."""

    def __init__(self) -> None:
        self._attrs: dict[int, pb.Attr] = {}
        self._guessed: dict[int, float] = {}
        self.any_pending: Callable[[], bool] = lambda: False
        """Whether operations of this mount are unanswered: guesses hold until they are answered."""
        self.gone = GoneDirectories()

    def get(self, ino: int) -> pb.Attr | None:
        if ino in self._guessed and self._guessed[ino] < time.monotonic() and not self.any_pending():
            self.drop(ino)
        return self._attrs.get(ino)

    def put(self, attr: pb.Attr) -> None:
        if len(self._attrs) >= MAX_ATTRS:
            for old in list(self._attrs)[: MAX_ATTRS // 10]:
                self.drop(old)
        self._attrs[attr.ino] = attr
        self._guessed.pop(attr.ino, None)
        if attr.kind == pb.KIND_DIRECTORY:
            self.gone.exists(attr)

    def drop(self, ino: int) -> None:
        self._attrs.pop(ino, None)
        self._guessed.pop(ino, None)

    def clear(self) -> None:
        self._attrs.clear()
        self._guessed.clear()

    def touch_directory(self, ino: int, when_ns: int, more_subdirectories: int = 0) -> None:
        """Guesses the attributes of a directory in which this mount made or removed a name at `when_ns`.

        Asking the daemon after each of a thousand creations would cost more than they do. Times that were set far ahead
        come back to `when_ns`.
        """
        attr = self._attrs.get(ino)
        if attr is None:
            return
        patched = pb.Attr()
        patched.CopyFrom(attr)
        patched.mtime_ns = when_ns if attr.mtime_ns > when_ns + LEAD_NS else max(when_ns, attr.mtime_ns)
        patched.ctime_ns = max(when_ns, attr.ctime_ns)
        patched.nlink += more_subdirectories
        self._attrs[ino] = patched
        self._guessed.setdefault(ino, time.monotonic() + PATCH_SECONDS)

    def guessed(self, ino: int) -> bool:
        """Whether the cached attributes of an inode are a guess."""
        return ino in self._guessed


class MapCache:
    """Content maps of small files, for local opens. Least recently used out first.

    A map is right for the version that it names. The attributes say whether that is the one shown.
    """

    def __init__(self) -> None:
        self._maps: OrderedDict[int, pb.ContentMap] = OrderedDict()
        self._bytes = 0

    def get(self, ino: int, version: bytes) -> pb.ContentMap | None:
        content = self._maps.get(ino)
        if content is None or content.version != version:
            return None
        self._maps.move_to_end(ino)
        return content

    def put(self, ino: int, content: pb.ContentMap) -> None:
        self.drop(ino)
        self._maps[ino] = content
        self._bytes += _weight(content)
        while self._bytes > MAX_CONTENT:
            self.drop(next(iter(self._maps)))

    def drop(self, ino: int) -> None:
        content = self._maps.pop(ino, None)
        if content is not None:
            self._bytes -= _weight(content)

    def clear(self) -> None:
        self._maps.clear()
        self._bytes = 0


def _weight(content: pb.ContentMap) -> int:
    return _EACH + sum(len(extent.inline) for extent in content.extents)


NEEDS_LOOKUP: Final = -1
"""Stands in place of an inode number: the daemon has to be asked where the name leads, if anywhere."""


@dataclass(slots=True)
class CachedListing:
    """All names of one directory."""

    names: dict[bytes, int]
    needs_lookup: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class Loading:
    """Listing that is being loaded, with the changes since: name to inode, 0 where the name was removed.

    `broken`: a change said too little, so the listing is used once and not cached.
    """

    overrides: dict[bytes, int] = field(default_factory=dict)
    broken: bool = False

    def set(self, name: bytes, ino: int) -> None:
        if ino == NEEDS_LOOKUP:
            self.broken = True
        else:
            self.overrides[name] = ino


class ListingCache:
    """Complete listings only, least recently used out first."""

    def __init__(self) -> None:
        self._listings: OrderedDict[int, CachedListing] = OrderedDict()
        self._loading: dict[int, Loading] = {}
        self._entries = 0

    def get(self, parent: int) -> CachedListing | None:
        listing = self._listings.get(parent)
        if listing is not None:
            self._listings.move_to_end(parent)
        return listing

    def put(self, parent: int, names: dict[bytes, int]) -> CachedListing:
        self.drop(parent)
        listing = CachedListing(names)
        self._listings[parent] = listing
        self._entries += len(names) + 1
        while self._entries > MAX_ENTRIES and len(self._listings) > 1:
            self.drop(next(iter(self._listings)))
        return listing

    def drop(self, parent: int) -> None:
        listing = self._listings.pop(parent, None)
        if listing is not None:
            self._entries -= len(listing.names) + 1
        if parent in self._loading:
            self._loading[parent].broken = True

    def clear(self) -> None:
        self._listings.clear()
        self._entries = 0
        for loading in self._loading.values():
            loading.broken = True

    def set(self, parent: int, name: bytes, ino: int) -> None:
        """Notes where a name leads. 0: it was removed. NEEDS_LOOKUP: it may lead elsewhere than before."""
        if parent in self._loading:
            self._loading[parent].set(name, ino)
        listing = self._listings.get(parent)
        if listing is None:
            return
        if ino == NEEDS_LOOKUP:
            listing.needs_lookup.add(name)
        else:
            listing.needs_lookup.discard(name)
        if ino:
            self._entries += name not in listing.names
            listing.names[name] = ino
        elif listing.names.pop(name, None) is not None:
            self._entries -= 1

    def begin(self, parent: int) -> Loading:
        loading = Loading()
        self._loading[parent] = loading
        return loading

    def end(self, parent: int, loading: Loading) -> None:
        if self._loading.get(parent) is loading:
            del self._loading[parent]
