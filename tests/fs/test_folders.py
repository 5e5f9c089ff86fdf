# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders are what people mean by them: made, moved and removed on devices that are apart, then met (issue 12, 4)."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.core.errors import DirectoryNotEmpty, NoSuchName
from holofsd.core.ids import Ino
from holofsd.fs.types import RenameFlags
from tests.fs.folders import Folders, files, make, remove, two
from tests.fs.harness import Device, Program
from tests.fs.test_two_devices import Both, Step, step


# ---- identity
async def test_new_folders_that_were_renamed_apart_are_two(tmp_path: Path) -> None:
    async with two(tmp_path) as (both, a, b):
        await make(a, "New", "a")
        await a.rename("New", "Photos")
        await make(b, "New", "b")
        await b.rename("New", "Music")
        assert await both.agree() == {
            "Photos": None,
            "Music": None,
            **files("Photos/a", by="alpha"),
            **files("Music/b", by="beta"),
        }


async def test_a_folder_made_again_under_a_name_that_was_moved_away_is_one_with_that_of_another_device(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (both, a, b):
        await make(a, "New", "first")
        await a.rename("New", "Photos")
        await make(a, "New", "second")
        await make(b, "New", "b")
        assert await both.agree() == {
            "Photos": None,
            "New": None,
            **files("Photos/first", "New/second", by="alpha"),
            **files("New/b", by="beta"),
        }


async def test_a_folder_removed_and_made_anew_is_one_with_what_was_edited_in_it_meanwhile(tmp_path: Path) -> None:
    async with two(tmp_path, "feat/", "feat/0", "feat/1", "feat/2") as (both, a, b):
        await remove(a, "feat")
        await make(a, "feat", "0", "1", "2")
        await b.write("feat/1", b"edited")
        tree = await both.agree()
        copies = [path for path in tree if "conflict" in path]
        assert len(copies) == 1
        assert copies[0].startswith("feat/1 (conflict ")
        assert {tree.pop(copies[0]), tree.pop("feat/1")} == {b"edited", b"1 by alpha"}
        assert tree == {"feat": None, **files("feat/0", "feat/2", by="alpha")}


async def test_a_folder_moved_over_an_empty_one_that_got_a_file_meanwhile_has_both(tmp_path: Path) -> None:
    async with two(tmp_path, "d/", "d/x", "e/") as (both, a, b):
        await a.rename("d", "e")
        await b.write("e/new", b"new")
        assert await both.agree() == {"e": None, "e/x": b"d/x", "e/new": b"new"}


# ---- what is done to the name is done to all
@pytest.mark.parametrize("who", [0, 1])
async def test_a_folder_made_on_two_devices_is_renamed_as_one(tmp_path: Path, who: int) -> None:
    async with two(tmp_path) as (both, a, b):
        await make(a, "d", "a")
        await make(b, "d", "b")
        await both.agree()
        one, other = both.programs[who], both.programs[1 - who]
        await one.rename("d", "e")
        await other.write("d/late", b"late")
        assert await both.agree() == {
            "e": None,
            "e/late": b"late",
            **files("e/a", by="alpha"),
            **files("e/b", by="beta"),
        }


@pytest.mark.parametrize("who", [0, 1])
async def test_a_folder_made_on_two_devices_is_removed_as_one(tmp_path: Path, who: int) -> None:
    async with two(tmp_path) as (both, a, b):
        await make(a, "d", "a")
        await make(b, "d", "b")
        await both.agree()
        with pytest.raises(DirectoryNotEmpty):
            await both.programs[who].rmdir("d")
        await remove(both.programs[who], "d")
        assert await both.programs[who].tree() == {}
        assert await both.agree() == {}


async def test_nested_folders_are_one_at_every_depth_and_part_with_what_is_theirs(tmp_path: Path) -> None:
    async with two(tmp_path) as (both, a, b):
        for program, name in ((a, "a"), (b, "b")):
            await program.mkdir("x")
            await program.mkdir("x/y")
            await make(program, "x/y/z", name)
        # Met by one device only: the other moves what it made.
        for device in both.devices:
            await device.fs.hasher.drain()
        both.devices[0].give_to(both.devices[1])
        assert sorted(await b.names("x/y/z")) == ["a", "b"]
        await a.rename("x/y", "mine")
        assert await both.agree() == {
            **dict.fromkeys(("x", "x/y", "x/y/z", "mine", "mine/z")),
            **files("mine/z/a", by="alpha"),
            **files("x/y/z/b", by="beta"),
        }


async def test_modes_and_attributes_of_folders_that_are_one_are_those_set_last(tmp_path: Path) -> None:
    async with two(tmp_path) as (both, a, b):
        b.device.clock.advance(1)
        await a.mkdir("d", 0o700)
        await b.mkdir("d", 0o750)
        for program, name in ((a, "a"), (b, "b")):
            ino = (await program.stat("d")).ino
            await program.fs.set_xattr(program.att, ino, b"user.x", name.encode(), create=False, replace=False)
        await both.agree()
        seen = []
        for program in (a, b):
            attr = await program.stat("d")
            seen.append((attr.mode, await program.fs.get_xattr(program.att, attr.ino, b"user.x")))
        assert seen == [(0o750, b"b")] * 2
        for program in (a, b):
            await program.chmod("d", 0o711)
            ino = (await program.stat("d")).ino
            await program.fs.remove_xattr(program.att, ino, b"user.x")
            await both.agree()
            for other in (a, b):
                attr = await other.stat("d")
                assert (attr.mode, attr.has_xattrs) == (0o711, False)
            await b.fs.set_xattr(b.att, (await b.stat("d")).ino, b"user.x", b"again", create=False, replace=False)
            await b.chmod("d", 0o700)
            await both.agree()


async def test_a_folder_moved_into_one_that_is_removed_meanwhile_keeps_it(tmp_path: Path) -> None:
    async with two(tmp_path, "d/", "d/x") as (both, a, b):
        await make(a, "e", "a")
        await make(b, "e", "b")
        await both.agree()
        await remove(a, "e")
        await b.rename("d", "e/d")
        assert await both.agree() == {"e": None, "e/d": None, "e/d/x": b"d/x"}


async def test_folders_that_are_one_moved_into_each_other_stay_whole(tmp_path: Path) -> None:
    async with two(tmp_path) as (both, a, b):
        for program, name in ((a, "a"), (b, "b")):
            await make(program, "p", name)
            await make(program, "q", name)
        await both.agree()
        await a.rename("p", "q/p")
        await b.rename("q", "p/q")
        tree = await both.agree()
        assert len([path for path, content in tree.items() if content is None]) == 2
        for name in ("p", "q"):
            (home,) = {path.rpartition("/")[0] for path in tree if path.endswith((f"{name}/a", f"{name}/b"))}
            assert sorted(n for n in await a.names(home) if len(n) == 1 and n in "ab") == ["a", "b"]


async def test_a_file_of_that_name_stands_beside_the_folder(tmp_path: Path) -> None:
    async with two(tmp_path) as (both, a, b):
        await make(a, "n", "a")
        await b.write("n", b"a file")
        tree = await both.agree()
        assert sorted(path for path, content in tree.items() if content is None) == ["n"]
        await make(a, "m", "a")
        await make(b, "m", "b")
        await a.rename("n", "m2")
        await both.agree()
        await b.rename("m2", "m3")
        tree = await both.agree()
        assert sorted(path for path, content in tree.items() if content is None) == ["m", "m3"]
        assert b"a file" in tree.values()


async def test_exchanging_folders_that_are_one_exchanges_all(tmp_path: Path) -> None:
    async with two(tmp_path, "f/", "f/x") as (both, a, b):
        await make(a, "d", "a")
        await make(b, "d", "b")
        await both.agree()
        await b.rename("d", "f", RenameFlags.EXCHANGE)
        assert await both.agree() == {
            "d": None,
            "d/x": b"f/x",
            "f": None,
            **files("f/a", by="alpha"),
            **files("f/b", by="beta"),
        }


async def test_a_hard_link_of_one_name_in_both_folders_is_one_name(tmp_path: Path) -> None:
    async with two(tmp_path, "x") as (both, a, b):
        for program in (a, b):
            await program.mkdir("d")
            await program.link("x", "d/x")
        await both.agree()
        for program in (a, b):
            assert (await program.stat("x")).nlink == 2
        await a.unlink("d/x")
        assert await a.tree() == {"x": b"x", "d": None}
        assert await both.agree() == {"x": b"x", "d": None}
        await both.meet()
        assert (await b.stat("x")).nlink == 1


async def test_a_hard_link_of_one_name_in_both_folders_is_moved_as_one(tmp_path: Path) -> None:
    async with two(tmp_path, "x") as (both, a, b):
        for program in (a, b):
            await program.mkdir("d")
            await program.link("x", "d/x")
        await both.agree()
        await b.rename("d/x", "y")
        assert await both.agree() == {"x": b"x", "y": b"x", "d": None}


async def test_three_devices_and_git_folders(tmp_path: Path) -> None:
    async with two(tmp_path) as (both, a, b):
        for program, name in ((a, "a"), (b, "b")):
            await program.mkdir("r")
            await make(program, "r/.git", name)
        tree = await both.agree()
        assert tree == {"r": None, "r/.git": None, **files("r/.git/a", by="alpha"), **files("r/.git/b", by="beta")}


# ---- numbers
async def lookup(program: Program, ino: Ino, name: str) -> Ino:
    return (await program.fs.lookup(program.att, ino, name.encode())).ino


async def test_a_number_stays_with_its_name_and_shows_everything_whichever_device_made_the_folder_first(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (both, a, b):
        await make(a, "d", "a")
        await make(b, "d", "b")
        numbers = [(await program.stat("d")).ino for program in (a, b)]
        await both.agree()
        for program, number in zip((a, b), numbers, strict=True):
            assert (await program.stat("d")).ino == number
            listing = await program.fs.read_dir(program.att, number, b"", 0)
            assert [name for name, _attr in listing.entries] == [b"a", b"b"]


async def test_a_number_stays_with_its_name_when_another_device_removes_the_older_folder(tmp_path: Path) -> None:
    async with two(tmp_path) as (both, a, b):
        await a.mkdir("d")
        await make(b, "d", "b")
        for device in both.devices:
            await device.fs.hasher.drain()
        both.devices[0].give_to(both.devices[1])
        number = (await b.stat("d")).ino
        await a.rmdir("d")
        assert await both.agree() == {"d": None, **files("d/b", by="beta")}
        assert (await b.stat("d")).ino == number


async def test_a_folder_open_under_two_numbers_shows_the_same_under_both(tmp_path: Path) -> None:
    async with two(tmp_path, "d/", "e/", "d/x", "e/y") as (both, a, b):
        one, other = (await b.stat("d")).ino, (await b.stat("e")).ino
        await remove(a, "e")
        await a.rename("d", "e")
        await b.write("e/y", b"edited")
        await both.agree()
        assert await b.tree() == {"e": None, "e/x": b"d/x", "e/y": b"edited"}
        for number in (one, other):
            listing = await b.fs.read_dir(b.att, number, b"", 0)
            assert [name for name, _attr in listing.entries] == [b"x", b"y"]
            assert (await b.fs.get_attr(b.att, number)).ino == number
        assert await lookup(b, one, "x") == await lookup(b, other, "x")
        assert (await b.stat("e")).ino == other
        await b.fs.make_dir(b.att, one, b"new", 0o755)
        assert await lookup(b, other, "new")
        await b.fs.remove_dir(b.att, other, b"new")
        with pytest.raises(NoSuchName):
            await lookup(b, one, "new")


# ---- what was
async def made_apart(both: Both, a: Program, b: Program) -> None:
    """One folder `d` with one in it, made by both: `d/a`, `d/b`, `d/s/a`, `d/s/b`."""
    for program, name in ((a, "a"), (b, "b")):
        await make(program, "d", name)
        await make(program, "d/s", name)
    await both.agree()


async def test_a_removed_folder_that_two_devices_had_made_is_restored_with_everything(tmp_path: Path) -> None:
    async with two(tmp_path) as (both, a, b):
        await made_apart(both, a, b)
        before = await a.tree()
        await remove(a, "d")
        await both.agree()
        for program in (b, a):
            listed = [(item.path, item.files) for item in await program.fs.history.trash.list()]
            # The second time one of the two lies there still: the other was enough to bring the folder back.
            assert listed == [(b"d", 4), (b"d", 0)][: len(listed)]
            assert len(listed) == (1 if program is b else 2)
            for device in both.devices:
                device.clock.advance(100)
            assert all(done.what == "restored" for done in await program.fs.history.restoring.restore(b"d"))
            assert await both.agree() == before
            await remove(program, "d")
            await both.agree()


async def test_the_past_of_a_folder_shows_what_both_devices_had_put_into_it(tmp_path: Path) -> None:
    async with two(tmp_path) as (both, a, b):
        await made_apart(both, a, b)
        at_ms = a.device.clock.now_ns() // 1_000_000
        for device in both.devices:
            device.clock.advance(100)
        await a.rename("d/s", "moved")
        await a.unlink("d/b")
        for program in (a, b):
            await both.agree()
            past = program.fs.history.past
            for path, names in ((b"d", [b"a", b"b", b"s"]), (b"d/s", [b"a", b"b"])):
                entry = past.find(path, at_ms)
                assert entry is not None
                assert [child.name for child in past.children(entry.node, at_ms)] == names
        assert [item.path for item in await b.fs.history.restoring.restore(b"d/b")] == [b"d/b"]
        assert (await both.agree())["d/b"] == b"b by beta"


async def test_a_file_of_a_folder_that_was_removed_and_made_again_is_restored_into_the_new_one(tmp_path: Path) -> None:
    async with two(tmp_path, "d/", "d/f", "d/g") as (both, a, _b):
        for device in both.devices:
            device.clock.advance(100)
        await remove(a, "d")
        await make(a, "d", "g")
        assert [item.what for item in await a.fs.history.restoring.restore(b"d/f")] == ["restored"]
        assert await both.agree() == {"d": None, "d/f": b"d/f", **files("d/g", by="alpha")}


# ---- anything at all
NAMES = st.sampled_from(["a", "b"])
PATHS = st.one_of(NAMES, st.tuples(NAMES, NAMES).map("/".join), st.tuples(NAMES, NAMES, NAMES).map("/".join))
STEP = st.one_of(
    step("mkdir", PATHS),
    step("mkdir", PATHS),
    step("rename", PATHS, PATHS),
    step("rename", PATHS, PATHS),
    step("rmdir", PATHS),
    step("remove_all_of", PATHS),
    step("make_again", PATHS),
    step("write", PATHS.map(lambda path: f"{path}/f"), st.sampled_from([b"one", b"two"])),
    step("link", PATHS.map(lambda path: f"{path}/f"), PATHS.map(lambda path: f"{path}/l")),
    step("chmod", PATHS, st.sampled_from([0o700, 0o755])),
    step("meet"),
)
STEPS = st.lists(STEP, max_size=30)


@settings(max_examples=80)
@given(STEPS)
async def test_no_folder_ever_has_a_conflict_name_and_all_of_them_can_be_removed(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as name:
        both = Folders(Path(name))
        try:
            for one in steps:
                await both.do(one)
            tree = await both.agree()
            assert not [path for path, content in tree.items() if content is None and "conflict" in path]
            await both.remove_all(both.programs[1])
            assert await both.programs[1].tree() == {}
            assert await both.agree() == {}
        finally:
            for device in both.devices:
                device.kill()


class Three(Folders):
    """A third device, which meets the others one at a time."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.devices.append(Device(directory / "gamma", "gamma"))
        self.programs.append(self.devices[2].attach())

    async def meet(self, program: Program | None = None) -> None:
        for device in self.devices:
            await device.fs.hasher.drain()
        # In a program the device and the next one; at the end everybody.
        first = self.devices.index(program.device) if program is not None else -1
        pairs = [(0, 1), (1, 2), (2, 0)]
        for one, other in pairs * 2 if first < 0 else [pairs[first]]:
            self.devices[one].give_to(self.devices[other])
            self.devices[other].give_to(self.devices[one])

    async def agree(self) -> dict[str, bytes | None]:
        shown = await super().agree()
        assert await self.programs[2].tree() == shown
        return shown


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), STEP), max_size=30))
async def test_three_devices_that_meet_in_pairs_show_one_tree(steps: list[tuple[int, Step]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        three = Three(Path(name))
        try:
            for who, one in steps:
                await three.do(replace(one, who=who))
            tree = await three.agree()
            assert not [path for path, content in tree.items() if content is None and "conflict" in path]
        finally:
            for device in three.devices:
                device.kill()
