# SPDX-License-Identifier: GPL-3.0-or-later
"""Interface of the daemon to the Control service for imports and exports, as a protocol (see `device_api`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from holofsd.fs.transfers import ExportItem, ImportSession


class TransferService(Protocol):
    def importing(self, volume: str) -> ImportSession:
        """Begins an import. The caller closes it."""

    def export(self, volume: str, path: bytes) -> AsyncIterator[ExportItem]:
        """Items of what is at a path, each folder before what is in it."""
