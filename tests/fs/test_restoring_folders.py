# SPDX-License-Identifier: GPL-3.0-or-later
"""A removed folder is restored with everything that it held; what cannot be restored is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holofsd.core.ids import NodeId
from holofsd.fs.past.restoring import MISSING
from tests.fs.harness import Device, Program
from tests.fs.test_conflicts import Pair
from tests.fs.test_history import LARGE, restore, save, settle, trash


@pytest.fixture
def pair(make_device: Callable[..., Device]) -> Pair:
    a, b = make_device("alpha"), make_device("beta")
    return Pair(a, b, a.attach(), b.attach())


async def remove_all(program: Program, path: str) -> None:
    """Remove as `rm -r` does."""
    for name in await program.names(path):
        below = f"{path}/{name}"
        if (await program.tree(path))[below] is None:
            await remove_all(program, below)
        else:
            await program.unlink(below)
    await program.rmdir(path)


async def one_file(program: Program, *paths: str) -> bool:
    return len({(await program.stat(path)).ino for path in paths}) == 1


# ---- hard links
async def test_all_names_of_a_file_come_back_as_one_file(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await program.mkdir("d/sub")
    await save(program, "d/one", b"x" * LARGE)
    await program.link("d/one", "d/two")
    await program.link("d/one", "d/sub/three")
    await settle(device)
    before = await program.tree()
    await remove_all(program, "d")
    await restore(device, "d")
    assert await program.tree() == before
    assert await one_file(program, "d/one", "d/two", "d/sub/three")
    assert (await program.stat("d/one")).nlink == 3


async def test_a_name_of_a_file_that_lives_elsewhere_is_a_name_of_it_again(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await save(program, "kept", b"x" * LARGE)
    await program.link("kept", "d/a")
    await save(program, "d/b", b"other")
    await remove_all(program, "d")
    assert ("d/a", "restored") in await restore(device, "d")
    assert await program.tree() == {"kept": b"x" * LARGE, "d": None, "d/a": b"x" * LARGE, "d/b": b"other"}
    assert await one_file(program, "kept", "d/a")
    await program.write("kept", b"both")
    assert await program.read("d/a") == b"both"


async def test_a_file_that_went_on_elsewhere_comes_back_with_what_the_folder_held(
    device: Device, program: Program
) -> None:
    await program.mkdir("d")
    await save(program, "kept", b"then")
    await program.link("kept", "d/a")
    await remove_all(program, "d")
    device.clock.advance(60)
    await save(program, "kept", b"it went on")
    await restore(device, "d")
    assert await program.tree() == {"kept": b"it went on", "d": None, "d/a": b"then"}
    assert not await one_file(program, "kept", "d/a")


async def test_an_unlinked_name_alone_comes_back(device: Device, program: Program) -> None:
    await save(program, "kept", b"x")
    await program.link("kept", "second")
    await settle(device)
    await program.unlink("second")
    assert await restore(device, "second") == [("second", "restored")]
    assert await one_file(program, "kept", "second")


async def test_names_of_one_file_are_one_file_in_a_copy_too(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await save(program, "kept", b"x")
    await program.link("kept", "d/a")
    await program.link("kept", "d/b")
    await settle(device)
    await remove_all(program, "d")
    await restore(device, "d", to=b"e")
    assert await one_file(program, "e/a", "e/b")
    assert not await one_file(program, "e/a", "kept")


async def test_the_removed_names_of_a_file_come_back_one_by_one(device: Device, program: Program) -> None:
    """The file ends under one folder, long after a name in another one went."""
    for folder in ("d", "e"):
        await program.mkdir(folder)
    await save(program, "d/a", b"then")
    await program.link("d/a", "e/b")
    await remove_all(program, "d")
    device.clock.advance(3600)
    await save(program, "e/b", b"last")
    await remove_all(program, "e")
    await restore(device, "d")
    await restore(device, "e")
    assert await program.tree() == {"d": None, "d/a": b"then", "e": None, "e/b": b"last"}


async def test_a_folder_removed_elsewhere_comes_back_with_its_links(pair: Pair) -> None:
    await pair.pa.mkdir("d")
    await save(pair.pa, "kept", b"x" * LARGE)
    await pair.pa.link("kept", "d/a")
    await save(pair.pa, "d/b", b"b")
    await pair.meet()
    await remove_all(pair.pa, "d")
    await pair.meet()
    await restore(pair.b, "d")
    assert await pair.tree() == {"kept": b"x" * LARGE, "d": None, "d/a": b"x" * LARGE, "d/b": b"b"}
    assert await one_file(pair.pa, "kept", "d/a")


# ---- everything else that a folder holds
async def test_links_folders_and_attributes_come_back(device: Device, program: Program) -> None:
    await program.mkdir("d", 0o750)
    await program.mkdir("d/empty", 0o711)
    await program.mkdir("d/x")
    await program.mkdir("d/x/y")
    await program.symlink("../kept", "d/x/s")
    await save(program, "d/x/y/f", b"f" * LARGE)
    await program.chmod("d/x/y/f", 0o604)
    for path in ("d/x/y/f", "d/empty"):
        ino = await program.walk(path)
        await device.fs.set_xattr(program.att, ino, b"user.a", path.encode(), create=False, replace=False)
    await settle(device)
    before, modes = await program.tree(), {path: (await program.stat(path)).mode for path in await program.tree()}
    for to in ("", "copy"):
        await remove_all(program, "d")
        await restore(device, "d", to=to.encode())
        top = to or "d"
        found = await program.tree()
        assert {top + path[1:]: data for path, data in before.items()} == {
            path: data for path, data in found.items() if path.startswith(top)
        }
        for path, mode in modes.items():
            assert (await program.stat(top + path[1:])).mode == mode, path
        for path in ("d/x/y/f", "d/empty"):
            ino = await program.walk(top + path[1:])
            assert await device.fs.get_xattr(program.att, ino, b"user.a") == path.encode()


async def test_what_was_moved_out_before_is_not_restored_there(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await save(program, "d/moved", b"m")
    await save(program, "d/stays", b"s")
    await program.rename("d/moved", "away")
    await remove_all(program, "d")
    await restore(device, "d")
    assert await program.tree() == {"away": b"m", "d": None, "d/stays": b"s"}


async def test_of_a_file_that_was_replaced_the_last_content_comes_back(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await save(program, "d/a", b"first")
    await program.unlink("d/a")
    device.clock.advance(20)
    await save(program, "d/a", b"second")
    await remove_all(program, "d")
    await restore(device, "d")
    assert await program.tree() == {"d": None, "d/a": b"second"}


# ---- where not all of it can come back
async def test_what_is_not_kept_is_named_and_the_rest_comes_back(device: Device, program: Program) -> None:
    await program.mkdir("d")
    for name in ("d/a", "d/b"):
        await save(program, name, name.encode() * LARGE)
    node = device.node_at("d/a")
    await remove_all(program, "d")
    with device.store.db.transaction():
        device.store.db.run("INSERT INTO trash_purged VALUES (?,?)", (node, device.volume.now_ms()))
    done = await device.fs.history.restoring.restore(b"d")
    assert [(one.path, one.what) for one in done if one.what != "restored"] == [(b"d/a", MISSING)]
    assert [one.why for one in done if one.what == MISSING] == ["Nothing of it is kept any more."]
    assert await program.tree() == {"d": None, "d/b": b"d/b" * LARGE}


async def test_names_that_are_taken_are_named_and_the_rest_comes_back(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await program.mkdir("d/x")
    for name in ("d/a", "d/b", "d/x/f"):
        await save(program, name, name.encode())
    await remove_all(program, "d")
    device.clock.advance(60)
    await program.mkdir("d")
    await program.mkdir("d/a")
    await program.write("d/x", b"a file now")
    done = await device.fs.history.restoring.restore(b"d", from_trash=True)
    assert sorted(one.path for one in done if one.what == MISSING) == [b"d/a", b"d/x", b"d/x/f"]
    assert all(one.why for one in done if one.what == MISSING)
    assert await program.tree() == {"d": None, "d/a": None, "d/b": b"d/b", "d/x": b"a file now"}


async def test_what_stands_at_the_name_now_is_in_the_history_though_it_is_a_second_old(
    device: Device, program: Program
) -> None:
    await program.mkdir("d")
    for name in ("d/small", "d/large"):
        await save(program, name, b"old")
    await remove_all(program, "d")
    device.clock.advance(60)
    await program.mkdir("d")
    await program.write("d/small", b"new")
    await program.write("d/large", b"n" * LARGE)
    await restore(device, "d", from_trash=True)
    assert await program.tree() == {"d": None, "d/small": b"old", "d/large": b"old"}
    for name, data in (("d/small", b"new"), ("d/large", b"n" * LARGE)):
        await restore(device, name)
        assert await program.read(name) == data


async def test_what_lived_again_after_the_trash_was_emptied_is_in_the_trash_again(
    make_device: Callable[..., Device],
) -> None:
    here, there = make_device("here"), make_device("there")
    mine, theirs = here.attach(), there.attach()
    await save(mine, "a", b"one")
    here.give_to(there)
    await mine.unlink("a")
    await here.fs.history.trash.empty()
    await save(theirs, "a", b"an edit wins")
    there.give_to(here)
    assert await mine.read("a") == b"an edit wins"
    await mine.unlink("a")
    assert await trash(here) == [("a", 1)]
    await restore(here, "a")
    assert await mine.read("a") == b"an edit wins"


async def test_whatever_the_trash_lists_is_restored_by_that_path(device: Device, program: Program) -> None:
    """Also from a folder of a name that is used again, and from one of which nothing is known."""
    await program.mkdir("d")
    await save(program, "d/a", b"first")
    await remove_all(program, "d")
    device.clock.advance(60)
    await program.mkdir("d")
    await save(program, "d/other", b"x")
    await save(program, "lost", b"found")
    await program.unlink("lost")
    nowhere = NodeId(b"?" * 16)
    with device.store.db.transaction():
        device.store.db.run("UPDATE past_places SET parent=? WHERE name=?", (nowhere, b"lost"))
    listed = [path for path, _ in await trash(device, single=True)]
    assert sorted(listed) == ["d", "d/a", "lost+found/lost"]
    for path in ("d/a", "lost+found/lost"):
        assert (path, "restored") in await restore(device, path, from_trash=True)
    assert (await program.read("d/a"), await program.read("lost+found/lost")) == (b"first", b"found")
