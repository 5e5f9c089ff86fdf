# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders that are moved on one device while another removes them, or what they are in (issue 12, 4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fs.folders import files, make, remove, two

LATER = [pytest.param(0, id="moved first"), pytest.param(3600, id="removed first")]
"""By how many seconds the mover's clock is ahead of the remover's."""


@pytest.mark.parametrize("ahead", LATER)
async def test_a_folder_moved_out_of_one_that_is_removed_meanwhile_keeps_its_files(tmp_path: Path, ahead: int) -> None:
    paths = ("d/", "d/s/", "d/s/f", "d/s/t/", "d/s/t/g", "d/other")
    async with two(tmp_path, *paths) as (both, a, b):
        a.device.clock.advance(ahead)
        await a.rename("d/s", "s")
        await remove(b, "d")
        assert await both.agree() == {"s": None, "s/f": b"d/s/f", "s/t": None, "s/t/g": b"d/s/t/g"}
        # And removed by somebody who sees it there, it is gone.
        await remove(b, "s")
        assert await both.agree() == {}


@pytest.mark.parametrize("ahead", LATER)
@pytest.mark.parametrize("moved", ["d", "d/s", "d/s/t"])
@pytest.mark.parametrize("gone", ["d", "d/s", "d/s/t"])
async def test_what_is_moved_keeps_all_but_what_was_removed_from_within_it(
    tmp_path: Path, moved: str, gone: str, ahead: int
) -> None:
    paths = ["d/", "d/f", "d/s/", "d/s/f", "d/s/t/", "d/s/t/f", "d/s/t/u/", "d/s/t/u/f"]
    async with two(tmp_path, *paths) as (both, a, b):
        a.device.clock.advance(ahead)
        await a.rename(moved, "m")
        await remove(b, gone)
        expected: dict[str, bytes | None] = {}
        for path in paths:
            content = None if path.endswith("/") else path.encode()
            path = path.rstrip("/")
            if f"{path}/".startswith(f"{moved}/"):
                if gone == moved or not f"{path}/".startswith(f"{gone}/") or moved.startswith(f"{gone}/"):
                    expected["m" + path.removeprefix(moved)] = content
            elif not f"{path}/".startswith(f"{gone}/"):
                expected[path] = content
        assert await both.agree() == expected


@pytest.mark.parametrize("ahead", LATER)
async def test_a_removed_folder_that_was_renamed_meanwhile_keeps_its_files(tmp_path: Path, ahead: int) -> None:
    async with two(tmp_path, "d/", "d/f", "d/s/", "d/s/f") as (both, a, b):
        a.device.clock.advance(ahead)
        await a.rename("d", "e")
        await a.write("e/new", b"new")
        await remove(b, "d")
        assert await both.agree() == {"e": None, "e/f": b"d/f", "e/s": None, "e/s/f": b"d/s/f", "e/new": b"new"}


@pytest.mark.parametrize("ahead", LATER)
async def test_a_file_removed_beside_the_move_of_its_folder_stays_removed(tmp_path: Path, ahead: int) -> None:
    async with two(tmp_path, "d/", "d/s/", "d/s/f", "d/s/g") as (both, a, b):
        a.device.clock.advance(ahead)
        await a.rename("d/s", "s")
        await b.unlink("d/s/f")
        assert await both.agree() == {"d": None, "s": None, "s/g": b"d/s/g"}


@pytest.mark.parametrize("ahead", LATER)
async def test_a_file_removed_long_before_its_folder_stays_removed(tmp_path: Path, ahead: int) -> None:
    async with two(tmp_path, "d/", "d/s/", "d/s/f", "d/s/g") as (both, a, b):
        a.device.clock.advance(ahead)
        await a.rename("d/s", "s")
        await b.unlink("d/s/f")
        b.device.clock.advance(600)
        await remove(b, "d")
        assert await both.agree() == {"s": None, "s/g": b"d/s/g"}


@pytest.mark.parametrize("ahead", LATER)
async def test_a_file_that_the_mover_knew_to_be_removed_stays_removed(tmp_path: Path, ahead: int) -> None:
    async with two(tmp_path, "d/", "d/s/", "d/s/f", "d/s/g", "d/s/h") as (both, a, b):
        a.device.clock.advance(ahead)
        await b.unlink("d/s/f")
        await both.agree()
        a.device.clock.advance(0.01)
        await a.unlink("d/s/h")
        await a.rename("d/s", "s")
        await remove(b, "d")
        assert await both.agree() == {"s": None, "s/g": b"d/s/g"}


@pytest.mark.parametrize("ahead", LATER)
@pytest.mark.parametrize("mover", [0, 1])
async def test_a_folder_moved_into_one_that_was_moved_into_it_and_removed_with_it_keeps_its_files(
    tmp_path: Path, mover: int, ahead: int
) -> None:
    paths = ("z/", "z/a/", "z/a/b/", "z/c/", "z/a/b/3", "z/c/4")
    async with two(tmp_path, *paths) as (both, _a, _b):
        remover, other = both.programs[1 - mover], both.programs[mover]
        remover.device.clock.advance(ahead)
        await remover.rename("z/c", "z/a/b/c")
        await remove(remover, "z/a")
        await other.rename("z/a", "z/c/a")
        assert await both.agree() == {
            **dict.fromkeys(("z", "z/c", "z/c/a", "z/c/a/b")),
            "z/c/4": b"z/c/4",
            "z/c/a/b/3": b"z/a/b/3",
        }


@pytest.mark.parametrize("ahead", [0, 3600])
async def test_a_folder_renamed_within_one_that_is_moved_into_it_meanwhile_does_not_go_to_the_root(
    tmp_path: Path, ahead: int
) -> None:
    async with two(tmp_path, "z/", "z/a/", "z/a/b/", "z/a/b/f") as (both, a, b):
        await b.rename("z/a/b", "z/b")
        await b.rename("z/a", "z/b/a")
        a.device.clock.advance(ahead)
        await a.rename("z/a/b", "z/a/e")
        assert await both.agree() == {"z": None, "z/a": None, "z/a/e": None, "z/a/e/f": b"z/a/b/f"}


async def test_a_folder_that_fell_back_falls_back_to_where_it_was_seen_when_it_is_moved_again(tmp_path: Path) -> None:
    async with two(tmp_path, "z/", "z/a/", "z/b/", "z/c/") as (both, a, b):
        b.device.clock.advance(1)  # its moves are the later ones, also within a millisecond
        await a.rename("z/a", "z/b/a")
        await b.rename("z/b", "z/a/b")
        tree = await both.agree()
        assert tree.keys() == {"z", "z/b", "z/b/a", "z/c"}
        # `z/b` fell back there from `z/b/a/b`. Now it makes another cycle, as the later move of both.
        await a.rename("z/c", "z/b/c")
        await b.rename("z/b", "z/c/b")
        assert (await both.agree()).keys() == {"z", "z/b", "z/b/a", "z/b/c"}


async def test_a_temporary_file_that_took_a_name_does_not_come_back_with_its_folder(tmp_path: Path) -> None:
    async with two(tmp_path, "d/", "d/f", "d/t") as (both, a, b):
        await a.rename("d", "e")
        await b.rename("d/t", "d/f")
        await remove(b, "d")
        assert await both.agree() == {"e": None, "e/f": b"d/t"}


async def test_hard_links_and_symlinks_come_back_with_their_folder(tmp_path: Path) -> None:
    async with two(tmp_path, "x", "d/", "d/s/") as (both, a, b):
        await a.link("x", "d/s/x")
        await a.write("d/s/y", b"y")
        await a.link("d/s/y", "d/y")
        await a.symlink("x", "d/s/l")
        await both.agree()
        await a.rename("d/s", "s")
        await remove(b, "d")
        tree = await both.agree()
        assert tree.keys() == {"x", "s", "s/x", "s/y", "s/l"}
        for program in (a, b):
            assert [(await program.stat(path)).nlink for path in ("x", "s/x", "s/y")] == [2, 2, 1]


async def test_a_folder_made_by_both_moved_by_one_and_removed_by_the_other_keeps_its_files(tmp_path: Path) -> None:
    async with two(tmp_path) as (both, a, b):
        await make(a, "d", "a")
        await make(b, "d", "b")
        await both.agree()
        await a.rename("d", "e")
        await remove(b, "d")
        assert await both.agree() == {"e": None, **files("e/a", by="alpha"), **files("e/b", by="beta")}


async def test_many_files_come_back_in_slices(tmp_path: Path) -> None:
    names = [f"d/{number}" for number in range(450)]
    async with two(tmp_path, "d/", *names) as (both, a, b):
        await a.rename("d", "e")
        await remove(b, "d")
        assert (await both.agree()).keys() == {"e", *(f"e/{number}" for number in range(450))}
