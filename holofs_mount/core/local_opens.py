# SPDX-License-Identifier: GPL-3.0-or-later
"""Local opens: small files are opened to read without a call to the daemon.

Where the attributes are known to be right (the Watch stream keeps them so) and the content of the version they name
is known too, the daemon has nothing to add. A handle is unregistered unless it stays open: see `core.registration`.
Until then a version from elsewhere comes under the reader, whose file is frozen then (`HandleTable.freeze`): as with an
atomic replace it goes on with what it had, and a program that opens the file meanwhile reads past the kernel's pages.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.content import MappedBody, NotHere
from holofs_mount.core.daemon_calls import DaemonCalls
from holofs_mount.core.mount_state import MountState
from holofs_mount.core.openfile import Freshness, Handle, OpenFile, Registration, Tracking
from holofs_mount.core.registration import Registrar

_ROW: Final = 3
"""Files opened one soon after the other, before siblings are asked for."""
_ROW_SECONDS: Final = 0.2
_MOST_AHEAD: Final = 64


class SiblingPrefetch:
    """Number of siblings, the files that follow in a directory, to ask for with a file that is opened.

    It doubles while most of the last ones were opened, so that a program that reads a directory needs few calls. Else
    it halves: to describe a file costs the daemon a third of opening one.
    """

    def __init__(self) -> None:
        self._in_a_row = 0
        self._asked_at = 0.0
        self._most = 1
        self._received: set[int] = set()
        self._not_opened: set[int] = set()

    def count(self) -> int:
        """Number of siblings to ask for with the open that happens now."""
        now = time.monotonic()
        self._in_a_row = self._in_a_row + 1 if now - self._asked_at < _ROW_SECONDS else 0
        self._asked_at = now
        if self._in_a_row < _ROW:
            return 0
        useful = 2 * len(self._not_opened) <= len(self._received)
        self._most = min(2 * self._most, _MOST_AHEAD) if useful else max(self._most // 2, 1)
        return self._most

    def received(self, inos: Iterable[int]) -> None:
        """Notes the siblings that came."""
        self._received = set(inos)
        self._not_opened = set(self._received)

    def opened(self, ino: int) -> None:
        """Notes that a sibling was of use."""
        self._not_opened.discard(ino)


class LocalOpens:
    """Opens known small files for reading. The daemon does not know their handles until they last."""

    def __init__(self, state: MountState, daemon: DaemonCalls, registrar: Registrar) -> None:
        self._state = state
        self._daemon = daemon
        self._registrar = registrar
        self.prefetch = SiblingPrefetch()

    def open(self, ino: int, pid: int) -> Handle | None:
        """Opens a file if attributes and content are known. None: the daemon has to be asked."""
        attr = self._state.attrs.get(ino)
        if attr is None or attr.writing or not self._daemon.connected:
            return None
        content = self._state.maps.get(ino, attr.version)
        file = self._file(attr, content) if content is not None else None
        if file is None:
            return None
        self.prefetch.opened(ino)
        number = self._state.table.number()
        handle = Handle(number, file, write=False, append=False, pid=pid, registration=Registration.UNREGISTERED)
        self._state.table.add(handle)
        self._state.bases.has_read(ino, file.version, pid)
        self._registrar.watch_for_lingering(handle)
        return handle

    def _file(self, attr: pb.Attr, content: pb.ContentMap) -> OpenFile | None:
        file = self._state.table.files.get(attr.ino)
        if file is not None:
            same = file.version == content.version and isinstance(file.body, MappedBody)
            may_join = file.freshness is Freshness.CURRENT and file.tracking is Tracking.FOLLOWING
            return file if same and may_join else None
        body = MappedBody(content)
        try:
            body.hold()
        except (NotHere, OSError):
            self._state.maps.drop(attr.ino)
            body.close()
            return None
        return OpenFile(attr.ino, body, attr, content.version)

    def cache_file(self, file: pb.AheadFile | pb.OpenReply, since: int) -> None:
        """Caches attributes and content map of a file, asked for or received in the epoch `since`."""
        self._state.cache_attr(file.attr, since)
        self.cache_map(file.attr, file.map, since)

    def cache_map(self, attr: pb.Attr, content: pb.ContentMap, since: int) -> None:
        """Caches the content map of a small file, asked for in the epoch `since`."""
        small = content.size <= self._state.inline_limit and not (content.staging or attr.remote or attr.writing)
        if small and attr.version == content.version and self._state.epochs.unchanged(attr.ino, since):
            self._state.maps.put(attr.ino, content)


def inline_map(version: bytes, data: bytes) -> pb.ContentMap:
    """Content map of content that is known here."""
    extents = [pb.Extent(length=len(data), inline=data)] if data else []
    return pb.ContentMap(version=version, size=len(data), extents=extents)
