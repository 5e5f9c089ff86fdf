# SPDX-License-Identifier: GPL-3.0-or-later
"""Two devices change the same things; whoever then acts on what is shown gets what the names promise, on both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from holofsd.codec.content import hash_bytes
from holofsd.core.node import is_alive, live_versions
from holofsd.core.project import token
from holofsd.core.state import Blob
from holofsd.fs.types import RenameFlags
from tests.fs.harness import Device, Program


@dataclass
class Pair:
    """Two devices that meet when told to."""

    a: Device
    b: Device
    pa: Program
    pb: Program

    async def meet(self) -> None:
        await self.a.fs.hasher.drain()
        await self.b.fs.hasher.drain()
        for _ in range(2):
            self.a.give_to(self.b)
            self.b.give_to(self.a)

    async def tree(self) -> dict[str, bytes | None]:
        """Tree after meeting, which both show."""
        await self.meet()
        tree = await self.pa.tree()
        assert tree == await self.pb.tree()
        return tree

    async def conflict(self, name: str, ours: bytes, theirs: bytes) -> str:
        """Both change a file that both have; theirs is later. Returns the name of the copy."""
        await self.pa.write(name, b"base")
        await self.meet()
        await self.pa.write(name, ours)
        self.b.clock.advance(1)
        await self.pb.write(name, theirs)
        tree = await self.tree()
        assert tree[name] == theirs
        (copy,) = set(tree) - {name}
        assert tree[copy] == ours
        return copy


@pytest.fixture
def pair(make_device: Callable[..., Device]) -> Pair:
    a, b = make_device("alpha"), make_device("beta")
    return Pair(a, b, a.attach(), b.attach())


@pytest.mark.parametrize("size", [5, 10_000])
async def test_both_contents_of_a_file_changed_twice_are_there(pair: Pair, size: int) -> None:
    copy = await pair.conflict("f.txt", b"a" * size, b"b" * size)
    assert copy.startswith("f (conflict alpha ")
    assert copy.endswith(".txt")
    (contested,) = await pair.a.fs.alternatives.listing()
    assert [choice.path for choice in contested.choices] == [b"f.txt", copy.encode()]


async def test_deleting_the_copy_settles_the_conflict(pair: Pair) -> None:
    copy = await pair.conflict("f", b"aaa", b"bbb")
    await pair.pa.unlink(copy)
    assert await pair.pa.tree() == {"f": b"bbb"}
    assert await pair.tree() == {"f": b"bbb"}
    assert pair.b.fs.census().conflicts == 0


async def test_deleting_the_name_leaves_the_copy_as_a_file(pair: Pair) -> None:
    copy = await pair.conflict("f", b"aaa", b"bbb")
    await pair.pa.unlink("f")
    assert await pair.pa.tree() == {copy: b"aaa"}
    assert await pair.tree() == {copy: b"aaa"}


async def test_a_copy_renamed_over_the_name_wins(pair: Pair) -> None:
    copy = await pair.conflict("f", b"aaa", b"bbb")
    await pair.pa.rename(copy, "f")
    assert await pair.pa.tree() == {"f": b"aaa"}
    assert await pair.tree() == {"f": b"aaa"}


async def test_a_copy_can_be_renamed_and_is_a_file_then(pair: Pair) -> None:
    copy = await pair.conflict("f", b"aaa", b"bbb")
    ino = (await pair.pa.stat(copy)).ino
    await pair.pa.rename(copy, "mine")
    assert (await pair.pa.stat("mine")).ino == ino
    assert await pair.tree() == {"f": b"bbb", "mine": b"aaa"}


async def test_a_copy_can_be_written(pair: Pair) -> None:
    copy = await pair.conflict("f", b"aaa", b"bbb")
    ino = (await pair.pa.stat(copy)).ino
    await pair.pa.append(copy, b"+")
    assert (await pair.pa.stat(copy)).ino == ino
    assert await pair.tree() == {"f": b"bbb", copy: b"aaa+"}
    await pair.pb.chmod(copy, 0o600)
    assert await pair.tree() == {"f": b"bbb", copy: b"aaa+"}
    assert (await pair.pa.stat(copy)).mode == 0o600


async def test_writing_the_name_leaves_the_copy(pair: Pair) -> None:
    copy = await pair.conflict("f", b"aaa", b"bbb")
    await pair.pa.write("f", b"ccc")
    assert await pair.tree() == {"f": b"ccc", copy: b"aaa"}


async def test_renaming_the_name_leaves_the_copy_where_it_is(pair: Pair) -> None:
    copy = await pair.conflict("f", b"aaa", b"bbb")
    await pair.pa.rename("f", "g")
    assert await pair.tree() == {"g": b"bbb", copy: b"aaa"}


async def test_both_devices_can_settle_the_same_conflict_at_once(pair: Pair) -> None:
    copy = await pair.conflict("f", b"aaa", b"bbb")
    await pair.pa.unlink(copy)
    await pair.pb.unlink(copy)
    assert await pair.tree() == {"f": b"bbb"}


async def test_different_ways_to_settle_lose_nothing_that_was_kept(pair: Pair) -> None:
    copy = await pair.conflict("f", b"aaa", b"bbb")
    await pair.pa.unlink("f")
    await pair.pb.unlink(copy)
    tree = await pair.tree()
    assert set(tree.values()) <= {b"aaa", b"bbb"}


async def test_a_copy_exchanged_with_the_name_swaps_contents(pair: Pair) -> None:
    copy = await pair.conflict("f", b"aaa", b"bbb")
    await pair.pa.rename(copy, "f", RenameFlags.EXCHANGE)
    assert await pair.tree() == {"f": b"aaa", copy: b"bbb"}


async def test_an_open_copy_stays_readable_when_it_is_deleted(pair: Pair) -> None:
    copy = await pair.conflict("f", b"a" * 9000, b"bbb")
    handle = await pair.pa.open(copy)
    await pair.pa.unlink(copy)
    assert await pair.pa.read_handle(handle) == b"a" * 9000
    await pair.pa.release(handle)
    assert await pair.tree() == {"f": b"bbb"}


async def test_two_new_files_of_one_name_and_content_show_once_and_go_together(pair: Pair) -> None:
    await pair.pa.write("f", b"same")
    await pair.pb.write("f", b"same")
    assert await pair.tree() == {"f": b"same"}
    await pair.pa.unlink("f")
    assert await pair.pa.tree() == {}
    assert await pair.tree() == {}


async def test_twins_are_renamed_together(pair: Pair) -> None:
    await pair.pa.write("f", b"same")
    await pair.pb.write("f", b"same")
    await pair.meet()
    await pair.pa.rename("f", "g")
    assert await pair.tree() == {"g": b"same"}


async def test_writing_to_twins_leaves_one_file(pair: Pair) -> None:
    await pair.pa.write("f", b"same")
    await pair.pb.write("f", b"same")
    await pair.meet()
    await pair.pa.write("f", b"changed")
    assert await pair.pa.tree() == {"f": b"changed"}
    assert await pair.tree() == {"f": b"changed"}


@pytest.mark.parametrize("act", ["write", "unlink", "rename", "replace"])
@pytest.mark.parametrize("folder", ["", ".git/"])
@pytest.mark.parametrize("staged", [True, False])
async def test_a_file_that_is_written_is_no_twin(pair: Pair, staged: bool, folder: str, act: str) -> None:
    """The version is as empty as the file at the name; what is written meanwhile is not."""
    name, written = f"{folder}f", b"d" * 200_000
    if folder:
        await pair.pa.mkdir(".git")
        await pair.meet()
    download = await pair.pa.create(name)
    if staged:
        await pair.pa.put(download, written)
    pair.b.clock.advance(1)
    await pair.pb.write(name, b"bbb")
    await pair.meet()
    again = await pair.pa.open(name, write=True, truncate=True)
    assert (await pair.pa.stat(name)).size == 0, "both are empty now"
    await pair.pa.release(again)
    if act == "write":
        await pair.pa.write(name, b"new")
    elif act == "unlink":
        await pair.pa.unlink(name)
    elif act == "rename":
        await pair.pa.rename(name, "g")
    else:
        await pair.pa.write("g", b"new")
        await pair.pa.rename("g", name)
    if not staged:
        await pair.pa.put(download, written)
    await pair.pa.release(download)
    await pair.meet()
    for device in (pair.a, pair.b):
        live = [version.body for state in device.states() if is_alive(state) for version in live_versions(state)]
        assert any(isinstance(body, Blob) and body.hash == hash_bytes(written) for body in live)


async def test_two_new_files_of_one_name_are_both_shown_and_can_be_acted_on(pair: Pair) -> None:
    await pair.pa.write("f", b"aaa")
    pair.b.clock.advance(1)
    await pair.pb.write("f", b"bbb")
    tree = await pair.tree()
    (copy,) = set(tree) - {"f"}
    assert tree == {"f": b"bbb", copy: b"aaa"}
    await pair.pa.append(copy, b"+")
    assert await pair.tree() == {"f": b"bbb", copy: b"aaa+"}
    await pair.pb.unlink("f")
    assert await pair.tree() == {copy: b"aaa+"}
    await pair.pb.unlink(copy)
    assert await pair.tree() == {}


async def test_both_making_one_directory_make_the_same(pair: Pair) -> None:
    await pair.pa.mkdir("d")
    await pair.pb.mkdir("d")
    await pair.pa.write("d/a", b"a")
    await pair.pb.write("d/b", b"b")
    assert await pair.tree() == {"d": None, "d/a": b"a", "d/b": b"b"}


async def test_an_edit_beats_a_deletion_that_did_not_know_of_it(pair: Pair) -> None:
    await pair.pa.write("f", b"base")
    await pair.meet()
    await pair.pa.unlink("f")
    await pair.pb.append("f", b"+edit")
    assert await pair.tree() == {"f": b"base+edit"}


async def test_rm_r_works_on_a_directory_with_conflicts(pair: Pair) -> None:
    await pair.pa.mkdir("d")
    await pair.pa.write("d/f", b"base")
    await pair.meet()
    await pair.pa.write("d/f", b"aaa")
    await pair.pb.write("d/f", b"bbb")
    await pair.meet()
    names = await pair.pa.names("d")
    assert len(names) == 2
    for name in names:
        await pair.pa.unlink(f"d/{name}")
    await pair.pa.rmdir("d")
    assert await pair.tree() == {}


# ---- what a write is based on
async def test_a_write_based_on_a_version_that_was_replaced_elsewhere_makes_a_copy(pair: Pair) -> None:
    await pair.pa.write("f", b"base")
    await pair.meet()
    stale = (await pair.pa.stat("f")).version
    await pair.pb.write("f", b"theirs")
    await pair.meet()
    handle = await pair.pa.open("f", write=True)
    await pair.pa.commit(handle, b"ours", base=stale, release=True)
    tree = await pair.tree()
    assert tree["f"] == b"ours"
    assert sorted(v or b"" for v in tree.values()) == [b"ours", b"theirs"]


async def test_a_write_based_on_a_version_that_this_device_replaced_is_no_conflict(pair: Pair) -> None:
    await pair.pa.write("f", b"base")
    stale = (await pair.pa.stat("f")).version
    await pair.pa.write("f", b"second")
    handle = await pair.pa.open("f", write=True)
    await pair.pa.commit(handle, b"third", base=stale, release=True)
    assert await pair.tree() == {"f": b"third"}


async def test_a_replacement_based_on_a_version_that_was_replaced_elsewhere_makes_a_copy(pair: Pair) -> None:
    await pair.pa.write("f", b"base")
    await pair.meet()
    stale = (await pair.pa.stat("f")).version
    await pair.pb.write("f", b"theirs")
    await pair.meet()
    await pair.pa.write("tmp", b"ours")
    await pair.pa.rename("tmp", "f", base=stale)
    tree = await pair.tree()
    assert sorted(v or b"" for v in tree.values()) == [b"ours", b"theirs"]


async def test_while_a_file_is_written_versions_from_elsewhere_do_not_touch_what_the_writer_sees(pair: Pair) -> None:
    await pair.pa.write("f", b"base" * 3000)
    await pair.meet()
    handle = await pair.pa.open("f", write=True)
    await pair.pa.fs.write(pair.pa.att, handle, 0, b"OURS")
    await pair.pb.write("f", b"theirs")
    await pair.meet()
    assert await pair.pa.read_handle(handle) == b"OURS" + (b"base" * 3000)[4:]
    assert await pair.pa.read("f") == b"theirs"
    await pair.pa.fs.write(pair.pa.att, handle, 4, b"MORE")
    await pair.pa.release(handle)
    tree = await pair.tree()
    assert sorted(v or b"" for v in tree.values()) == [b"OURSMORE" + (b"base" * 3000)[8:], b"theirs"]
    assert not pair.a.store.nodes.detached()


async def test_a_stale_writer_spares_what_was_made_here_of_the_newer_version(pair: Pair) -> None:
    await pair.pa.write("f", b"base")
    await pair.meet()
    stale = await pair.pa.open("f", write=True)
    await pair.pb.write("f", b"theirs")
    await pair.meet()
    await pair.pa.append("f", b" and ours")
    await pair.pa.commit(stale, b"stale", release=True)
    tree = await pair.tree()
    assert sorted(v or b"" for v in tree.values()) == [b"stale", b"theirs and ours"]


async def test_a_stale_writer_that_saves_twice_makes_one_copy(pair: Pair) -> None:
    await pair.pa.write("f", b"base")
    await pair.meet()
    stale = (await pair.pa.stat("f")).version
    await pair.pb.write("f", b"theirs")
    await pair.meet()
    for data in (b"once", b"twice"):
        handle = await pair.pa.open("f", write=True)
        await pair.pa.commit(handle, data, base=stale, release=True)
    tree = await pair.tree()
    assert sorted(v or b"" for v in tree.values()) == [b"theirs", b"twice"]


async def test_a_reader_keeps_the_version_it_opened(pair: Pair) -> None:
    await pair.pa.write("f", b"base" * 3000)
    await pair.meet()
    handle = await pair.pa.open("f")
    await pair.pb.write("f", b"theirs")
    await pair.meet()
    assert await pair.pa.read_handle(handle) == b"base" * 3000
    assert await pair.pa.read("f") == b"theirs"
    await pair.pa.release(handle)
    assert not pair.a.store.nodes.detached()


async def test_a_file_removed_elsewhere_while_it_is_written_here_is_back(pair: Pair) -> None:
    await pair.pa.write("f", b"base")
    await pair.meet()
    handle = await pair.pa.open("f", write=True)
    await pair.pb.unlink("f")
    await pair.meet()
    assert await pair.pa.tree() == {}
    await pair.pa.commit(handle, b"edit", release=True)
    assert await pair.tree() == {"f": b"edit"}


async def test_until_the_new_content_is_here_the_one_before_stays_and_a_write_to_it_is_a_conflict(pair: Pair) -> None:
    await pair.pa.write("f", b"base" * 3000)
    await pair.meet()
    await pair.pb.write("f", b"news" * 3000)
    await pair.b.fs.hasher.drain()
    pair.b.give_to(pair.a, content=False)
    assert await pair.pa.read("f") == b"base" * 3000
    shown = await pair.pa.stat("f")
    version = pair.a.volume.tree.version(shown.ino)
    assert version is not None
    assert shown.version == token(version.dot)
    await pair.pa.append("f", b"+")
    tree = await pair.tree()
    assert sorted(v or b"" for v in tree.values()) == [b"base" * 3000 + b"+", b"news" * 3000]


async def test_inside_git_a_name_with_a_hidden_copy_is_gone_when_it_is_deleted(pair: Pair) -> None:
    await pair.pa.mkdir(".git")
    await pair.pa.write(".git/a", b"aaa")
    await pair.pb.mkdir(".git")
    await pair.pb.write(".git/a", b"bbb")
    tree = await pair.tree()
    assert len(tree) == 2
    await pair.pa.unlink(".git/a")
    assert await pair.pa.tree() == {".git": None}
    assert await pair.tree() == {".git": None}


async def test_inside_git_a_hidden_copy_goes_with_the_name(pair: Pair) -> None:
    for program, content in ((pair.pa, b"aaa"), (pair.pb, b"bbb")):
        await program.mkdir(".git")
        await program.write(".git/a", content)
    await pair.meet()
    await pair.pa.rename(".git/a", ".git/b")
    assert await pair.pa.names(".git") == ["b"]
    tree = await pair.tree()
    assert list(tree) == [".git", ".git/b"]
    assert pair.a.fs.census().conflicts == 1


async def test_a_directory_and_a_file_of_one_name_can_both_be_removed(pair: Pair) -> None:
    await pair.pa.mkdir("x")
    await pair.pb.write("x", b"file")
    tree = await pair.tree()
    (copy,) = set(tree) - {"x"}
    assert tree == {"x": None, copy: b"file"}
    await pair.pa.rmdir("x")
    assert await pair.tree() == {copy: b"file"}
    await pair.pb.rename(copy, "x")
    assert await pair.tree() == {"x": b"file"}


ACTS: dict[str, Callable[[Program, str], Awaitable[object]]] = {
    "write": lambda program, copy: program.write(copy, b"mine"),
    "append": lambda program, copy: program.append(copy, b"mine"),
    "rename": lambda program, copy: program.rename(copy, "mine"),
    "rename beside": lambda program, copy: program.rename("f", "other"),
    "replace": lambda program, copy: program.rename(copy, "f"),
    "unlink": lambda program, copy: program.unlink(copy),
}


@pytest.mark.parametrize("act", ACTS)
async def test_a_copy_whose_removal_is_not_all_here_can_be_worked_with(pair: Pair, act: str) -> None:
    """The brake holds the rest of a removal, for example."""
    copy = await pair.conflict("f", b"aaa", b"bbb")
    known = {state.id for state in pair.b.states()}
    await pair.pa.unlink(copy)
    with pair.b.store.db.transaction():
        pair.b.volume.merge([state for state in pair.a.states() if state.id not in known])
    assert await pair.pb.tree() == {"f": b"bbb", copy: b"aaa"}
    await ACTS[act](pair.pb, copy)
    expected = {
        "write": {"f": b"bbb", copy: b"mine"},
        "append": {"f": b"bbb", copy: b"aaamine"},
        "rename": {"f": b"bbb", "mine": b"aaa"},
        "rename beside": {"other": b"bbb", copy: b"aaa"},
        "replace": {"f": b"aaa"},
        "unlink": {"f": b"bbb"},
    }[act]
    assert await pair.pb.tree() == expected
    pair.b.restart()
    pair.pb = pair.b.attach()
    assert await pair.pb.tree() == expected
    assert (await pair.tree()).items() >= {(name, data) for name, data in expected.items() if data != b"bbb"}
