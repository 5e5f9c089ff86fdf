# SPDX-License-Identifier: GPL-3.0-or-later
"""Conflicts are settled as told, everywhere; settled both ways at once, nothing of either is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holofsd.core.errors import BadArgument, FileBusy, HoloError, IsADirectory, NoConflict, ReadOnly
from holofsd.fs.names.settling import Keep, Settled
from tests.fs.harness import Device
from tests.fs.test_conflicts import Pair
from tests.fs.test_history import settle as published

SHOWN, COPY, BOTH, NEWEST = Keep("shown"), Keep("copy"), Keep("both"), Keep("newest")


@pytest.fixture
def pair(make_device: Callable[..., Device]) -> Pair:
    a, b = make_device("alpha"), make_device("beta")
    return Pair(a, b, a.attach(), b.attach())


async def two_versions(pair: Pair, name: str = "f.txt") -> str:
    return await pair.conflict(name, b"alpha's", b"beta's" * 2000)


async def two_nodes(pair: Pair, name: str = "f.txt") -> str:
    """Both made a file of this name; that of beta has it."""
    await pair.pa.write(name, b"alpha's")
    pair.b.clock.advance(1)
    await pair.pb.write(name, b"beta's" * 2000)
    (copy,) = set(await pair.tree()) - {name}
    return copy


async def settle(device: Device, path: str, keep: Keep) -> Settled:
    return await device.fs.settling.one(path.encode(), keep)


async def conflicts(device: Device) -> list[bytes]:
    return [contested.path for contested in await device.fs.alternatives.listing()]


MAKE = pytest.mark.parametrize("make", [two_versions, two_nodes])
OURS, THEIRS = b"alpha's", b"beta's" * 2000


@MAKE
@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (SHOWN, THEIRS),
        (COPY, OURS),
        (NEWEST, THEIRS),
        (Keep("device", "alpha"), OURS),
        (Keep("device", "beta"), THEIRS),
    ],
)
@pytest.mark.parametrize("where", ["a", "b"])
async def test_what_is_kept_is_at_the_name_everywhere(
    pair: Pair, make: Callable[..., object], keep: Keep, left: bytes, where: str
) -> None:
    await make(pair)  # type: ignore[misc]
    done = await settle(getattr(pair, where), "f.txt", keep)
    assert done.kept is not None
    assert done.kept.size == len(left)
    assert [replaced.size for replaced in done.replaced] == [len(OURS) + len(THEIRS) - len(left)]
    assert await getattr(pair, f"p{where}").tree() == {"f.txt": left}
    assert await pair.tree() == {"f.txt": left}
    assert await conflicts(pair.a) == await conflicts(pair.b) == []
    assert pair.a.fs.census().conflicts == 0


@MAKE
async def test_keeping_both_makes_the_copy_a_file_like_any_other(pair: Pair, make: Callable[..., object]) -> None:
    copy = await make(pair)  # type: ignore[misc]
    done = await settle(pair.a, "f.txt", BOTH)
    assert done.kept is None
    assert done.files == (copy.encode(),)
    assert await pair.tree() == {"f.txt": THEIRS, copy: OURS}
    assert await conflicts(pair.a) == await conflicts(pair.b) == []
    # Each goes its own way.
    await pair.pb.write(copy, b"on its own")
    await pair.pb.unlink("f.txt")
    assert await pair.tree() == {copy: b"on its own"}


@MAKE
async def test_a_conflict_is_named_by_its_copy_as_well(pair: Pair, make: Callable[..., object]) -> None:
    copy = await make(pair)  # type: ignore[misc]
    assert (await settle(pair.b, copy, COPY)).path == b"f.txt"
    assert await pair.tree() == {"f.txt": OURS}


@MAKE
async def test_what_is_kept_stays_its_writers(pair: Pair, make: Callable[..., object]) -> None:
    await make(pair)  # type: ignore[misc]
    await settle(pair.b, "f.txt", COPY)
    version = pair.b.volume.tree.version_of(pair.b.node_at("f.txt"))
    assert version is not None
    assert version.device_name == "alpha"


@MAKE
async def test_one_of_many_is_chosen_by_its_id(pair: Pair, make: Callable[..., object]) -> None:
    await make(pair)  # type: ignore[misc]
    (contested,) = await pair.b.fs.alternatives.listing()
    await settle(pair.b, "f.txt", Keep("id", contested.choices[1].id))
    assert await pair.tree() == {"f.txt": OURS}


async def kept_sizes(device: Device) -> set[int]:
    """Sizes of what history and the trash have."""
    past = device.fs.history.restoring.history(b"f.txt")
    return {found.version.size for found in past} | {item.bytes for item in await device.fs.history.trash.list()}


@MAKE
@pytest.mark.parametrize("keep", [SHOWN, COPY])
async def test_what_was_not_chosen_can_be_brought_back_on_both(
    pair: Pair, make: Callable[..., object], keep: Keep
) -> None:
    await make(pair)  # type: ignore[misc]
    for device in (pair.a, pair.b):
        await published(device)
    await settle(pair.a, "f.txt", keep)
    assert len(await pair.tree()) == 1
    for device in (pair.a, pair.b):
        assert await kept_sizes(device) >= {len(OURS), len(THEIRS)}


@MAKE
@pytest.mark.parametrize(("ours", "theirs"), [(SHOWN, COPY), (COPY, SHOWN)])
async def test_settled_both_ways_at_once_both_contents_are_there(
    pair: Pair, make: Callable[..., object], ours: Keep, theirs: Keep
) -> None:
    await make(pair)  # type: ignore[misc]
    await settle(pair.a, "f.txt", ours)
    pair.b.clock.advance(5)
    await settle(pair.b, "f.txt", theirs)
    tree = await pair.tree()
    assert sorted(tree.values(), key=str) == sorted([OURS, THEIRS], key=str)
    assert tree["f.txt"] == (THEIRS if theirs is SHOWN else OURS), "the later choice is shown"
    assert await conflicts(pair.a) == await conflicts(pair.b) == [b"f.txt"]
    # And it can be settled again.
    await settle(pair.a, "f.txt", SHOWN)
    assert await pair.tree() == {"f.txt": tree["f.txt"]}


@MAKE
@pytest.mark.parametrize("keep", [SHOWN, COPY, BOTH])
async def test_settled_the_same_way_at_once_there_is_no_conflict(
    pair: Pair, make: Callable[..., object], keep: Keep
) -> None:
    copy = await make(pair)  # type: ignore[misc]
    await settle(pair.a, "f.txt", keep)
    await settle(pair.b, "f.txt", keep)
    left = {"f.txt": OURS if keep is COPY else THEIRS, **({copy: OURS} if keep is BOTH else {})}
    assert await pair.tree() == left
    assert await conflicts(pair.a) == await conflicts(pair.b) == []


@MAKE
@pytest.mark.parametrize("keep", [SHOWN, COPY])
@pytest.mark.parametrize("first", ["a", "b"])
async def test_keeping_both_beats_settling_at_the_same_time(
    pair: Pair, make: Callable[..., object], keep: Keep, first: str
) -> None:
    await make(pair)  # type: ignore[misc]
    one, other = (pair.a, pair.b) if first == "a" else (pair.b, pair.a)
    await settle(one, "f.txt", BOTH)
    other.clock.advance(5)
    await settle(other, "f.txt", keep)
    assert set((await pair.tree()).values()) == {OURS, THEIRS}


@MAKE
@pytest.mark.parametrize("keep", [SHOWN, COPY])
@pytest.mark.parametrize("which", ["name", "copy"])
async def test_an_edit_made_while_another_device_settles_is_kept(
    pair: Pair, make: Callable[..., object], keep: Keep, which: str
) -> None:
    copy = await make(pair)  # type: ignore[misc]
    await pair.pb.write("f.txt" if which == "name" else copy, b"edited")
    await settle(pair.a, "f.txt", keep)
    tree = await pair.tree()
    assert b"edited" in tree.values()
    assert (OURS if keep is COPY else THEIRS) in tree.values()


@pytest.mark.parametrize("size", [5, 10_000])
@pytest.mark.parametrize(("keep", "left"), [(SHOWN, b"b"), (COPY, b"a")])
async def test_what_is_hidden_inside_git_is_settled_too(pair: Pair, size: int, keep: Keep, left: bytes) -> None:
    await pair.pa.mkdir(".git")
    await pair.pa.write(".git/HEAD", b"base")
    await pair.meet()
    await pair.pa.write(".git/HEAD", b"a" * size)
    await pair.pa.write(".git/new", b"a" * size)
    pair.b.clock.advance(1)
    await pair.pb.write(".git/HEAD", b"b" * size)
    await pair.pb.write(".git/new", b"b" * size)
    assert sorted(await pair.tree()) == [".git", ".git/HEAD", ".git/new"]
    contested = await pair.a.fs.alternatives.listing()
    assert sorted(found.path for found in contested) == [b".git/HEAD", b".git/new"]
    assert all(found.choices[1].path == b"" for found in contested)
    async for done in pair.a.fs.settling.all_below(
        b".git", Keep("newest") if keep is SHOWN else Keep("device", "alpha")
    ):
        assert not done.problem
    assert await pair.tree() == {".git": None, ".git/HEAD": left * size, ".git/new": left * size}
    assert await conflicts(pair.a) == await conflicts(pair.b) == []


async def test_both_of_what_was_hidden_inside_git_are_files(pair: Pair) -> None:
    await pair.pa.mkdir(".git")
    await pair.meet()
    await pair.pa.write(".git/new", b"a")
    pair.b.clock.advance(1)
    await pair.pb.write(".git/new", b"b")
    await pair.meet()
    (name,) = (await settle(pair.a, ".git/new", BOTH)).files
    assert await pair.tree() == {".git": None, ".git/new": b"b", name.decode(): b"a"}


async def test_a_file_of_two_names_keeps_both(pair: Pair) -> None:
    await pair.pa.write("f", b"base")
    await pair.pa.link("f", "g")
    await pair.meet()
    await pair.pa.write("f", OURS)
    pair.b.clock.advance(1)
    await pair.pb.write("g", THEIRS)
    assert len(await pair.tree()) == 4
    await settle(pair.a, "f", COPY)
    assert await pair.tree() == {"f": OURS, "g": OURS}
    assert (await pair.pb.stat("f")).nlink == 2


async def test_all_conflicts_below_a_folder_are_settled_and_no_others(pair: Pair) -> None:
    await pair.pa.mkdir("d")
    await pair.meet()
    for name in ("d/1", "d/2", "e"):
        await pair.pa.write(name, OURS)
    pair.b.clock.advance(1)
    for name in ("d/1", "d/2", "e"):
        await pair.pb.write(name, THEIRS)
    await pair.meet()
    done = [settled async for settled in pair.b.fs.settling.all_below(b"d", NEWEST)]
    assert sorted(settled.path for settled in done) == [b"d/1", b"d/2"]
    await pair.meet()
    assert await conflicts(pair.a) == [b"e"]


async def test_three_contents_of_one_name_need_more_than_the_word_copy(
    pair: Pair, make_device: Callable[..., Device]
) -> None:
    c = make_device("gamma")
    pc = c.attach()
    await pair.pa.write("f", b"base")
    await pair.meet()
    pair.a.give_to(c)
    await pair.pa.write("f", b"a")
    await pair.pb.write("f", b"b")
    await pc.write("f", b"c")
    c.give_to(pair.a)
    await pair.meet()
    with pytest.raises(BadArgument):
        await settle(pair.a, "f", COPY)
    (contested,) = await pair.a.fs.alternatives.listing()
    _, one, _ = contested.choices
    done = await settle(pair.a, one.path.decode(), COPY)
    assert done.kept == one
    assert len(done.replaced) == 2
    tree = await pair.tree()
    assert list(tree) == ["f"]
    assert await conflicts(pair.b) == []


@pytest.mark.parametrize("keep", [SHOWN, COPY, BOTH])
async def test_three_files_of_one_name_of_which_two_are_the_same(
    pair: Pair, make_device: Callable[..., Device], keep: Keep
) -> None:
    c = make_device("gamma")
    pc = c.attach()
    await pair.pa.write("f", b"same")
    c.clock.advance(1)
    await pc.write("f", b"same")
    pair.b.clock.advance(2)
    await pair.pb.write("f", b"other")
    c.give_to(pair.a)
    await pair.meet()
    assert sorted((await pair.tree()).values(), key=str) == [b"other", b"same"]
    await settle(pair.a, "f", keep)
    left = {SHOWN: [b"other"], COPY: [b"same"], BOTH: [b"other", b"same"]}[keep]
    assert sorted((await pair.tree()).values(), key=str) == left
    assert await conflicts(pair.a) == await conflicts(pair.b) == []


@pytest.mark.parametrize("keep", [SHOWN, COPY, BOTH])
async def test_two_symlinks_of_one_name(pair: Pair, keep: Keep) -> None:
    await pair.pa.symlink("a", "s")
    pair.b.clock.advance(1)
    await pair.pb.symlink("b", "s")
    assert len(await pair.tree()) == 2
    await settle(pair.a, "s", keep)
    left = {SHOWN: {b"-> b"}, COPY: {b"-> a"}, BOTH: {b"-> a", b"-> b"}}[keep]
    assert set((await pair.tree()).values()) == left
    assert await conflicts(pair.b) == []


@pytest.mark.parametrize(("ours", "theirs"), [(SHOWN, COPY), (COPY, SHOWN), (SHOWN, BOTH), (BOTH, COPY)])
async def test_two_symlinks_settled_both_ways_are_both_there(pair: Pair, ours: Keep, theirs: Keep) -> None:
    await pair.pa.symlink("a", "s")
    pair.b.clock.advance(1)
    await pair.pb.symlink("b", "s")
    await pair.meet()
    await settle(pair.a, "s", ours)
    pair.b.clock.advance(5)
    await settle(pair.b, "s", theirs)
    assert set((await pair.tree()).values()) == {b"-> a", b"-> b"}


async def test_a_directory_never_goes_with_a_conflict(pair: Pair) -> None:
    await pair.pa.write("x", OURS)
    await pair.pb.mkdir("x")
    await pair.pb.write("x/in", b"it")
    await pair.meet()
    with pytest.raises(IsADirectory):
        await settle(pair.a, "x", COPY)
    copy = next(path for path in await pair.tree() if "(conflict " in path)
    await settle(pair.a, "x", BOTH)
    assert await pair.tree() == {"x": None, "x/in": b"it", copy: OURS}
    assert await conflicts(pair.b) == []


async def test_a_file_beside_a_directory_goes_if_the_directory_is_kept(pair: Pair) -> None:
    await pair.pa.write("x", OURS)
    await pair.pb.mkdir("x")
    await pair.pb.write("x/in", b"it")
    await pair.meet()
    await settle(pair.a, "x", SHOWN)
    assert await pair.tree() == {"x": None, "x/in": b"it"}


@MAKE
async def test_what_a_program_has_open_for_writing_does_not_go(pair: Pair, make: Callable[..., object]) -> None:
    copy = await make(pair)  # type: ignore[misc]
    for path, keep in ((copy, SHOWN), ("f.txt", COPY)):
        handle = await pair.pa.open(path, write=True)
        with pytest.raises(FileBusy):
            await settle(pair.a, "f.txt", keep)
        await pair.pa.release(handle)
    writer = await pair.pa.open("f.txt", write=True)
    await settle(pair.a, "f.txt", SHOWN)
    await pair.pa.commit(writer, b"and on")
    await pair.pa.release(writer)
    assert await pair.tree() == {"f.txt": b"and on"}


@MAKE
async def test_a_writer_of_the_copy_that_is_kept_writes_on(pair: Pair, make: Callable[..., object]) -> None:
    copy = await make(pair)  # type: ignore[misc]
    writer = await pair.pa.open(copy, write=True)
    await settle(pair.a, "f.txt", COPY)
    await pair.pa.commit(writer, b"and on")
    await pair.pa.release(writer)
    assert b"and on" in (await pair.tree()).values()


@MAKE
async def test_a_reader_goes_on_with_what_it_opened(pair: Pair, make: Callable[..., object]) -> None:
    copy = await make(pair)  # type: ignore[misc]
    shown, beside = await pair.pa.open("f.txt"), await pair.pa.open(copy)
    await settle(pair.a, "f.txt", COPY)
    assert await pair.pa.read_handle(shown) == THEIRS
    assert await pair.pa.read_handle(beside) == OURS
    await pair.pa.release(shown)
    await pair.pa.release(beside)
    assert await pair.pa.read("f.txt") == OURS


async def test_a_reader_of_the_volume_cannot_settle(pair: Pair) -> None:
    await two_versions(pair)
    pair.a.elsewhere.can_write = False
    with pytest.raises(ReadOnly):
        await settle(pair.a, "f.txt", SHOWN)
    (done,) = [settled async for settled in pair.a.fs.settling.all_below(b"", SHOWN)]
    assert done.problem


@pytest.mark.parametrize("path", ["plain", "nowhere", "d", "nowhere/f", ""])
async def test_where_there_is_nothing_to_choose_it_says_so(pair: Pair, path: str) -> None:
    await pair.pa.write("plain", b"1")
    await pair.pa.mkdir("d")
    with pytest.raises(HoloError) as refused:
        await settle(pair.a, path, SHOWN)
    assert refused.value.code in ("no-conflict", "no-such-name")


async def test_a_device_that_wrote_none_of_them_is_told_who_did(pair: Pair) -> None:
    await two_versions(pair)
    with pytest.raises(BadArgument) as refused:
        await settle(pair.a, "f.txt", Keep("device", "gamma"))
    assert "alpha, beta" in refused.value.message
    with pytest.raises(NoConflict):
        await settle(pair.a, "f.txt", Keep("id", "00"))
    with pytest.raises(BadArgument):
        await settle(pair.a, "f.txt", Keep("none"))


async def test_a_copy_whose_content_is_elsewhere_is_fetched_to_be_read(pair: Pair) -> None:
    await pair.pa.write("f", b"base")
    await pair.meet()
    await pair.pa.write("f", OURS * 2000)
    pair.b.clock.advance(1)
    await pair.pb.write("f", THEIRS)
    await pair.a.fs.hasher.drain()
    await pair.b.fs.hasher.drain()
    pair.a.give_to(pair.b, content=False)
    (contested,) = await pair.b.fs.alternatives.listing()
    shown, copy = contested.choices
    assert (shown.here, copy.here) == (True, False)
    with pytest.raises(HoloError):
        [piece async for piece in pair.b.fs.alternatives.read(b"f", copy.id)]
    for (hash,) in pair.a.store.db.all("SELECT hash FROM content"):
        pair.b.elsewhere.blobs[hash] = pair.a.store.content.path(hash).read_bytes()
    assert b"".join([piece async for piece in pair.b.fs.alternatives.read(b"f", copy.id)]) == OURS * 2000
    assert b"".join([piece async for piece in pair.b.fs.alternatives.read(b"f", shown.id)]) == THEIRS
