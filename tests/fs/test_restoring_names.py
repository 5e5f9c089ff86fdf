# SPDX-License-Identifier: GPL-3.0-or-later
"""Restoring one name after another: hard links, folders that were moved, names that something else has now."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holofsd.core.errors import BadArgument, NameExists, NoSuchName
from holofsd.fs.names.settling import Keep
from tests.fs.harness import Device, Program
from tests.fs.test_conflicts import Pair
from tests.fs.test_history import history, restore, save, settle, trash
from tests.fs.test_history_of_paths import listed
from tests.fs.test_restoring_folders import one_file, remove_all


async def echo(program: Program, path: str, data: bytes) -> None:
    """Write as `echo >path` does on a mount: others have heard of the empty file before the line is written."""
    handle = await program.create(path)
    await program.commit(handle, b"")
    await settle(program.device)
    program.device.clock.advance(0.01)
    await program.commit(handle, data, release=True)
    await settle(program.device)


@pytest.fixture
def pair(make_device: Callable[..., Device]) -> Pair:
    a, b = make_device("alpha"), make_device("beta")
    return Pair(a, b, a.attach(), b.attach())


PAUSES = [pytest.param(2, id="at once"), pytest.param(65, id="after a minute")]


# ---- one name of a removed file after the other
@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("order", [("d/a", "d/b"), ("d/b", "d/a")])
async def test_each_name_of_a_removed_file_comes_back_as_a_name_of_it(
    device: Device, program: Program, pause: int, order: tuple[str, str]
) -> None:
    first, second = order
    await program.mkdir("d")
    await echo(program, "d/a", b"L\n")
    await program.link("d/a", "d/b")
    await echo(program, "d/z", b"Z\n")
    device.clock.advance(pause)
    await remove_all(program, "d")
    device.clock.advance(pause)
    before = listed(device, second)
    assert b"L\n" in before
    await restore(device, first)
    assert b"L\n" in listed(device, second)
    assert await restore(device, second) == [(second, "restored")]
    assert await program.tree() == {"d": None, "d/a": b"L\n", "d/b": b"L\n"}
    assert await one_file(program, "d/a", "d/b")


@pytest.mark.parametrize("pause", PAUSES)
async def test_the_other_name_comes_back_with_what_it_had_though_the_file_went_on(
    device: Device, program: Program, pause: int
) -> None:
    await echo(program, "m", b"M")
    await program.link("m", "n")
    device.clock.advance(pause)
    for name in ("m", "n"):
        await program.unlink(name)
    device.clock.advance(pause)
    await restore(device, "n")
    await save(program, "n", b"it went on")
    assert b"it went on" not in listed(device, "m")
    await restore(device, "m")
    assert await program.tree() == {"m": b"M", "n": b"it went on"}


@pytest.mark.parametrize(("first", "second"), [("m", "n"), ("n", "m")])
async def test_a_name_of_a_file_comes_back_though_its_writer_had_a_clock_that_is_ahead(
    pair: Pair, first: str, second: str
) -> None:
    a, b = pair.a, pair.b
    await save(pair.pa, "m", b"first")
    await pair.pa.link("m", "n")
    await pair.meet()
    b.clock.advance(3600)
    await save(pair.pb, "m", b"from the future")
    await pair.meet()
    a.clock.advance(61)
    for name in ("m", "n"):
        await pair.pa.unlink(name)
    a.clock.advance(61)
    await restore(a, first)
    assert b"from the future" in listed(a, second)
    await restore(a, second)
    assert await pair.pa.read(second) == b"from the future"
    assert await one_file(pair.pa, "m", "n")


async def test_what_was_written_again_is_what_stood_then(device: Device, program: Program) -> None:
    """A restored file has the content of before once more: the time before shows that, and nothing older."""
    await save(program, "f", b"older")
    await save(program, "f", b"content")
    at_ms = device.volume.now_ms()
    device.clock.advance(60)
    await program.unlink("f")
    device.clock.advance(60)
    await restore(device, "f")
    await restore(device, "f", at_ms=at_ms, to=b"then")
    assert await program.read("then") == b"content"


# ---- a folder that was moved, and then removed
async def test_a_folder_comes_back_by_both_of_its_paths(device: Device, program: Program) -> None:
    await program.mkdir("o")
    await program.mkdir("o/d")
    await echo(program, "o/d/f", b"f")
    device.clock.advance(3)
    await program.rename("o/d", "o/e")
    await remove_all(program, "o/e")
    await restore(device, "o/d")
    assert await program.tree() == {"o": None, "o/d": None, "o/d/f": b"f"}
    assert await trash(device) == [("o/e", 1)]
    await program.write("o/d/f", b"it went on")
    assert listed(device, "o/e/f")[0] == b"f"
    await restore(device, "o/e")
    assert await program.tree() == {
        "o": None, "o/d": None, "o/d/f": b"it went on", "o/e": None, "o/e/f": b"f",
    }  # fmt: skip
    assert await trash(device) == []


@pytest.mark.parametrize("how", ["whole", "each", "at"])
async def test_a_name_of_a_file_that_lives_comes_back_by_the_old_path_of_its_folder(
    device: Device, program: Program, how: str
) -> None:
    for folder in ("hd", "hd/x", "hd/y"):
        await program.mkdir(folder)
    await echo(program, "hd/x/h", b"H")
    await program.link("hd/x/h", "hd/y/h")
    await echo(program, "hd/x/w", b"W")
    device.clock.advance(3)
    at_ms = device.volume.now_ms()
    device.clock.advance(3)
    await program.rename("hd/x", "hd/x2")
    await remove_all(program, "hd/x2")
    if how == "each":
        for path in ("hd/x/h", "hd/x/w"):
            await restore(device, path)
    else:
        await restore(device, "hd/x", at_ms=at_ms if how == "at" else 0)
    tree = await program.tree("hd/x")
    assert tree == {"hd/x/h": b"H", "hd/x/w": b"W"}
    assert await one_file(program, "hd/x/h", "hd/y/h")
    assert (await program.stat("hd/y/h")).nlink == 2
    await restore(device, "hd/x2", to=b"hd/z")
    assert await program.tree("hd/z") == {"hd/z/h": b"H", "hd/z/w": b"W"}
    assert not await one_file(program, "hd/z/h", "hd/y/h")
    await restore(device, "hd/x2")
    assert await program.tree("hd/x2") == {"hd/x2/h": b"H", "hd/x2/w": b"W"}
    assert await one_file(program, "hd/x2/h", "hd/y/h")
    assert not await one_file(program, "hd/x2/w", "hd/x/w")


async def test_the_names_of_a_file_are_one_file_in_a_folder_that_comes_back_by_its_old_path(
    device: Device, program: Program
) -> None:
    await program.mkdir("d")
    await echo(program, "d/a", b"A")
    await program.link("d/a", "d/b")
    await program.rename("d", "e")
    await remove_all(program, "e")
    for path in ("d", "e"):
        await restore(device, path)
        assert await one_file(program, f"{path}/a", f"{path}/b")
    assert not await one_file(program, "d/a", "e/a")


async def test_the_names_of_a_file_that_went_on_are_one_file_in_the_folder(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await save(program, "kept", b"then")
    for name in ("d/a", "d/b"):
        await program.link("kept", name)
    await remove_all(program, "d")
    device.clock.advance(60)
    await save(program, "kept", b"it went on")
    await restore(device, "d")
    assert await program.tree() == {"kept": b"it went on", "d": None, "d/a": b"then", "d/b": b"then"}
    assert await one_file(program, "d/a", "d/b")


async def test_a_file_comes_back_by_the_path_that_it_had_before_it_was_moved_and_by_the_last_one(
    device: Device, program: Program
) -> None:
    await save(program, "f", b"first")
    await program.rename("f", "g")
    await save(program, "g", b"second")
    await program.unlink("g")
    device.clock.advance(60)
    await restore(device, "f")
    assert await trash(device) == [("g", 1)]
    await restore(device, "g")
    assert await program.tree() == {"f": b"first", "g": b"second"}


# ---- a folder that is there
async def test_what_was_removed_from_a_folder_that_lives_again_comes_back(pair: Pair) -> None:
    await pair.pa.mkdir("d")
    await pair.pa.mkdir("d/s")
    for path in ("d/f", "d/g", "d/s/h"):
        await save(pair.pa, path, path.encode())
    await pair.meet()
    await remove_all(pair.pa, "d")
    await save(pair.pb, "d/new", b"new")
    assert await pair.tree() == {"d": None, "d/new": b"new"}
    for device, program in ((pair.a, pair.pa), (pair.b, pair.pb)):
        await restore(device, "d", from_trash=True, to=b"copy")
        assert (await program.tree("copy")).keys() == {"copy/f", "copy/g", "copy/s", "copy/s/h"}
        await remove_all(program, "copy")
    await restore(pair.a, "d", from_trash=True)
    expected = {"d": None, "d/new": b"new", "d/f": b"d/f", "d/g": b"d/g", "d/s": None, "d/s/h": b"d/s/h"}
    assert await pair.tree() == expected


async def test_the_rest_of_a_folder_of_which_a_part_was_restored_comes_back(device: Device, program: Program) -> None:
    for folder in ("i", "i/s"):
        await program.mkdir(folder)
    for path in ("i/f", "i/s/g", "i/s/h"):
        await save(program, path, path.encode())
    await remove_all(program, "i")
    device.clock.advance(60)
    await restore(device, "i/s/g")
    assert sorted(await restore(device, "i", from_trash=True)) == [("i/f", "restored"), ("i/s/h", "restored")]
    assert await program.tree() == {
        "i": None, "i/f": b"i/f", "i/s": None, "i/s/g": b"i/s/g", "i/s/h": b"i/s/h",
    }  # fmt: skip
    with pytest.raises(NoSuchName, match="Nothing that was removed from this folder is kept"):
        await restore(device, "i", from_trash=True)


async def test_an_emptied_folder_is_filled_again(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await save(program, "kept", b"linked")
    await program.link("kept", "d/link")
    for path in ("d/f", "d/used again"):
        await save(program, path, b"old")
    for path in ("d/f", "d/link", "d/used again"):
        await program.unlink(path)
    await save(program, "d/used again", b"new")
    with pytest.raises(BadArgument, match="trash restore"):
        await restore(device, "d")
    assert sorted(await restore(device, "d", from_trash=True)) == [("d/f", "restored"), ("d/link", "restored")]
    assert await program.read("d/used again") == b"new"
    assert await one_file(program, "d/link", "kept")


# ---- something of another kind has the name
async def test_a_folder_whose_name_a_file_has_comes_back_at_another_path(device: Device, program: Program) -> None:
    for folder in ("z", "z/q"):
        await program.mkdir(folder)
    await save(program, "z/q/f", b"f")
    await remove_all(program, "z")
    device.clock.advance(60)
    await save(program, "z", b"file")
    with pytest.raises(NameExists, match="--to PATH"):
        await restore(device, "z")
    await restore(device, "z", to=b"z2")
    assert await program.tree() == {"z": b"file", "z2": None, "z2/q": None, "z2/q/f": b"f"}
    await save(program, "z", b"another")
    await restore(device, "z", to=b"z3")
    assert await program.read("z3") == b"file"


async def test_a_file_whose_name_a_folder_has_comes_back_at_another_path(device: Device, program: Program) -> None:
    await program.mkdir("b")
    await save(program, "b/f", b"f")
    await program.unlink("b/f")
    device.clock.advance(60)
    await program.mkdir("b/f")
    (past,) = history(device, "b/f")
    assert (bool(past.ended_ms), past.shown) == (True, False)
    with pytest.raises(BadArgument, match="--to PATH"):
        await restore(device, "b/f")
    await restore(device, "b/f", to=b"one")
    await restore(device, "b/f", version=past.id, to=b"two")
    await restore(device, "b/f", from_trash=True, to=b"three")
    assert await program.tree() == {"b": None, "b/f": None, "one": b"f", "two": b"f", "three": b"f"}


async def test_the_trash_says_what_cannot_come_back_to_its_path(device: Device, program: Program) -> None:
    for folder in ("z", "y", "x"):
        await program.mkdir(folder)
        await save(program, f"{folder}/f", b"f")
    await program.unlink("y/f")
    for folder in ("z", "x"):
        await remove_all(program, folder)
    device.clock.advance(60)
    await program.mkdir("y/f")
    await save(program, "z", b"file")
    await program.mkdir("x")
    items = await device.fs.history.trash.list(single=True)
    assert {item.path: item.taken for item in items} == {
        b"z": True, b"z/f": True, b"y/f": True, b"x": False, b"x/f": False,
    }  # fmt: skip


async def test_history_tells_which_version_restore_takes(device: Device, program: Program) -> None:
    await echo(program, "f", b"first")
    device.clock.advance(60)
    await echo(program, "f", b"second")
    found = history(device, "f")
    assert found[1].version.size == 0
    taken = device.fs.history.restoring.taken_without_version(b"f", found)
    assert taken is not None
    assert taken.version.size == len(b"first")
    await save(program, "new", b"only")
    assert device.fs.history.restoring.taken_without_version(b"new", history(device, "new")) is None


# ---- settled conflicts
@pytest.mark.parametrize("how", [("newest", "newest"), ("both", "shown"), ("copy", "copy"), ("shown", "both")])
async def test_what_both_devices_settled_is_listed_once(pair: Pair, how: tuple[str, str]) -> None:
    await pair.conflict("f", b"ours", b"theirs")
    for device, keep in zip((pair.a, pair.b), how, strict=True):
        await device.settle()
        await device.fs.settling.one(b"f", Keep(keep))
    await pair.tree()
    for device in (pair.a, pair.b):
        await device.settle()
        copies = {choice.path for contested in await device.fs.alternatives.listing() for choice in contested.choices}
        standing = [past for past in history(device, "f") if not past.ended_ms]
        assert [past.shown for past in standing].count(True) == 1
        assert len(standing) == max(len(copies), 1)


# ---- paths that lead nowhere
async def test_a_path_that_leads_nowhere_is_said(device: Device, program: Program) -> None:
    await save(program, "a", b"x")
    assert await device.fs.alternatives.listing(b"a") == []
    assert (await device.fs.history.trash.empty()).files == 0
    await program.unlink("a")
    with pytest.raises(NoSuchName, match="no such file"):
        await device.fs.alternatives.listing(b"a")
    with pytest.raises(NoSuchName, match="in the trash"):
        await device.fs.history.trash.empty(b"nothing")
    assert (await device.fs.history.trash.empty(b"a", removed_before_ms=1)).files == 0
    assert (await device.fs.history.trash.empty(b"a")).files == 1
