# SPDX-License-Identifier: GPL-3.0-or-later
"""A version made here is of content that is here: what is elsewhere may have been replaced and collected by now.

Otherwise its file would want that content for good, and no device could ever say that it holds everything.
"""

from __future__ import annotations

import errno
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.core.errors import HoloError
from holofsd.core.ids import Dot, NodeId
from holofsd.core.node import live_versions
from holofsd.fs.names.settling import Keep
from holofsd.fs.types import RenameFlags
from tests.fs.harness import Device, Program, errno_of

OURS, THEIRS = b"ours " * 4000, b"theirs " * 4000


class Pair:
    """Two devices that meet; what `there` wrote comes here as records only."""

    def __init__(self, folder: Path) -> None:
        for name in ("here", "there"):
            (folder / name).mkdir()
        self.here, self.there = Device(folder / "here"), Device(folder / "there", "there")
        self.ours, self.theirs = self.here.attach(), self.there.attach()

    async def meet(self) -> None:
        for device in (self.here, self.there):
            await device.settle()
        self.here.give_to(self.there)
        self.there.give_to(self.here, content=False)

    async def conflict(self, name: str = "f", newest: str = "ours") -> str:
        """A name with one content of each device. Returns the path of the copy."""
        await self.ours.write(name, b"first")
        await self.meet()
        order = [(self.theirs, THEIRS), (self.ours, OURS)]
        for program, data in order if newest == "ours" else reversed(order):
            await program.write(name, data)
            self.here.clock.advance(1.0)
            self.there.clock.advance(1.0)
        await self.meet()
        (copy,) = [found for found in await self.ours.names() if found.startswith(f"{name} (conflict")]
        return copy

    def close(self) -> None:
        self.here.kill()
        self.there.kill()

    def references(self) -> set[tuple[NodeId, Dot]]:
        """Versions of files here whose content is not here."""
        return {
            (state.id, version.dot)
            for state in self.here.states()
            for version in live_versions(state)
            if not self.here.volume.tree.is_here(version)
        }


@pytest.fixture
def pair(tmp_path: Path) -> Any:
    made = Pair(tmp_path)
    yield made
    made.close()


async def test_removing_a_file_makes_no_file_of_a_copy_whose_content_is_elsewhere(pair: Pair) -> None:
    copy = await pair.conflict()
    before = pair.references()
    await pair.ours.unlink("f")
    assert pair.references() == before
    assert await pair.ours.names() == ["f"]
    # Its writer replaces it at the same time, and keeps nothing of what was.
    await pair.theirs.write(copy, b"newer")
    await pair.meet()
    assert b"newer" in (await pair.ours.tree()).values()
    assert await pair.ours.tree() == await pair.theirs.tree()
    assert pair.here.store.content.missing() == (0, 0)


async def test_a_renamed_file_takes_such_a_copy_along(pair: Pair) -> None:
    await pair.conflict()
    before = pair.references()
    await pair.ours.rename("f", "g")
    assert pair.references() == before
    shown, copy = sorted(await pair.ours.names(), key=len)
    assert (shown, copy.startswith("g (conflict there")) == ("g", True)
    assert await pair.ours.read("g") == OURS


async def test_a_file_whose_content_is_elsewhere_moves_over_another_as_it_is(pair: Pair) -> None:
    await pair.theirs.write("new", THEIRS)
    await pair.ours.write("old", OURS)
    await pair.meet()
    before = pair.references()
    await pair.ours.rename("new", "old")
    assert pair.references() == before
    assert await pair.ours.names() == ["old"]
    await pair.theirs.write("new", b"newer")
    await pair.meet()
    assert pair.here.store.content.missing() == (0, 0)
    assert await pair.ours.tree() == await pair.theirs.tree()


async def test_a_copy_whose_content_is_elsewhere_can_be_removed_and_replaced_but_not_kept(pair: Pair) -> None:
    copy = await pair.conflict()
    for refused in (pair.ours.rename(copy, "kept"), pair.ours.chmod(copy, 0o600), pair.ours.link(copy, "kept")):
        assert await errno_of(refused) == errno.EHOSTUNREACH
    assert sorted(await pair.ours.names()) == ["f", copy]
    await pair.ours.unlink(copy)
    assert await pair.ours.names() == ["f"]
    assert pair.references() == set()
    copy = await pair.conflict("g")
    await pair.ours.write(copy, b"anew")
    assert await pair.ours.read(copy) == b"anew"
    assert pair.references() == set()


async def test_a_conflict_is_settled_with_content_that_is_here(pair: Pair) -> None:
    await pair.conflict()
    before = pair.references()
    assert await errno_of(pair.here.fs.settling.one(b"f", Keep("newest"))) == 0
    assert pair.references() == set()
    await pair.conflict("g", newest="theirs")
    before = pair.references()
    assert await errno_of(pair.here.fs.settling.one(b"g", Keep("both"))) == errno.EHOSTUNREACH
    assert pair.references() == before


RENAMES = {
    "over": RenameFlags.NONE,
    "exchanged": RenameFlags.EXCHANGE,
    "free": RenameFlags.NO_REPLACE,
}


@pytest.mark.parametrize("how", RENAMES)
@pytest.mark.parametrize("which", ["name", "copy"])
async def test_what_is_renamed_is_what_was_shown_while_a_newer_content_is_elsewhere(
    pair: Pair, which: str, how: str
) -> None:
    copy = await pair.conflict(newest="theirs")
    if how != "free":
        await pair.ours.write("target", b"target " * 4000)
    moved = copy if which == "copy" else "f"
    assert await pair.ours.read(moved) == OURS
    await pair.ours.rename(moved, "target", RENAMES[how])
    assert await pair.ours.read("target") == OURS
    assert {OURS, THEIRS} <= await contents_of_both(pair)


async def contents_of_both(pair: Pair) -> set[bytes | None]:
    """Contents of all files, once both devices have everything; they show the same."""
    for device in (pair.here, pair.there):
        await device.settle()
    pair.here.give_to(pair.there)
    pair.there.give_to(pair.here)
    await pair.meet()
    assert await pair.ours.tree() == await pair.theirs.tree()
    return {*(await pair.ours.tree()).values()}


@pytest.mark.parametrize("what", ["chmod", "link", "write", "unlink"])
async def test_a_copy_that_stands_for_a_newer_content_is_acted_on_alone(pair: Pair, what: str) -> None:
    copy = await pair.conflict(newest="theirs")
    if what == "chmod":
        await pair.ours.chmod(copy, 0o600)
    elif what == "link":
        await pair.ours.link(copy, "kept")
    elif what == "unlink":
        await pair.ours.unlink(copy)
    else:
        await pair.ours.write(copy, b"written " * 4000)
    found = await contents_of_both(pair)
    assert THEIRS in found
    assert (OURS in found) == (what in ("chmod", "link"))
    assert (b"written " * 4000 in found) == (what == "write")
    assert not [name for name in await pair.ours.names() if name.startswith("f (") and name != copy]


@pytest.mark.parametrize("flags", [RenameFlags.NONE, RenameFlags.EXCHANGE])
@pytest.mark.parametrize("reverse", [False, True])
async def test_a_name_and_its_copy_that_show_one_version_are_not_renamed_over_each_other(
    pair: Pair, reverse: bool, flags: RenameFlags
) -> None:
    names = ["f", await pair.conflict(newest="theirs")]
    one, other = reversed(names) if reverse else names
    assert await errno_of(pair.ours.rename(one, other, flags)) == errno.EHOSTUNREACH
    assert sorted(await pair.ours.names()) == sorted(names)
    assert {OURS, THEIRS} <= await contents_of_both(pair)


NAMES = st.sampled_from(["a", "b", ".git/a", ".git/b"])
FLAGS = st.sampled_from([RenameFlags.NONE, RenameFlags.NONE, RenameFlags.EXCHANGE])
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.booleans(), NAMES, st.integers(0, 9)),
        st.tuples(st.just("write"), st.booleans(), NAMES, st.integers(0, 9)),
        st.tuples(st.just("unlink"), st.booleans(), NAMES),
        st.tuples(st.just("rename"), st.booleans(), NAMES, NAMES, FLAGS),
        st.tuples(st.just("link"), st.booleans(), NAMES, NAMES),
        st.tuples(st.just("chmod"), st.booleans(), NAMES),
        st.tuples(st.just("copy"), st.booleans(), st.integers(0, 5), st.sampled_from(["unlink", "rename", "chmod"])),
        st.tuples(st.just("settle"), st.booleans(), st.integers(0, 5), st.sampled_from(["shown", "newest", "both"])),
        st.tuples(st.just("meet"), st.booleans()),
        st.tuples(st.just("meet"), st.booleans()),
    ),
    max_size=30,
)


async def act(pair: Pair, program: Program, what: str, *args: Any) -> None:
    if what == "write":
        await program.write(args[0], b"%d" % args[1] * 5000)
    elif what == "chmod":
        await program.chmod(args[0], 0o600)
    elif what in ("copy", "settle"):
        copies = [path for path in await all_names(program) if " (conflict " in path]
        if not copies:
            return
        path = copies[args[0] % len(copies)]
        if what == "settle":
            await program.fs.settling.one(path.encode(), Keep(args[1]))
        elif args[1] == "rename":
            await program.rename(path, "a")
        else:
            await act(pair, program, args[1], path)
    else:
        await getattr(program, what)(*args)


async def all_names(program: Program) -> list[str]:
    return [*await program.names(), *(f".git/{name}" for name in await program.names(".git"))]


@given(ACTS)
@settings(deadline=None, max_examples=60)
async def test_nothing_done_here_needs_content_that_is_elsewhere_anew(acts: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(Path(folder))
        try:
            await pair.ours.mkdir(".git")
            await pair.meet()
            for what, is_here, *args in acts:
                if what == "meet":
                    await pair.meet()
                    continue
                before = pair.references()
                with suppress(HoloError):
                    await act(pair, pair.ours if is_here else pair.theirs, what, *args)
                assert pair.references() <= before
        finally:
            pair.close()
