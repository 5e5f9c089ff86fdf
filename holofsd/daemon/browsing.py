# SPDX-License-Identifier: GPL-3.0-or-later
"""Files without a mount, and the window, for a device's owner: the part of `Device` that answers
`rpc.browsing_api`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from holofsd.daemon.volumes import Volumes
from holofsd.daemon.window import WindowSupervisor
from holofsd.fs.types import FolderListing, IgnoredListing
from holofsd.rpc.browsing_api import WindowLink


class DeviceBrowsing:
    """The part of a device that shows its files, and its window."""

    _volumes: Volumes
    window: WindowSupervisor

    async def list_folder(self, volume: str, path: bytes, after: bytes, limit: int) -> FolderListing:
        return self._volumes.find(volume).filesystem.browsing.folder(path, after, limit)

    async def list_ignored(self, volume: str, limit: int) -> IgnoredListing:
        return await self._volumes.find(volume).filesystem.browsing.ignored(limit)

    async def read_file(self, volume: str, path: bytes) -> AsyncIterator[bytes]:
        async with aclosing(self._volumes.find(volume).filesystem.browsing.read(path)) as pieces:  # type: ignore[type-var]
            async for data in pieces:
                yield data

    async def open_window(self) -> WindowLink:
        return await self.window.link()
