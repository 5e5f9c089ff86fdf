# SPDX-License-Identifier: GPL-3.0-or-later
"""A command that changes files is answered when the mounts of the device show the change."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from holofsd.core.ids import ROOT_INO
from holofsd.daemon.device import Device
from holofsd.fs.types import Attachment, AttachRequest, ChangeBatch, CommitRequest, CreateRequest, Restored
from holofsd.rpc.history_api import Restoration
from tests.daemon.test_device import World

MOUNT = AttachRequest("test", "mount", "/mnt", 1, False, acknowledges=True)


@pytest.fixture
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="hfs-know-") as root:
        yield World(Path(root))


async def _is_published(device: Device) -> bool:
    (volume,) = (await device.status("docs")).volumes
    return not volume.unpublished and not volume.pending


async def _remove_something(device: Device) -> None:
    """A file whose content is kept, through a mount that is gone afterwards."""
    filesystem = await device.filesystem("docs")
    other = filesystem.attach(dataclasses.replace(MOUNT, mount_id="other"))
    await filesystem.create(other, CreateRequest(ROOT_INO, b"f", 0o644, exclusive=True, truncate=True, handle=1))
    await filesystem.commit(other, CommitRequest(1, data=b"x", seal=True, release=True))
    async with asyncio.timeout(60):
        while not await _is_published(device):  # noqa: ASYNC110 - what is watched tells nobody
            await asyncio.sleep(0.005)
    await filesystem.unlink(other, ROOT_INO, b"f")
    filesystem.detach(other)


async def _next(batches: AsyncIterator[ChangeBatch], name: bytes) -> ChangeBatch:
    async with asyncio.timeout(60):
        while True:
            batch = await anext(batches)
            if any(entry.name == name and not entry.gone for entry in batch.entries):
                return batch


async def _restored(device: Device, to: bytes) -> list[Restored]:
    async with aclosing(device.restore(Restoration("docs", b"f", to=to))) as steps:  # type: ignore[type-var]
        return [step async for step in steps]


@pytest.mark.parametrize("to", [b"", b"g"])
async def test_restore_is_answered_when_the_mounts_show_what_is_back(world: World, to: bytes) -> None:
    async with world.device("a") as device:
        await device.create_volume("docs")
        filesystem = await device.filesystem("docs")
        mount: Attachment = filesystem.attach(MOUNT)
        await _remove_something(device)
        batches = filesystem.watch(mount)
        filesystem.acknowledge(mount, (await anext(batches)).number)
        restoring = asyncio.ensure_future(_restored(device, to))
        batch = await _next(batches, to or b"f")
        for _ in range(5):
            await asyncio.sleep(0)
        assert batch.number > 0
        assert not restoring.done()
        filesystem.acknowledge(mount, batch.number)
        assert [step.path for step in await restoring] == [to or b"f"]
