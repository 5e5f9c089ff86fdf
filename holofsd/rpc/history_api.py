# SPDX-License-Identifier: GPL-3.0-or-later
"""Interface of the daemon to the Control service for showing the past and bringing it back, as a protocol and plain
values (see `device_api`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from holofsd.fs.types import Restored


@dataclass(frozen=True, slots=True)
class VersionSummary:
    id: str
    written_ms: int
    replaced_ms: int
    """0: the file has it."""
    size: int
    mtime_ns: int
    device: str
    here: bool
    shown: bool
    next: bool = False
    """What `restore` takes without a version."""


@dataclass(frozen=True, slots=True)
class HistoryReply:
    versions: tuple[VersionSummary, ...]
    taken: bool = False
    """Something of another kind is in the way: restoring needs another path."""


@dataclass(frozen=True, slots=True)
class Restoration:
    """Order to bring something back. Paths are inside the volume."""

    volume: str
    path: bytes
    version: str = ""
    at_ms: int = 0
    to: bytes = b""
    from_trash: bool = False


@dataclass(frozen=True, slots=True)
class TrashSummary:
    path: bytes
    kind: str
    removed_ms: int
    files: int
    bytes: int
    device: str
    here: bool
    taken: bool = False


@dataclass(frozen=True, slots=True)
class EmptyTrashReply:
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class HistoryStatus:
    all_seconds: int
    daily_seconds: int
    versions: int
    bytes: int
    trash_bytes: int = 0
    garbage_bytes: int = 0
    max_bytes: int = 0
    own_max: bool = False


DEFAULT_MAX = -1


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """Settings of what is to be kept; None: as it is. `max_bytes` -1: the default."""

    all_seconds: int | None = None
    daily_seconds: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class CollectGarbageReply:
    files: int
    bytes: int
    waiting: int
    waiting_bytes: int


class HistoryService(Protocol):
    async def history(self, volume: str, path: bytes) -> HistoryReply: ...

    def restore(self, wanted: Restoration) -> AsyncIterator[Restored]: ...

    async def list_trash(self, volume: str, path: bytes, single: bool) -> tuple[TrashSummary, ...]: ...

    async def empty_trash(self, volume: str, path: bytes, older_seconds: int) -> EmptyTrashReply: ...

    async def keep_history(self, volume: str, wanted: RetentionSettings) -> HistoryStatus:
        """Changes what is given, and says how it is now. `volume` "": of the device, which has a size and no times."""

    async def collect_garbage(self, volume: str, now: bool) -> CollectGarbageReply: ...
