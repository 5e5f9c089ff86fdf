# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of volumes that nothing names: what holds nothing goes, everything else is taken up again."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from holofsd.core.ids import ROOT_INO
from holofsd.fs.types import AttachRequest
from holofsd.store import faults
from tests.daemon.test_device import World, eventually, join, names, ticket_of, world

__all__ = ["world"]  # a fixture


class Killed(Exception):
    """Death at a fault point, as by kill -9."""


def kill(_where: object) -> None:
    raise Killed


def folders(world: World, name: str) -> list[str]:
    return sorted(path.name for path in (world.root / name / "volumes").iterdir())


def forget(world: World, name: str) -> None:
    """device.db has lost its volumes."""
    with sqlite3.connect(world.root / name / "device.db") as db:
        db.execute("DELETE FROM volumes")
    db.close()


async def test_the_rest_of_a_volume_that_was_never_made_is_swept(world: World) -> None:
    async with world.device("a") as a:
        with faults.armed("creating.made", kill), pytest.raises(Killed):
            await a.create_volume("docs")
    assert len(folders(world, "a")) == 1
    async with world.device("a") as a:
        assert folders(world, "a") == []
        await a.create_volume("docs")
    async with world.device("a") as a:
        assert await names(a) == ["docs"]


async def test_a_volume_with_something_in_it_is_taken_up_under_its_name(world: World) -> None:
    async with world.device("a") as a:
        await a.create_volume("docs")
        fs = await a.filesystem("docs")
        attachment = fs.attach(AttachRequest("test", "m", "/mnt", 1, False))
        made = await fs.make_dir(attachment, ROOT_INO, b"folder", 0o755)
        await eventually(lambda: not a._volumes.find("docs").store.outbox.count())
    forget(world, "a")
    async with world.device("a") as a:
        assert await names(a) == ["docs"]
        fs = await a.filesystem("docs")
        attachment = fs.attach(AttachRequest("test", "m", "/mnt", 1, False))
        assert (await fs.lookup(attachment, ROOT_INO, b"folder")).ino == made.ino


async def test_a_volume_that_somebody_else_has_too_is_taken_up_under_a_free_name(world: World) -> None:
    async with world.device("a") as a, world.device("b") as b:
        await a.create_volume("docs")
        await join(b, await ticket_of(a))
    forget(world, "a")
    async with world.device("a") as a:
        assert await names(a) == ["docs"]
        assert len(await a.members("docs")) == 2


async def test_what_cannot_be_read_stays_where_it_is(world: World) -> None:
    async with world.device("a"):
        folder = world.root / "a" / "volumes" / ("ab" * 32)
    folder.mkdir(parents=True)
    (folder / "index.db").write_bytes(b"no database at all" * 100)
    files = world.root / "a" / "volumes" / ("cd" * 32) / "staging"
    files.mkdir(parents=True)
    (files / "x").write_bytes(b"somebody's")
    (world.root / "a" / "volumes" / "notes").mkdir()
    async with world.device("a") as a:
        assert await names(a) == []
    assert len(folders(world, "a")) == 3
    assert (files / "x").read_bytes() == b"somebody's"


async def test_deleting_that_was_cut_short_goes_on_at_the_next_start(world: World) -> None:
    async with world.device("a") as a:
        await a.create_volume("docs")
        with faults.armed("leaving.aside", kill), pytest.raises(Killed):
            await a.leave("docs", True)
    assert any(path.name.endswith(".deleting") for path in (world.root / "a" / "left").iterdir())
    async with world.device("a") as a:
        assert list((world.root / "a" / "left").iterdir()) == []
        await asyncio.sleep(0)
        await a.leave("docs", True)
        assert await names(a) == []
