# SPDX-License-Identifier: GPL-3.0-or-later
"""Write-behind against a whole daemon in this process: connections are lost, and the daemon refuses for a while."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fuzz.test_calls import ANSWER_S, scene
from holofs_mount.core.attributes import AttrChanges
from holofs_mount.core.mount_state import UNKNOWN_CALLER
from holofs_mount.core.volume import MountRequest, Volume
from holofsd.core.errors import NoSpace
from holofsd.fs.mounts.journals import Journals
from support.wait import until


@asynccontextmanager
async def mounted() -> AsyncIterator[Volume]:
    """The core of the only mount, which knows all names of the root."""
    async with scene() as place:
        place.honest.close()
        request = MountRequest("docs", Path("/nowhere"), place.state / "holofsd.sock", "behind", False, ANSWER_S)
        volume = Volume(request)
        await volume.start()
        await volume.names.listing(volume.state.root)
        await asyncio.to_thread(until, lambda: volume.state.only_mount, "the mount to be the only one")
        try:
            yield volume
        finally:
            async with asyncio.timeout(ANSWER_S):
                await volume.close()


async def save(volume: Volume, name: bytes, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT
    opened, _ = await volume.files.create(volume.state.root, name, 0o644, flags, UNKNOWN_CALLER)
    await volume.files.write(opened.handle, 0, data)
    await volume.saving.flush(opened.handle)
    await volume.saving.release(opened.handle)


async def load(volume: Volume, name: bytes) -> tuple[int, bytes]:
    """Mode and content."""
    attr = await volume.names.lookup(volume.state.root, name)
    opened = await volume.files.open(attr.ino, os.O_RDONLY, UNKNOWN_CALLER)
    data = await volume.files.read(opened.handle, 0, 10_000)
    await volume.saving.release(opened.handle)
    return attr.mode, data


async def all_answered(volume: Volume) -> None:
    queue = volume.write_behind.queue
    await asyncio.to_thread(until, lambda: not (queue.any_pending or queue.has_failed), "all answers")


@pytest.mark.parametrize("seed", [5, 6])
async def test_what_was_acknowledged_arrives_in_order_though_connections_are_lost(seed: int) -> None:
    chance, files, folders = random.Random(seed), dict[bytes, tuple[int, bytes]](), set[bytes]()
    async with mounted() as volume:
        root, before = volume.state.root, set((await volume.names.listing(volume.state.root)).names)
        for step in range(300):
            if step % 30 == 20:
                assert volume._client._session is not None
                volume._client._session.abandon()
            name, folder = b"file %d" % chance.randrange(40), b"folder %d" % chance.randrange(4)
            match chance.randrange(5):
                case 0 | 1 if name not in files:
                    files[name] = (0o644, chance.randbytes(chance.randrange(1, 2_000)))
                    await save(volume, name, files[name][1])
                case 2 if name in files:
                    files[name] = (chance.choice([0o600, 0o640]), files[name][1])
                    ino = (await volume.names.lookup(root, name)).ino
                    await volume.attributes.setattr(ino, AttrChanges(mode=files[name][0]), None, UNKNOWN_CALLER)
                case 3 if name in files:
                    del files[name]
                    await volume.names.unlink(root, name)
                case 4 if folder in folders:
                    folders.remove(folder)
                    await volume.names.rmdir(root, folder)
                case 4:
                    folders.add(folder)
                    await volume.names.mkdir(root, folder, 0o755)
        await all_answered(volume)
        assert volume.write_behind.queue.decided > 50, "operations were acknowledged early"
        volume.invalidate_everything()
        assert set((await volume.names.listing(root)).names) == before | folders | set(files)
        assert {name: await load(volume, name) for name in files} == files


async def test_what_the_daemon_refuses_for_now_is_replayed_in_order_and_fsync_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("holofs_mount.write_behind.queue._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("holofs_mount.write_behind.queue._LAST_PAUSE", 0.01)
    carry_out, is_full = Journals._attempt, False

    def attempt(self: Journals, *arguments: Any) -> None:
        if is_full:
            raise NoSpace("The disk is full.")
        carry_out(self, *arguments)

    monkeypatch.setattr(Journals, "_attempt", attempt)
    async with mounted() as volume:
        queue, root = volume.write_behind.queue, volume.state.root
        is_full = True
        for name in (b"one", b"two"):
            await save(volume, name, name)
        await volume.names.mkdir(root, b"folder", 0o755)
        await asyncio.to_thread(until, lambda: queue.has_failed, "the daemon to refuse")
        with pytest.raises(OSError, match="could not be stored yet"):
            await volume.saving.fsync_inode(root)
        is_full = False
        await all_answered(volume)
        await volume.saving.fsync_inode(root)
        assert await load(volume, b"one") == (0o644, b"one")
        assert await load(volume, b"two") == (0o644, b"two")
        assert b"folder" in (await volume.names.listing(root)).names
