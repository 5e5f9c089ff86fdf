# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filesystem needs of the world beyond this device: `sync.VolumeSync` satisfies it, tests bring their own."""

from __future__ import annotations

from typing import Protocol

from holofsd.core.ids import BlobHash


class ContentSource(Protocol):
    @property
    def can_write(self) -> bool:
        """This device is a writer or admin of the volume."""
        ...

    async def fetch(self, hash: BlobHash, size: int, timeout: float) -> None:
        """Returns when the blob is in the content store; raises ContentUnavailable or ContentTimeout."""
        ...
