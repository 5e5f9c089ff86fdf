# SPDX-License-Identifier: GPL-3.0-or-later
"""Content that a program waits for comes while the background of both devices is busy to the last thread."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holofsd.codec.content import hash_bytes
from holofsd.store.threads import Pool, in_thread
from holofsd.sync import content, jobs, receiving, serving
from holofsd.sync.jobs import Job
from support.full_pool import pool_full
from tests.sync.devices import Device, devices, settled, share, until

SIZES = [5_000, 1024 * 1024]
"""In one frame with others, and in a file that grows."""


@pytest.mark.parametrize("size", SIZES)
async def test_content_that_a_program_waits_for_is_sent_and_received(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        bob.hub.limits.background_waits = True  # it is asked for when the program waits, and not before
        async with pool_full():
            ann.write("film", data)
            await until(lambda: "film" in bob.files())
            await bob.sync.fetch(hash_bytes(data), size, 20.0)
            assert bob.files() == {"film": data}


@pytest.mark.parametrize("size", SIZES)
async def test_a_program_that_begins_to_wait_takes_over_what_is_in_the_queue(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "pool_of", lambda urgent: Pool.FOREGROUND)  # the other device is not busy
    data = os.urandom(size)
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        async with pool_full():
            ann.write("film", data)
            await until(lambda: [*queued(bob)])
            assert bob.files() == {"film": None}
            await bob.sync.fetch(hash_bytes(data), size, 20.0)
            assert bob.files() == {"film": data}
        await settled(ann, bob)


async def test_a_device_that_has_other_work_first_is_asked_anew_for_what_a_program_begins_to_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(_jobs: object, work: Callable[[], Any]) -> Any:
        return await in_thread(Pool.FOREGROUND, work)

    monkeypatch.setattr(receiving, "in_thread_for", at_once)  # this device is not busy
    monkeypatch.setattr(jobs, "HEDGE", 0.2)
    monkeypatch.setattr(content, "HEDGE", 0.2)
    data = os.urandom(SIZES[1])
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        async with pool_full():
            ann.write("film", data)
            await until(lambda: any(receiver._asked for receiver in bob.sync.fetcher._trips))
            await bob.sync.fetch(hash_bytes(data), len(data), 20.0)
            assert bob.files() == {"film": data}
        await settled(ann, bob)


async def test_content_that_a_program_could_not_read_is_looked_at(tmp_path: Path) -> None:
    data = os.urandom(SIZES[1])
    async with devices(tmp_path, "ann") as (ann,):
        ann.create()
        node = ann.write("film", data)
        async with pool_full():
            assert await ann.sync.is_whole(hash_bytes(data), node, thorough=True)


async def test_changes_go_on_to_other_devices(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        async with pool_full():
            ann.write("note", b"new")
            await until(lambda: bob.files() == {"note": b"new"})
            await ann.wait_copies(1)


def queued(device: Device) -> list[Job]:
    return [job for job in device.sync.fetcher._jobs if job.queued]
