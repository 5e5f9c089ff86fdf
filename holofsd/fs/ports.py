# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports of the filesystem to other devices: `sync.volume.VolumeSync` implements them, tests bring their own."""

from __future__ import annotations

from typing import Protocol

from holofsd.core.ids import BlobHash, NodeId


class ContentSource(Protocol):
    """Interface of `fs` to the layer that fetches content and knows the role of this device."""

    @property
    def can_write(self) -> bool:
        """This device is a writer or admin of the volume."""
        ...

    async def is_whole(self, hash: BlobHash, node: NodeId, thorough: bool) -> bool:
        """Whether content that should be here is: in full length, and if `thorough` by its hash. If not, it is missing
        from now on, and `node` wants it."""
        ...

    def is_damaged(self, hash: BlobHash) -> bool:
        """Whether content was here, and what is left of it cannot be used."""
        ...

    async def fetch(self, hash: BlobHash, size: int, timeout: float, is_list: bool = False) -> None:
        """Returns when the content is in the content store; raises ContentUnavailable or ContentTimeout. `is_list`: the
        hash is the id of a list of chunks."""
        ...
