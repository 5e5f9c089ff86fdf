# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that were removed while programs have them open, or work in them.

The daemon knows them no more, so this mount answers for them as a disk does: no links, no entries, attributes that can
still be changed, and nothing can be made inside.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from holofs_api.stamps import CLOCK
from holofs_api.v1 import filesystem_pb2 as pb

T = TypeVar("T")

_MOST: Final = 20_000
_ERRNOS: Final = (errno.ENOENT, errno.ESTALE)
"""Errors of the daemon about a directory that it does not know any more."""


@dataclass(eq=False, slots=True)
class GoneDirectory:
    """Removed directory: its last attributes, and the changes since. Its extended attributes went with it."""

    attr: pb.Attr
    xattrs: dict[bytes, bytes] = field(default_factory=dict)

    def set_xattr(self, name: bytes, value: bytes, create: bool, replace: bool) -> None:
        """Raises OSError EEXIST, ENODATA."""
        if create and name in self.xattrs:
            raise OSError(errno.EEXIST, "the attribute exists already")
        if replace and name not in self.xattrs:
            raise OSError(errno.ENODATA, "no such attribute")
        self.xattrs[name] = value

    def get_xattr(self, name: bytes) -> bytes:
        """Raises OSError ENODATA."""
        if name not in self.xattrs:
            raise OSError(errno.ENODATA, "no such attribute")
        return self.xattrs[name]

    def remove_xattr(self, name: bytes) -> None:
        """Raises OSError ENODATA."""
        self.get_xattr(name)
        del self.xattrs[name]


class GoneDirectories:
    """Removed directories by inode. Bounded: one that was dropped answers ENOENT."""

    def __init__(self) -> None:
        self._last: OrderedDict[int, pb.Attr] = OrderedDict()
        self._gone: OrderedDict[int, GoneDirectory] = OrderedDict()

    def exists(self, attr: pb.Attr) -> None:
        """Notes that the daemon has a directory, perhaps again."""
        self._gone.pop(attr.ino, None)
        self._last[attr.ino] = attr
        self._last.move_to_end(attr.ino)
        if len(self._last) > _MOST:
            self._last.popitem(last=False)

    def removed(self, ino: int) -> GoneDirectory | None:
        """Notes that an inode was removed. None: it is not known as a directory."""
        last = self._last.pop(ino, None)
        if last is None:
            return self._gone.get(ino)
        attr = pb.Attr()
        attr.CopyFrom(last)
        attr.nlink, attr.has_xattrs, attr.ctime_ns = 0, False, CLOCK.now()
        self._gone[ino] = GoneDirectory(attr)
        if len(self._gone) > _MOST:
            self._gone.popitem(last=False)
        return self._gone[ino]

    def get(self, ino: int) -> GoneDirectory | None:
        return self._gone.get(ino)

    def check(self, directory: int) -> None:
        """Raises OSError ENOENT for a directory that was removed: no name is made or found in it."""
        if directory in self._gone:
            raise OSError(errno.ENOENT, "the directory was removed")

    async def ask(self, ino: int, ask: Callable[[], Awaitable[T]], gone: Callable[[GoneDirectory], T]) -> T:
        """The result of `ask`, or of `gone` where the daemon does not know the directory any more."""
        known = self._gone.get(ino)
        if known is None:
            try:
                return await ask()
            except OSError as error:
                known = self.removed(ino) if error.errno in _ERRNOS else None
                if known is None:
                    raise
        return gone(known)
