# SPDX-License-Identifier: GPL-3.0-or-later
"""Content that can be had arrives: neither one file's trouble nor one moment's keeps content from arriving."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from holofsd.codec.content import hash_bytes
from holofsd.store.content import IncomingBlob
from holofsd.sync import content, receiving
from tests.sync.devices import QUICK, devices, settled, share, until

ROOM = 4 * (1 << 20)


async def test_a_file_that_does_not_fit_on_the_disk_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small:
        f_bavail = ROOM
        f_blocks = 100 * ROOM
        f_frsize = 1

    film, rest = os.urandom(2 * ROOM), {f"file{n}": os.urandom(10_000) for n in range(40)}
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        monkeypatch.setattr(receiving.os, "statvfs", lambda path: Small)
        ann.write("film", film)
        await until(lambda: "film" in bob.files() and bob.sync.fetcher.counts.no_space)
        for name, data in rest.items():
            ann.write(name, data)
        await until(lambda: bob.files() == {"film": None, **rest})
        assert any("disk" in warning for warning in bob.sync.status().warnings)
        monkeypatch.undo()
        await until(lambda: bob.files() == {"film": film, **rest})
        assert not bob.sync.fetcher.counts.no_space


async def test_a_disk_that_fills_up_in_the_middle_of_a_file_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, rest = os.urandom(ROOM), {f"file{n}": os.urandom(10_000) for n in range(20)}
    async with devices(tmp_path, "ann", "bob", config=replace(QUICK, no_space_retry=60.0)) as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        write = IncomingBlob.write

        def fill_up(incoming: IncomingBlob, data: bytes) -> None:
            if incoming.offset:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(incoming, data)

        monkeypatch.setattr(IncomingBlob, "write", fill_up)
        ann.write("film", film)
        await until(lambda: bob.sync.fetcher.counts.no_space)
        for name, data in rest.items():
            ann.write(name, data)
        await until(lambda: bob.files() == {"film": None, **rest})
        assert bob.sync.fetcher.counts.wrong == {}


async def test_a_disk_that_fails_for_a_moment_is_written_to_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(10_000)
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        failed = 0

        def fail(blob: bytes, content: bytes) -> str:
            nonlocal failed
            failed += 1
            raise OSError(errno.EIO, "the disk does not answer")

        monkeypatch.setattr(bob.store.content, "write_fresh", fail)
        ann.write("file", data)
        await until(lambda: failed >= QUICK.streams_per_peer)
        assert bob.files() == {"file": None}
        monkeypatch.undo()
        await until(lambda: bob.files() == {"file": data})


async def test_whoever_sent_other_bytes_once_is_asked_again(tmp_path: Path) -> None:
    data = os.urandom(10_000)
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        ann.create()
        ann.write("file", data)
        path = ann.store.content.path(hash_bytes(data))
        path.chmod(0o600)
        path.write_bytes(bytes(len(data)))
        await share(ann, bob)
        await until(lambda: bob.sync.fetcher.counts.wrong.get(ann.id, 0) >= 1)
        path.write_bytes(data)
        await until(lambda: bob.files() == {"file": data})


async def test_a_clock_that_is_set_back_keeps_no_content_from_arriving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "ALL_AGAIN", 0.1)
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        data = os.urandom(10_000)
        ann.write("before", data)
        await until(lambda: bob.files() == {"before": data})
        monkeypatch.setattr(bob.sync.fetcher, "_fill", lambda: None)  # it has enough to do
        bob.clock_off_ms = 3_600_000
        ann.write("file", data[::-1])
        await until(lambda: bob.store.content.is_any_missing())
        bob.clock_off_ms = 0
        monkeypatch.undo()
        await until(lambda: bob.files() == {"before": data, "file": data[::-1]})
