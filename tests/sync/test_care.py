# SPDX-License-Identifier: GPL-3.0-or-later
"""Content that is damaged or gone here is fetched again from whoever has it; what is left of it is kept until then."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from holofsd.codec.content import hash_bytes
from holofsd.core.ids import ROOT_ID, BlobHash
from holofsd.store import faults
from holofsd.store.threads import Pool
from holofsd.sync import care
from holofsd.sync.care import ScrubStep
from tests.sync.devices import Device, devices, settled, share, until

LARGE = os.urandom(700_000)
SMALL = os.urandom(9_000)


def content_file(device: Device, data: bytes) -> Path:
    return device.store.content.path(hash_bytes(data))


def alter(path: Path) -> None:
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def shorten(path: Path) -> None:
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.truncate(1000)


HARM: dict[str, Callable[[Path], None]] = {"altered": alter, "shortened": shorten, "gone": Path.unlink}


def sizes_shown(device: Device) -> set[int]:
    return {entry.view.size for entry in device.volume.tree.children(ROOT_ID)}


async def scrub(device: Device, wait: bool = True) -> ScrubStep:
    last = None
    async for step in device.sync.care.scrub(wait):
        last = step
    assert last is not None
    assert last.done
    return last


@pytest.mark.parametrize("harm", HARM)
async def test_a_scrub_finds_damage_and_repairs_it_from_another_device(tmp_path: Path, harm: str) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        for name, data in (("large", LARGE), ("twin", LARGE), ("small", SMALL), ("inline", b"few")):
            ann.write(name, data)
        await settled(ann, bob)
        before = bob.files()
        for data in (LARGE, SMALL):
            HARM[harm](content_file(bob, data))
        done = await scrub(bob)
        assert (done.files, done.damaged, done.repaired, done.paths) == (2, 2, 2, ())
        assert bob.files() == before
        assert bob.sync.care.damaged() == 0
        assert not list((bob.directory(bob.sync.id) / "damaged").glob("*"))
        assert (await scrub(bob)).damaged == 0


async def test_without_other_devices_damage_is_told_and_what_is_left_is_kept(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        for name in ("large", "twin"):
            ann.write(name, LARGE)
        await settled(ann, bob)
        await ann.down()
        await until(lambda: not bob.sync.sessions)
        shorten(content_file(bob, LARGE))
        done = await scrub(bob, wait=False)
        await until(lambda: len(bob.store.content.wanted_by(hash_bytes(LARGE))) == 2, "both files want it")
        assert (done.damaged, done.repaired) == (1, 0)
        assert (await scrub(bob, wait=False)).paths == (b"large", b"twin")
        assert bob.sync.status().content_missing == 1
        assert bob.store.damage.path(hash_bytes(LARGE)).read_bytes() == LARGE[:1000]
        await bob.restart()
        assert bob.sync.care.damaged() == 1
        await ann.up()
        await until(lambda: bob.files() == {"large": LARGE, "twin": LARGE}, "fetched again")
        await until(lambda: bob.sync.care.damaged() == 0)


@pytest.mark.parametrize("harm", HARM)
async def test_content_that_is_written_again_while_it_is_looked_at_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    async with devices(tmp_path, "ann") as (ann,):
        ann.create()
        ann.write("large", LARGE)
        file, look = content_file(ann, LARGE), care.is_whole
        HARM[harm](file)

        def look_slowly(path: Path, blob: BlobHash, size: int) -> bool:
            found = look(path, blob, size)
            if not found:
                part = tmp_path / "part"
                part.write_bytes(LARGE)
                part.replace(file)
            return found

        monkeypatch.setattr(care, "is_whole", look_slowly)
        assert await ann.sync.care.check(hash_bytes(LARGE), Pool.BACKGROUND)
        assert ann.files() == {"large": LARGE}
        assert ann.sync.care.damaged() == 0


async def test_content_that_was_only_put_aside_is_taken_back(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann") as (ann,):
        ann.create()
        ann.write("large", LARGE)
        blob = hash_bytes(LARGE)
        with ann.store.db.transaction():  # a disk that failed for a moment
            ann.store.damage.found(blob, len(LARGE), ann.now_ms())
        assert not ann.store.content.has(blob)
        done = await scrub(ann)
        assert done.repaired == done.damaged == 1
        assert ann.files() == {"large": LARGE}


@pytest.mark.parametrize("harm", ["shortened", "gone"])
@pytest.mark.parametrize("data", [SMALL, LARGE])
async def test_who_is_asked_for_what_it_cannot_read_gets_it_itself(tmp_path: Path, harm: str, data: bytes) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        await settled(ann, bob, cid)
        await cid.down()
        ann.write("file", data)
        await settled(ann, bob)
        HARM[harm](content_file(bob, data))
        ann.network.partition(ann.id, cid.id)
        await cid.up()
        await until(lambda: cid.files() == {"file": data}, "bob noticed, got it from ann, and served it")
        assert bob.files() == {"file": data}
        assert not cid.sync.fetcher.counts.wrong


async def test_a_scrub_of_much_content_tells_how_far_it_is(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann") as (ann,):
        ann.create()
        for number in range(150):
            ann.write(f"file{number}", b"%05d" % number * 1000)
        steps = [step async for step in ann.sync.care.scrub(True)]
        assert [step.files for step in steps] == [64, 128, 150, 150]
        assert [step.done for step in steps] == [False, False, False, True]
        assert steps[-1].bytes == 150 * 5000


@pytest.mark.parametrize("point", ["damage.marked", "damage.aside", "damage.whole"])
async def test_a_crash_while_damage_is_put_right_leaves_nothing_damaged(tmp_path: Path, point: str) -> None:
    def crash(_where: object) -> None:
        raise RuntimeError("killed here")

    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        for name in ("large", "twin"):
            ann.write(name, LARGE)
        await settled(ann, bob)
        shorten(content_file(bob, LARGE))
        with faults.armed(point, crash), contextlib.suppress(RuntimeError):
            await scrub(bob)
        await bob.restart()
        await until(lambda: bob.files() == {"large": LARGE, "twin": LARGE}, "fetched again")
        assert (await scrub(bob)).damaged == 0
        assert bob.sync.care.damaged() == 0
        await bob.restart()
        await until(lambda: not list((bob.directory(bob.sync.id) / "damaged").glob("*")), "nothing left over")


@pytest.mark.parametrize("noticed_by", ["a read", "a scrub"])
async def test_small_content_whose_size_was_written_down_wrong_is_kept(tmp_path: Path, noticed_by: str) -> None:
    """An earlier program believed the size in a record, and such content then looked damaged. Nobody else has it."""
    async with devices(tmp_path, "ann") as (ann,):
        ann.create()
        node, twin = ann.write("small", SMALL), ann.write("twin", SMALL)
        blob = hash_bytes(SMALL)
        with ann.store.db.transaction():
            ann.store.db.run("UPDATE content SET size=20000 WHERE hash=?", (blob,))
            ann.volume.content_lost(blob, [node, twin])
        if noticed_by == "a read":
            assert ann.sync.care.looks_whole(blob, node)
        else:
            step = await scrub(ann)
            assert (step.damaged, step.paths) == (0, ())
        assert ann.store.content.size(blob) == len(SMALL)
        await until(lambda: sizes_shown(ann) == {len(SMALL)}, "each file that has it to be looked at")
        assert ann.files() == {"small": SMALL, "twin": SMALL}


async def test_what_was_put_aside_for_its_size_is_taken_back(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann") as (ann,):
        ann.create()
        node = ann.write("small", SMALL)
        blob = hash_bytes(SMALL)
        with ann.store.db.transaction():
            ann.store.damage.found(blob, 20_000, 1)
            ann.volume.content_lost(blob, [node])
        assert ann.files() == {"small": None}
        await scrub(ann)
        assert ann.files() == {"small": SMALL}
        assert ann.store.content.size(blob) == len(SMALL)
