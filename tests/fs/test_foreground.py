# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs are answered while the background is busy to the last thread: fsync, opening, reading."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from support.full_pool import pool_full
from tests.fs.harness import Device, Program
from tests.fs.test_browsing import content

LARGE = os.urandom(200_000)


async def test_fsync_is_done_of_a_file_that_is_written_of_one_that_is_not_hashed_yet_and_of_one_that_is(
    device: Device, program: Program
) -> None:
    await program.write("hashed", LARGE)
    await device.fs.hasher.drain()
    async with pool_full():
        handle = await program.create("written")
        await program.put(handle, LARGE)
        await device.fs.fsync(program.att, handle, await program.walk("written"), None)
        await program.release(handle)
        hashing = asyncio.ensure_future(device.fs.hasher.drain())
        for name in ("", "written", "hashed"):
            await device.fs.fsync(program.att, 0, await program.walk(name), None)
        assert not hashing.done()
    await hashing


async def test_a_large_file_is_copied_when_it_is_opened_to_be_changed(device: Device, program: Program) -> None:
    await program.write("film", LARGE)
    await device.fs.hasher.drain()
    async with pool_full():
        handle = await program.open("film", write=True)
        staged = await device.fs.stage(program.att, handle, empty=False, base=b"")
        assert Path(staged.path).read_bytes() == LARGE
        await program.release(handle)


async def test_content_is_read_by_path(device: Device, program: Program) -> None:
    await program.write("film", LARGE)
    await device.fs.hasher.drain()
    async with pool_full():
        assert await content(device, b"film") == LARGE
