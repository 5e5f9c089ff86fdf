# SPDX-License-Identifier: GPL-3.0-or-later
"""The change stream: mounts are told everything that others do, of their own doings only what the answers do not
show."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from holofsd.core.errors import ReadOnly
from holofsd.core.ids import ROOT_INO
from holofsd.fs.settings import MAX_NEWS, FsSettings
from holofsd.fs.types import Access, ChangeBatch
from tests.fs.harness import Device, Program

BIG = b"0123456789" * 10_000


class Ear:
    """Collects what one attachment is told."""

    def __init__(self, program: Program) -> None:
        self._batches: AsyncIterator[ChangeBatch] = program.fs.watch(program.att)

    async def hear(self) -> ChangeBatch:
        return await asyncio.wait_for(anext(self._batches), 30)

    async def hears_nothing(self) -> bool:
        """Check that nothing is waiting now."""
        task = asyncio.ensure_future(anext(self._batches))
        for _ in range(5):
            await asyncio.sleep(0)
        quiet = not task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
            await task
        return quiet


def _names(batch: ChangeBatch) -> dict[bytes, bool]:
    return {entry.name: entry.gone for entry in batch.entries}


async def test_others_are_told_of_names_and_contents(device: Device, program: Program) -> None:
    other = device.attach("other")
    ear = Ear(other)
    await program.write("f", b"x")
    batch = await ear.hear()
    ino = await program.walk("f")
    assert [(e.parent, e.name, e.ino, e.gone) for e in batch.entries] == [(ROOT_INO, b"f", ino, False)]
    await program.write("f", b"y")
    batch = await ear.hear()
    assert batch.entries == ()
    assert {(i.ino, i.content, i.elsewhere) for i in batch.inodes} == {(ino, True, False)}
    assert batch.inodes[-1].version == (await program.stat("f")).version
    await program.chmod("f", 0o600)
    assert [(i.ino, i.content) for i in (await ear.hear()).inodes] == [(ino, False)]
    await program.unlink("f")
    assert _names(await ear.hear()) == {b"f": True}


async def test_who_made_a_change_is_not_told_of_what_the_answer_shows(device: Device, program: Program) -> None:
    ear = Ear(program)
    await program.write("f", b"x")
    await program.chmod("f", 0o600)
    await program.mkdir("d")
    await program.rename("f", "d/g")
    await program.symlink("x", "s")
    await program.unlink("s")
    assert await ear.hears_nothing()


async def test_who_wrote_a_file_is_told_of_its_version_but_not_to_forget_its_bytes(
    device: Device, program: Program
) -> None:
    await program.write("f", b"x")
    ear, other = Ear(program), Ear(device.attach("other"))
    await program.write("f", BIG)
    after = await program.stat("f")
    batch = await ear.hear()
    assert {(i.ino, i.content) for i in batch.inodes} == {(after.ino, False)}
    assert batch.inodes[-1].version == after.version
    assert {(i.ino, i.content) for i in (await other.hear()).inodes} == {(after.ino, True)}


async def test_who_made_a_change_is_told_of_other_names(device: Device, program: Program) -> None:
    await program.write("f", b"x")
    await program.link("f", "g")
    ear = Ear(program)
    await program.unlink("g")
    ino = await program.walk("f")
    assert [(i.ino, i.content) for i in (await ear.hear()).inodes] == [(ino, False)], "one link fewer"


async def test_other_mounts_are_told_when_a_file_is_being_written(device: Device, program: Program) -> None:
    await program.write("f", b"x")
    ino = await program.walk("f")
    ear = Ear(device.attach("other"))
    handle = await program.open("f", write=True)
    await program.fs.stage(program.att, handle, empty=False, base=b"")
    assert [(i.ino, i.content) for i in (await ear.hear()).inodes] == [(ino, True)]
    await program.commit(handle)
    assert [(i.ino, i.content) for i in (await ear.hear()).inodes] == [(ino, True)]


async def test_changes_from_elsewhere_say_so_to_everybody(make_device: Callable[..., Device]) -> None:
    here, there = make_device("here"), make_device("there")
    program, other = here.attach(), there.attach()
    await program.write("f", b"x")
    here.give_to(there)
    before = (await program.stat("f")).version
    ear = Ear(program)
    await other.write("f", b"y")
    there.give_to(here)
    (change,) = (await ear.hear()).inodes
    after = await program.stat("f")
    assert (change.ino, change.content, change.elsewhere) == (after.ino, True, True)
    assert (change.previous, change.version) == (before, after.version)


async def test_an_open_file_that_changes_elsewhere_gets_another_inode_at_its_name(
    make_device: Callable[..., Device],
) -> None:
    here, there = make_device("here"), make_device("there")
    program, other = here.attach(), there.attach()
    await program.write("f", b"x")
    here.give_to(there)
    ino = await program.walk("f")
    handle = await program.open("f")
    ear = Ear(program)
    await other.write("f", b"y")
    there.give_to(here)
    (change,) = (await ear.hear()).entries
    assert change.name == b"f"
    assert change.ino == await program.walk("f") != ino
    await program.release(handle)


async def test_what_a_few_small_files_are_is_told_with_their_news(device: Device, program: Program) -> None:
    other = device.attach("other")
    ear = Ear(other)
    await program.write("small", b"x")
    batch = await ear.hear()
    (told,) = device.fs.news_of(batch)
    opened = await other.fs.open(other.att, told.attr.ino, 1, write=False, truncate=False, base=b"")
    assert (told.attr, told.map) == (opened.attr, opened.map), "as opening it answers"
    await program.unlink("small")
    assert device.fs.news_of(batch) == [], "what is gone by now is nothing"
    await ear.hear()
    await program.write("big", BIG)
    assert device.fs.news_of(await ear.hear()) == []
    begun = await program.create("small too")
    batch = await ear.hear()
    assert len(device.fs.news_of(batch)) == 1
    await program.fs.stage(program.att, begun, empty=True, base=b"")
    assert device.fs.news_of(batch) == [], "it grows, and nobody hears how far"
    for number in range(MAX_NEWS + 1):
        await program.write(f"f{number}", b"x")
    assert device.fs.news_of(await ear.hear()) == [], "of many, none"


async def test_a_slow_watcher_is_told_to_forget_everything(make_device: Callable[..., Device]) -> None:
    device = make_device(settings=FsSettings(watch_changes=10))
    program, other = device.attach(), device.attach("other")
    ear = Ear(other)
    for number in range(11):
        await program.mkdir(f"d{number}")
    assert await ear.hear() == ChangeBatch(reset=True)
    await program.mkdir("after")
    assert _names(await ear.hear()) == {b"after": False}


async def test_the_end_of_the_daemon_is_said_and_ends_the_stream(device: Device, program: Program) -> None:
    batches = program.fs.watch(program.att)
    await device.fs.close()
    assert [batch async for batch in batches] == []
    other = device.attach("other")
    batches = other.fs.watch(other.att)
    waiting = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0)
    await device.fs.close()
    assert (await waiting).going_down
    assert [batch async for batch in batches] == []


async def test_a_mount_that_attaches_again_ends_the_stream_before(device: Device, program: Program) -> None:
    batches = program.fs.watch(program.att)
    waiting = asyncio.ensure_future(anext(batches, None))
    await asyncio.sleep(0)
    device.attach()
    assert await asyncio.wait_for(waiting, 30) is None


async def test_becoming_a_reader_is_said(device: Device, program: Program) -> None:
    ear = Ear(program)
    device.elsewhere.can_write = False
    device.fs.role_changed()
    assert (await ear.hear()).access is Access.READ_ONLY


async def test_becoming_a_writer_is_said_and_does_not_touch_mounts_asked_for_read_only(
    device: Device, program: Program
) -> None:
    asked = device.attach("asked", read_only=True)
    device.elsewhere.can_write = False
    device.fs.role_changed()
    device.elsewhere.can_write = True
    device.fs.role_changed()
    ear, other = Ear(program), Ear(asked)
    assert (await ear.hear()).access is Access.WRITABLE
    assert (await other.hear()).access is Access.READ_ONLY
    await program.write("f", b"x")
    with pytest.raises(ReadOnly):
        await asked.write("g", b"x")
