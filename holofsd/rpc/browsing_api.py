# SPDX-License-Identifier: GPL-3.0-or-later
"""Interface of the daemon to the Control service for files without a mount, and for the window, as a protocol and plain
values (see `device_api`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from holofsd.fs.types import FolderListing, IgnoredListing


@dataclass(frozen=True, slots=True)
class WindowLink:
    """A link to the window that is good once."""

    link: str
    expires_at_ms: int

    def __repr__(self) -> str:
        return "WindowLink(link=<hidden>)"


class BrowsingService(Protocol):
    async def list_folder(self, volume: str, path: bytes, after: bytes, limit: int) -> FolderListing: ...

    async def list_ignored(self, volume: str, limit: int) -> IgnoredListing: ...

    def read_file(self, volume: str, path: bytes) -> AsyncIterator[bytes]:
        """Content of a file, or the target of a symlink, in pieces."""

    async def open_window(self) -> WindowLink:
        """Starts the window if it does not run. Raises WindowFailed."""
