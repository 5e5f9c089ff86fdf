# SPDX-License-Identifier: GPL-3.0-or-later
"""`.holofs/at/TIME` shows the volume as it was, and cannot be changed."""

from __future__ import annotations

import errno
import os
from datetime import datetime

import pytest

from holofsd.core.errors import HoloError, NoSuchName, ReadOnly
from holofsd.core.ids import ROOT_INO, Ino
from holofsd.core.state import Kind
from holofsd.fs.filesystem import VolumeFilesystem
from holofsd.fs.past_mount import PastMount
from holofsd.fs.types import Attachment, AttachRequest, OpenHandle
from tests.fs.harness import Device, Program, bytes_of, errno_of

LARGE = b"x" * 100_000


def now(device: Device) -> str:
    return datetime.fromtimestamp(device.clock.now_ns() / 1e9).isoformat(" ", "seconds")


async def past(program: Program, at: str) -> dict[str, bytes | None]:
    found = await program.tree(f".holofs/at/{at}")
    return {path.removeprefix(f".holofs/at/{at}/"): data for path, data in found.items()}


async def test_the_volume_is_there_as_it_was(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await program.write("d/changed", b"old")
    await program.write("d/removed", LARGE)
    await program.write("moved", b"moved")
    await program.symlink("changed", "d/link")
    await device.settle()
    before = await program.tree()
    device.clock.advance(61)
    at = now(device)
    device.clock.advance(61)
    await program.write("d/changed", b"new")
    await program.unlink("d/removed")
    await program.unlink("d/link")
    await program.rename("moved", "d/renamed")
    await program.write("later", b"later")
    assert await past(program, at) == before
    device.clock.advance(5)
    assert await past(program, now(device)) == await program.tree()
    assert await past(program, "2001-01-01") == {}


async def test_it_is_found_by_name_and_never_listed(device: Device, program: Program) -> None:
    await program.write("a", b"x")
    assert await program.names() == ["a"]
    assert (await program.stat(".holofs")).kind is Kind.DIRECTORY
    assert await program.names(".holofs") == ["at"]
    with pytest.raises(NoSuchName):
        await program.stat("a.holofs")
    for name in ("someday", "2h", "2026-13-01"):
        with pytest.raises(NoSuchName):
            await program.stat(f".holofs/at/{name}")


async def test_days_with_something_that_was_are_listed(device: Device, program: Program) -> None:
    await program.write("a", b"x")
    device.clock.advance(61)
    await program.write("a", b"y")
    assert await program.names(".holofs/at") == [now(device)[:10]]


async def test_nothing_of_the_past_can_be_changed(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await program.write("d/a", b"x")
    device.clock.advance(2)
    base = f".holofs/at/{now(device)}"
    for work in (
        program.write(f"{base}/new", b"x"),
        program.open(f"{base}/d/a", write=True),
        program.mkdir(f"{base}/e"),
        program.unlink(f"{base}/d/a"),
        program.rmdir(f"{base}/d"),
        program.rename(f"{base}/d/a", "b"),
        program.rename("d/a", f"{base}/b"),
        program.link(f"{base}/d/a", "b"),
        program.symlink("x", f"{base}/s"),
        program.chmod(f"{base}/d/a", 0o600),
        program.truncate(f"{base}/d/a", 0),
        program.mkdir(".holofs/e"),
    ):
        assert await errno_of(work) == errno.EROFS
    assert (await program.stat(f"{base}/d/a")).mode == 0o644
    assert await program.fs.list_xattr(program.att, await program.walk(f"{base}/d/a")) == ()


async def test_content_of_the_past_that_is_elsewhere_is_fetched(device: Device, program: Program) -> None:
    await program.write("a", LARGE)
    await device.settle()
    device.clock.advance(61)
    at = now(device)
    device.clock.advance(5)
    await program.unlink("a")
    ((hash,),) = device.store.db.all("SELECT hash FROM content")
    with device.store.db.transaction():
        device.store.content.lost(hash)
    path = f".holofs/at/{at}/a"
    assert (await program.stat(path)).remote
    with pytest.raises(HoloError):
        await program.read(path)
    device.elsewhere.blobs[hash] = LARGE
    assert bytes_of(await program.fs.fetch(program.att, await program.walk(path), b"", 0, 1)) == LARGE


async def test_what_is_read_of_the_past_is_not_collected(device: Device, program: Program) -> None:
    await program.write("a", LARGE)
    await device.settle()
    device.clock.advance(61)
    at = now(device)
    device.clock.advance(5)
    await program.unlink("a")
    handle = await program.open(f".holofs/at/{at}/a")
    await device.fs.history.trash.empty()
    device.clock.advance(1)
    assert (await device.fs.history.retention.collect(0)).files == 0
    assert await program.read_handle(handle) == LARGE
    await program.release(handle)
    device.clock.advance(1)
    assert (await device.fs.history.retention.collect(0)).files == 1


async def test_a_file_that_somebody_called_so_comes_first(device: Device, program: Program) -> None:
    await program.write("a", b"mine")
    await program.rename("a", ".holofs")
    assert await program.read(".holofs") == b"mine"


async def test_numbers_stay_over_a_restart(device: Device, program: Program) -> None:
    await program.write("a", b"x")
    device.clock.advance(2)
    path = f".holofs/at/{now(device)}/a"
    before = (await program.stat(path)).ino
    device.restart()
    program = device.attach()
    with pytest.raises(HoloError):
        await program.fs.get_attr(program.att, before)
    assert (await program.stat(path)).ino == before


@pytest.mark.parametrize("whole", [False, True], ids=["in every mount", "a mount of a time"])
async def test_what_is_open_stays_open_over_a_restart(device: Device, program: Program, whole: bool) -> None:
    await program.write("a", LARGE)
    await device.settle()
    device.clock.advance(2)
    at_ms, name = device.clock.now_ns() // 1_000_000, "a" if whole else f".holofs/at/{now(device)}/a"

    def mount(handles: tuple[OpenHandle, ...] = ()) -> tuple[VolumeFilesystem | PastMount, Attachment]:
        fs = PastMount(device.fs, at_ms) if whole else device.fs
        return fs, fs.attach(AttachRequest("test", "mount", "/mnt", os.getpid(), False, handles))

    fs, att = mount()
    ino = ROOT_INO
    for part in name.split("/"):
        ino = (await fs.lookup(att, ino, part.encode())).ino
    await fs.open(att, ino, 7, write=False, truncate=False, base=b"")
    device.clock.advance(61)
    await program.write("a", b"new")
    device.restart()
    unknown = OpenHandle(8, Ino(ino + 1), False, False, b"")
    fs, att = mount((OpenHandle(7, ino, False, False, b""), unknown))
    assert att.lost_handles == (8,)
    assert await fs.read(att, 7, 0, len(LARGE)) == LARGE


async def test_a_write_says_that_it_cannot_be(device: Device, program: Program) -> None:
    with pytest.raises(ReadOnly, match="restoring it brings it back"):
        await program.mkdir(".holofs/x")
