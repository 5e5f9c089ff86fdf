# SPDX-License-Identifier: GPL-3.0-or-later
"""Removals that lost to what another device did, and what people do to the same files afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fs.folders import remove, two
from tests.fs.harness import Program
from tests.fs.test_history import history, restore, trash
from tests.fs.test_two_devices import Both


@asynccontextmanager
async def outlived(tmp_path: Path) -> AsyncIterator[tuple[Both, Program, Program]]:
    """b wrote `m/f` and removed it while a wrote it: what a wrote stays."""
    async with two(tmp_path, "m/", "m/f") as (both, a, b):
        await a.write("m/f", b"late")
        for device in both.devices:
            device.clock.advance(60)
        await b.write("m/f", b"removed")
        for device in both.devices:
            device.clock.advance(120)
        await b.unlink("m/f")
        assert await both.agree() == {"m": None, "m/f": b"late"}
        yield both, a, b


def advance(both: Both, seconds: float = 3600) -> None:
    for device in both.devices:
        device.clock.advance(seconds)


# ---- versions
@pytest.mark.parametrize("swapped", [False, True])
async def test_a_version_that_went_before_stays_gone_when_a_file_is_removed_here_and_moved_there(
    tmp_path: Path, swapped: bool
) -> None:
    async with outlived(tmp_path) as (both, a, b):
        remover, mover = (b, a) if swapped else (a, b)
        await remover.unlink("m/f")
        await mover.rename("m/f", "m/g")
        assert await both.agree() == {"m": None, "m/g": b"late"}


async def test_it_stays_gone_when_the_folder_is_removed_here_and_the_file_linked_there(tmp_path: Path) -> None:
    async with outlived(tmp_path) as (both, a, b):
        await remove(a, "m")
        await b.link("m/f", "g")
        assert await both.agree() == {"g": b"late"}


async def test_it_stays_gone_when_the_folder_is_removed_here_and_moved_there(tmp_path: Path) -> None:
    async with outlived(tmp_path) as (both, a, b):
        await remove(b, "m")
        await a.rename("m", "n")
        assert await both.agree() == {"n": None, "n/f": b"late"}


@pytest.mark.parametrize("who", [0, 1])
async def test_restoring_brings_back_what_the_file_had_and_not_what_went_before(tmp_path: Path, who: int) -> None:
    async with outlived(tmp_path) as (both, *programs):
        await programs[who].unlink("m/f")
        await both.agree()
        for device in both.devices:
            assert await trash(device) == [("m/f", 1)]
        await restore(both.devices[1 - who], "m/f")
        assert await both.agree() == {"m": None, "m/f": b"late"}


@pytest.mark.parametrize("after", ["unlink", "rename", "append"])
async def test_when_a_version_was_removed_stays_as_it_was(tmp_path: Path, after: str) -> None:
    async with outlived(tmp_path) as (both, a, _b):
        advance(both)
        before = [_ended(both, number, "m/f", b"removed") for number in (0, 1)]
        assert all(before)
        if after == "unlink":
            await a.unlink("m/f")
        elif after == "rename":
            await a.rename("m/f", "m/g")
        else:
            await a.append("m/f", b"+")
        await both.agree()
        path = "m/g" if after == "rename" else "m/f"
        assert _ended(both, 1, path, b"removed") == before[1]
        assert _ended(both, 0, path, b"removed") == before[0]


def _ended(both: Both, number: int, path: str, data: bytes) -> int:
    found = history(both.devices[number], path)
    (ended_ms,) = {past.ended_ms for past in found if past.version.body.data == data}  # type: ignore[union-attr]
    return ended_ms


# ---- names
@asynccontextmanager
async def each_removed_one(tmp_path: Path) -> AsyncIterator[tuple[Both, Program, Program]]:
    """A file of two names, of which each device removed another one: it is back at the name that went last."""
    async with two(tmp_path, "pp") as (both, a, b):
        await a.link("pp", "pq")
        await both.agree()
        advance(both)
        await a.unlink("pp")
        advance(both, 1)
        await b.unlink("pq")
        assert await both.agree() == {"pq": b"pp"}
        yield both, a, b


@pytest.mark.parametrize("who", [0, 1])
async def test_the_name_that_came_back_stays_when_the_file_gets_one_more(tmp_path: Path, who: int) -> None:
    async with each_removed_one(tmp_path) as (both, *programs):
        program = programs[who]
        await program.link("pq", "tmp")
        assert await program.tree() == {"pq": b"pp", "tmp": b"pp"}
        assert (await program.stat("pq")).nlink == 2
        assert await both.agree() == {"pq": b"pp", "tmp": b"pp"}
        await program.unlink("tmp")
        assert await both.agree() == {"pq": b"pp"}
        await program.unlink("pq")
        assert await both.agree() == {}


@pytest.mark.parametrize("who", [0, 1])
async def test_it_stays_when_the_other_name_is_restored(tmp_path: Path, who: int) -> None:
    async with each_removed_one(tmp_path) as (both, *_programs):
        await restore(both.devices[who], "pp")
        assert await both.agree() == {"pp": b"pp", "pq": b"pp"}


async def test_it_stays_when_a_file_is_made_at_the_other_name(tmp_path: Path) -> None:
    async with each_removed_one(tmp_path) as (both, a, _b):
        await a.write("pp", b"new")
        assert await both.agree() == {"pp": b"new", "pq": b"pp"}


async def test_it_moves_and_is_replaced_as_any_other(tmp_path: Path) -> None:
    async with each_removed_one(tmp_path) as (both, a, b):
        await a.rename("pq", "pp")
        assert await both.agree() == {"pp": b"pp"}
        await b.write("new", b"new")
        await b.rename("new", "pp")
        assert await both.agree() == {"pp": b"new"}


async def test_only_what_is_restored_comes_back_of_a_file_of_several_names(tmp_path: Path) -> None:
    async with each_removed_one(tmp_path) as (both, a, _b):
        await a.link("pq", "tmp")
        await a.unlink("pq")
        await a.unlink("tmp")
        await both.agree()
        await restore(both.devices[1], "pp")
        assert await both.agree() == {"pp": b"pp"}


async def test_history_says_when_a_name_went_of_a_file_that_goes_on_under_another(tmp_path: Path) -> None:
    async with each_removed_one(tmp_path) as (both, _a, _b):
        for device in both.devices:
            assert [bool(past.ended_ms) for past in history(device, "pp")] == [True]
            assert [(bool(past.ended_ms), past.shown) for past in history(device, "pq")] == [(False, True)]
        listed = [item for item, _files in await trash(both.devices[1])]
        assert "pq" not in listed, "what is there was not removed"


async def test_a_file_kept_by_an_edit_keeps_its_name_when_it_gets_one_more(tmp_path: Path) -> None:
    async with two(tmp_path, "f") as (both, a, b):
        await a.write("f", b"edited")
        await b.unlink("f")
        assert await both.agree() == {"f": b"edited"}
        await b.link("f", "g")
        assert await both.agree() == {"f": b"edited", "g": b"edited"}


async def test_one_name_stays_of_a_file_that_a_link_kept_and_each_device_removed_another_name_of(
    tmp_path: Path,
) -> None:
    async with two(tmp_path, "b/", "c/", "f") as (both, a, b):
        await a.unlink("f")
        await b.link("f", "b/c")
        await both.agree()
        await a.link("b/c", "c/d")
        await both.agree()
        await a.unlink("b/c")
        await b.unlink("c/d")
        found = await both.agree()
        assert [content for content in found.values() if content is not None] == [b"f"]
