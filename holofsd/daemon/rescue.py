# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume whose index is damaged, served read-only: from a copy of what can be read, without others, until mended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from holofsd.check.mending import readable
from holofsd.codec.signing import generate
from holofsd.core.errors import ContentUnavailable
from holofsd.core.ids import AuthorId, BlobHash, DeviceId, NodeId, VolumeId
from holofsd.fs.filesystem import VolumeFilesystem
from holofsd.fs.settings import FsSettings
from holofsd.store.staging import Staging
from holofsd.store.threads import Pool, in_thread
from holofsd.store.volume import VolumeStore
from holofsd.tree.local import LocalVolume


class _KeptStaging(Staging):
    """The staging files are those of the damaged index: none of them goes, whatever this copy knows of them."""

    def remove(self, staging_id: str) -> None:
        self.forget(staging_id)

    def sweep(self) -> None:
        return


class _Nobody:
    """No other device is asked, and nothing may be written."""

    can_write = False

    async def is_whole(self, hash: BlobHash, node: NodeId, thorough: bool) -> bool:
        return True

    def is_damaged(self, hash: BlobHash) -> bool:
        return False

    async def fetch(self, hash: BlobHash, size: int, timeout: float, is_list: bool = False) -> None:
        raise ContentUnavailable("This content is not here, and others are not asked while the index is damaged.")


@dataclass(frozen=True, slots=True, eq=False)
class RescuedVolume:
    """Readable rest of a volume whose index is damaged."""

    filesystem: VolumeFilesystem
    resources: AsyncExitStack


async def rescue(
    volume: VolumeId, directory: Path, device: DeviceId, name: str, settings: FsSettings, now_ms: Callable[[], int]
) -> RescuedVolume:
    """Raises HoloError or OSError if nothing can be read."""
    copy = await in_thread(Pool.FOREGROUND, readable, volume, directory, device)
    async with AsyncExitStack() as stack:
        store = VolumeStore(volume, copy)
        stack.callback(store.close)
        store.staging = _KeptStaging(store.db, copy / "staging")
        if store.active_author() is None:
            key = generate()
            with store.db.transaction():
                store.add_author(AuthorId(key.public), key.seed)
        local = LocalVolume(store, "", now_ms)
        filesystem = VolumeFilesystem(local, _Nobody(), name, settings=settings, journals=False)
        stack.push_async_callback(filesystem.close)
        return RescuedVolume(filesystem, stack.pop_all())
