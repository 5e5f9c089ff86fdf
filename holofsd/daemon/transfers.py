# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports and exports for a device's owner: the part of `Device` that answers `rpc.transfer_api`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from holofsd.daemon.volumes import Volumes
from holofsd.fs.transfers import ExportItem, ImportSession


class DeviceTransfers:
    """The part of a device that takes files in and tells of those that are copied out."""

    _volumes: Volumes

    def importing(self, volume: str) -> ImportSession:
        return self._volumes.find(volume).filesystem.importing.session()

    async def export(self, volume: str, path: bytes) -> AsyncIterator[ExportItem]:
        exporting = self._volumes.find(volume).filesystem.exporting
        async with aclosing(exporting.export(path)) as items:  # type: ignore[type-var]
            async for item in items:
                yield item
