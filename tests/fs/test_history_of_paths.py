# SPDX-License-Identifier: GPL-3.0-or-later
"""The history of a path is of what stood there: hard links that live on, folders that were moved, names used again."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holofsd.core.errors import HoloError, IsADirectory, NoSuchName
from holofsd.core.ids import ROOT_ID, NodeId
from tests.fs.harness import Device, Program
from tests.fs.test_conflicts import Pair
from tests.fs.test_history import history, restore, save, settle
from tests.fs.test_history_and_restore_agree import bytes_of
from tests.fs.test_restoring_folders import remove_all


def listed(device: Device, path: str) -> list[bytes]:
    return [bytes_of(device, past.version) for past in history(device, path)]


async def echo(program: Program, path: str, data: bytes) -> None:
    """Write as `echo >path` does on a mount: the empty file is heard of before the line is written."""
    handle = await program.create(path)
    await program.commit(handle, b"")
    await settle(program.device)
    program.device.clock.advance(0.01)
    await program.commit(handle, data, release=True)
    await settle(program.device)
    program.device.clock.advance(60)


# ---- a name whose file lives on under another one
async def test_a_new_file_at_the_name_of_a_hard_link_has_the_history_of_that_name(
    device: Device, program: Program
) -> None:
    await program.mkdir("d")
    await save(program, "d/f", b"old")
    await program.link("d/f", "keep")
    await settle(device)
    await program.unlink("d/f")
    await echo(program, "d/f", b"newfile")
    for data in (b"zz", b"later"):
        await echo(program, "keep", data)
    found = history(device, "d/f")
    assert [(bytes_of(device, past.version), past.shown) for past in found if past.version.size] == [
        (b"newfile", True),
        (b"old", False),
    ]
    await restore(device, "d/f")
    assert (await program.read("d/f"), await program.read("keep")) == (b"old", b"later")


async def test_a_removed_hard_link_is_restored_as_it_was_and_not_shown_as_there(
    device: Device, program: Program
) -> None:
    await save(program, "pp", b"old")
    await program.link("pp", "keep")
    await settle(device)
    await program.unlink("pp")
    device.clock.advance(60)
    await echo(program, "keep", b"later")
    assert [(bytes_of(device, past.version), past.shown, bool(past.ended_ms)) for past in history(device, "pp")] == [
        (b"old", False, True)
    ]
    await restore(device, "pp")
    assert (await program.read("pp"), await program.read("keep")) == (b"old", b"later")


async def test_what_left_no_trace_at_a_name_is_not_made_up_from_what_came_later(
    device: Device, program: Program
) -> None:
    await program.write("f", b"for a moment")
    await program.link("f", "keep")
    await program.unlink("f")
    device.clock.advance(1)
    await program.write("keep", b"never at f")
    with pytest.raises(NoSuchName):
        history(device, "f")
    with pytest.raises(NoSuchName):
        await restore(device, "f")


async def test_a_file_moved_away_is_in_the_history_of_a_new_one_at_its_name(device: Device, program: Program) -> None:
    await save(program, "f", b"old")
    await program.rename("f", "g")
    await save(program, "f", b"new")
    await save(program, "g", b"never at f")
    assert listed(device, "f") == [b"new", b"old"]
    await restore(device, "f")
    assert (await program.read("f"), await program.read("g")) == (b"old", b"never at f")


async def test_the_moment_between_emptying_a_file_and_writing_it_is_not_what_restore_brings_back(
    device: Device, program: Program
) -> None:
    for data in (b"first", b"second"):
        await echo(program, "f", data)
    assert listed(device, "f")[:2] == [b"second", b""]
    await restore(device, "f")
    assert await program.read("f") == b"first"


async def test_a_file_that_was_empty_for_a_while_can_be_empty_again(device: Device, program: Program) -> None:
    for data in (b"first", b"", b"second"):
        await save(program, "f", data)
    await restore(device, "f")
    assert await program.read("f") == b""


# ---- a path whose folder was moved
async def moved_folder(program: Program) -> None:
    await program.mkdir("k")
    await program.mkdir("k/s")
    await save(program, "k/s/f", b"old")
    await program.rename("k/s", "ks")
    program.device.clock.advance(60)


async def test_a_file_of_a_moved_folder_is_known_at_its_old_path(device: Device, program: Program) -> None:
    await moved_folder(program)
    await save(program, "ks/f", b"never at the old path")
    await save(program, "ks/later", b"x")
    (past,) = history(device, "k/s/f")
    assert (bytes_of(device, past.version), past.shown, bool(past.ended_ms)) == (b"old", False, True)
    assert await restore(device, "k/s/f") == [("k/s/f", "restored")]
    assert (await program.read("k/s/f"), await program.read("ks/f")) == (b"old", b"never at the old path")
    with pytest.raises(NoSuchName):
        history(device, "k/s/later")


async def test_the_folder_says_where_it_is(device: Device, program: Program) -> None:
    await moved_folder(program)
    with pytest.raises(NoSuchName, match="moved to 'ks'"):
        await restore(device, "k/s")


@pytest.mark.parametrize("path", ["k/s/f", "k/s"])
@pytest.mark.parametrize("from_trash", [False, True])
async def test_what_was_removed_after_its_folder_was_moved_comes_back_by_the_old_path(
    device: Device, program: Program, path: str, from_trash: bool
) -> None:
    await moved_folder(program)
    await remove_all(program, "ks")
    device.clock.advance(60)
    assert listed(device, "k/s/f") == [b"old"]
    assert (path, "restored") in await restore(device, path, from_trash=from_trash)
    assert await program.tree() == {"k": None, "k/s": None, "k/s/f": b"old"}


async def test_what_was_removed_before_its_folder_was_moved_is_known_by_both_paths(
    device: Device, program: Program
) -> None:
    await program.mkdir("k")
    await save(program, "k/f", b"old")
    await program.unlink("k/f")
    device.clock.advance(60)
    await program.rename("k", "l")
    for path in ("k/f", "l/f"):
        assert listed(device, path) == [b"old"]
        await restore(device, path, to=b"copy of " + path[:1].encode())
    assert (await program.read("copy of k"), await program.read("copy of l")) == (b"old", b"old")


async def test_folders_moved_one_by_one_are_followed_through_each_of_them(device: Device, program: Program) -> None:
    """First the inner folder, then the outer one; then all of it is removed, and the names are used again."""
    await program.mkdir("a")
    await program.mkdir("a/b")
    await program.mkdir("a/b/c")
    await save(program, "a/b/c/f", b"old")
    await program.rename("a/b/c", "a/c")
    device.clock.advance(60)
    await program.rename("a", "z")
    await save(program, "z/c/f", b"last")
    await remove_all(program, "z")
    device.clock.advance(60)
    for path in ("a", "a/b", "a/b/c"):
        await program.mkdir(path)
    await save(program, "a/b/c/f", b"another")
    assert listed(device, "a/b/c/f") == [b"another", b"old"]
    assert listed(device, "a/c/f") == [b"old"]
    assert listed(device, "z/c/f") == [b"last", b"old"]


async def test_a_file_of_a_folder_that_was_one_with_another_is_known_at_the_path_of_both(
    make_device: Callable[..., Device],
) -> None:
    a, b = make_device("alpha"), make_device("beta")
    pair = Pair(a, b, a.attach(), b.attach())
    for program, name in ((pair.pa, "ours"), (pair.pb, "theirs")):
        await program.mkdir("d")
        await save(program, f"d/{name}", name.encode())
    await pair.meet()
    a.clock.advance(60)
    await pair.pa.rename("d", "e")
    a.clock.advance(60)
    for name in ("ours", "theirs"):
        assert listed(a, f"d/{name}") == [name.encode()]
    await remove_all(pair.pa, "e")
    a.clock.advance(60)
    for name in ("ours", "theirs"):
        assert listed(a, f"d/{name}") == [name.encode()]
        assert (f"d/{name}", "restored") in await restore(a, f"d/{name}")
    assert await pair.pa.tree() == {"d": None, "d/ours": b"ours", "d/theirs": b"theirs"}


# ---- any program
NAMES = ("a", "b", "d", "d/a", "d/e", "d/e/a", "e", "e/a")


class Diary:
    """Diary of what stood where, written after each step."""

    def __init__(self, device: Device, program: Program) -> None:
        self.device = device
        self.program = program
        self.contents: dict[NodeId, list[tuple[int, bytes]]] = {}
        self.last_in: dict[tuple[NodeId, str, NodeId], int] = {}
        """(folder, name, file) -> the last step after which it was so."""
        self.folders: dict[str, set[NodeId]] = {}
        self.stood: dict[str, set[bytes]] = {}
        self.step = 0

    async def write_down(self) -> None:
        self.step += 1
        self.present = {path: data for path, data in (await self.program.tree()).items() if data is not None}
        for path, data in self.present.items():
            node = self.device.node_at(path)
            self.contents.setdefault(node, []).append((self.step, data))
            directory, _, name = path.rpartition("/")
            folder = self.device.node_at(directory) if directory else ROOT_ID
            self.folders.setdefault(directory, set()).add(folder)
            self.last_in[folder, name, node] = self.step
            self.stood.setdefault(path, set()).add(data)

    def may_be_listed(self, path: str) -> set[bytes]:
        """Contents of files that had this path, as they were when they left it.

        A folder that was moved took its past along: a file that was removed from it before had this path, too.
        """
        directory, _, name = path.rpartition("/")
        places = {(folder, name) for folder in self.folders.get(directory, ())}
        ends = [(node, last) for (folder, known, node), last in self.last_in.items() if (folder, known) in places]
        return {data for node, last in ends for step, data in self.contents[node] if step <= last}


async def _do(program: Program, number: int, what: int, path: str, target: str) -> None:
    if what == 0:
        await program.write(path, b"%d" % number)
    elif what == 1:
        await program.unlink(path)
    elif what in (2, 3):
        await program.rename(path, target)
    elif what == 4:
        await program.link(path, target)
    elif what == 5:
        await program.mkdir(path)
    else:
        await remove_all(program, path)


async def _check(diary: Diary, path: str) -> None:
    device, program = diary.device, diary.program
    with suppress(IsADirectory):
        found = history(device, path)
        contents = {bytes_of(device, past.version) for past in found}
        assert contents <= diary.may_be_listed(path)
        assert contents >= diary.stood[path]
        assert [past.shown for past in found].count(True) == (path in diary.present)
        for number, past in enumerate(found):
            out = f"out of {path.replace('/', ' ')} {number}"
            await restore(device, path, version=past.id, to=out.encode())
            assert await program.read(out) == bytes_of(device, past.version)
        if path not in diary.present:
            await restore(device, path, to=b"out")
            assert await program.read("out") in diary.stood[path]
            await program.unlink("out")


STEPS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from(NAMES), st.sampled_from(NAMES)), min_size=5, max_size=20)


@settings(deadline=None, max_examples=int(os.environ.get("HOLOFS_EXAMPLES", "40")))
@example([(1, "d/e/a", "a"), (2, "d/e", "e"), (0, "e/a", "a")])
@given(STEPS)
def test_the_history_of_a_path_is_all_that_stood_there_and_nothing_else(steps: list[tuple[int, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        device = Device(Path(folder))
        try:
            asyncio.run(_run(device, steps))
        finally:
            device.kill()


async def _run(device: Device, steps: list[tuple[int, str, str]]) -> None:
    program = device.attach()
    diary = Diary(device, program)
    for path in ("d", "d/e"):
        await program.mkdir(path)
    for path in ("a", "d/a", "d/e/a"):
        await program.write(path, path.encode())
    for number, step in enumerate(((7, "", ""), *steps)):
        if step[1]:
            with suppress(HoloError):
                await _do(program, number, *step)
        await settle(device)
        device.clock.advance(61)
        await diary.write_down()
    for path in diary.stood:
        await _check(diary, path)
