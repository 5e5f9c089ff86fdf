# SPDX-License-Identifier: GPL-3.0-or-later
"""Replaced and removed files are kept, found, and brought back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holofsd.core.document import Head
from holofsd.core.edit import with_version
from holofsd.core.errors import BadArgument, ContentUnavailable, IsADirectory, NameExists, NoSuchName, ReadOnly
from holofsd.core.retention import DAY_S, HistoryPolicy
from holofsd.core.state import Pending
from holofsd.tree.past import PastVersion
from tests.fs.harness import Device, Program

LARGE = 100_000
BIG = b"0123456789" * 10_000


async def settle(device: Device) -> None:
    """Written, hashed, published: others may have seen it."""
    await device.settle()
    author, counter = device.volume.author, device.volume.store.active_author()
    assert counter is not None
    with device.store.db.transaction():
        device.store.documents.set_head(Head(author, 1, counter[2], bytes(32), b""))


async def save(program: Program, path: str, data: bytes) -> None:
    """A version that others may have seen, a minute apart from the next."""
    await program.write(path, data)
    await settle(program.device)
    program.device.clock.advance(60)


def history(device: Device, path: str) -> list[PastVersion]:
    return device.fs.history.restoring.history(path.encode())


async def restore(device: Device, path: str, **how: object) -> list[tuple[str, str]]:
    done = await device.fs.history.restoring.restore(path.encode(), **how)  # type: ignore[arg-type]
    return [(one.path.decode(), one.what) for one in done]


async def trash(device: Device, single: bool = False) -> list[tuple[str, int]]:
    return [(item.path.decode(), item.files) for item in await device.fs.history.trash.list(single=single)]


# ---- versions
async def test_each_replaced_version_is_kept(device: Device, program: Program) -> None:
    for number in range(3):
        await save(program, "a", b"%d" % number * LARGE)
    found = history(device, "a")
    assert [(past.version.size, bool(past.ended_ms), past.shown, past.here) for past in found] == [
        (LARGE, False, True, True),
        (LARGE, True, False, True),
        (LARGE, True, False, True),
    ]


async def test_a_creation_writes_no_history(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await program.write("d/a", b"x")
    await settle(device)
    assert device.store.db.number("SELECT count(*) FROM history") == 0
    assert device.store.db.number("SELECT count(*) FROM past_places") == 0


async def test_what_nobody_else_saw_leaves_no_trace_unless_it_stood_for_a_minute(
    device: Device, program: Program
) -> None:
    await program.write("a", b"one")
    await program.write("a", b"two")
    assert len(history(device, "a")) == 1
    device.clock.advance(61)
    await program.write("a", b"three")
    assert [past.version.size for past in history(device, "a")] == [5, 3]


async def test_a_file_that_stood_for_a_minute_goes_to_the_trash_though_it_was_never_published(
    device: Device, program: Program
) -> None:
    await program.write("a", b"offline")
    device.clock.advance(61)
    await program.unlink("a")
    assert await trash(device) == [("a", 1)]
    assert await restore(device, "a") == [("a", "restored")]
    assert await program.read("a") == b"offline"


async def test_a_version_saved_over_by_renaming_is_kept(device: Device, program: Program) -> None:
    await save(program, "a", b"first")
    await program.write("a.new", b"second")
    await program.rename("a.new", "a")
    assert [past.version.size for past in history(device, "a")] == [6, 5]
    assert await trash(device) == []


async def test_the_same_content_written_again_is_one_version(device: Device, program: Program) -> None:
    for data in (b"same", b"same", b"other"):
        await save(program, "a", data)
    assert [past.version.size for past in history(device, "a")] == [5, 4]


async def test_content_that_was_written_anew_unseen_is_not_lost(device: Device, program: Program) -> None:
    await save(program, "a", b"kept")
    await program.write("a", b"kept")
    await program.write("a", b"new")
    assert [past.version.size for past in history(device, "a")] == [3, 4]


async def test_versions_from_elsewhere_that_are_replaced_from_elsewhere_are_kept(
    make_device: Callable[..., Device],
) -> None:
    here, there = make_device("here"), make_device("there")
    theirs = there.attach("there")
    for data in (b"one", b"two"):
        await save(theirs, "a", data)
        there.give_to(here)
    assert [past.version.device_name for past in history(here, "a")] == ["there", "there"]
    assert await restore(here, "a") == [("a", "restored")]
    assert await here.attach().read("a") == b"one"


async def test_a_version_whose_bytes_are_elsewhere_says_so_and_is_fetched(make_device: Callable[..., Device]) -> None:
    here, there = make_device("here"), make_device("there")
    theirs = there.attach("there")
    first, second = b"1" * LARGE, b"2" * LARGE
    await save(theirs, "a", first)
    there.give_to(here, content=False)
    await save(theirs, "a", second)
    there.give_to(here)
    for (hash,) in here.store.db.all("SELECT hash FROM content"):
        data = here.store.content.path(hash).read_bytes()
        if data == first:
            here.elsewhere.blobs[hash] = data
            here.store.content.lost(hash)
            with here.store.db.transaction():
                here.store.db.run("DELETE FROM content WHERE hash=?", (hash,))
    assert [past.here for past in history(here, "a")] == [True, False]
    blobs, here.elsewhere.blobs = here.elsewhere.blobs, {}
    with pytest.raises(ContentUnavailable):
        await restore(here, "a")
    here.elsewhere.blobs = blobs
    assert await restore(here, "a") == [("a", "restored")]
    assert await here.attach().read("a") == first


# ---- bringing back
async def test_restoring_a_version_keeps_what_it_replaces(device: Device, program: Program) -> None:
    await save(program, "a", b"old")
    await save(program, "a", b"new one")
    old = history(device, "a")[-1]
    assert await restore(device, "a", version=old.id) == [("a", "restored")]
    assert await program.read("a") == b"old"
    assert [past.version.size for past in history(device, "a")] == [3, 7, 3]
    assert await restore(device, "a", version=old.id) == [("a", "same")]


async def test_restoring_to_another_path_makes_a_file_of_its_own(device: Device, program: Program) -> None:
    await save(program, "a", b"old" * LARGE)
    await save(program, "a", b"new")
    assert await restore(device, "a", to=b"found/a.old") == [("found/a.old", "restored")]
    assert await program.tree() == {"a": b"new", "found": None, "found/a.old": b"old" * LARGE}
    assert device.store.db.number("SELECT count(*) FROM content") == 1


async def test_a_file_is_restored_as_it_was_at_a_time(device: Device, program: Program) -> None:
    await save(program, "a", b"old")
    at_ms = device.fs.history.retention._scope.now_ms()
    device.clock.advance(10)
    await save(program, "a", b"new")
    assert await restore(device, "a", at_ms=at_ms) == [("a", "restored")]
    assert await program.read("a") == b"old"


async def test_a_folder_is_restored_as_it_was_at_a_time(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await program.mkdir("d/e")
    for name in ("d/changed", "d/e/removed", "d/moved"):
        await save(program, name, b"old")
    at_ms = device.fs.history.retention._scope.now_ms()
    device.clock.advance(10)
    await save(program, "d/changed", b"new")
    await program.unlink("d/e/removed")
    await program.rmdir("d/e")
    await program.rename("d/moved", "away")
    await save(program, "d/later", b"stays")
    await restore(device, "d", at_ms=at_ms)
    assert await program.tree() == {
        "away": b"old",
        "d": None,
        "d/changed": b"old",
        "d/e": None,
        "d/e/removed": b"old",
        "d/later": b"stays",
        "d/moved": b"old",
    }


async def test_what_cannot_be_restored_says_why(device: Device, program: Program) -> None:
    await program.mkdir("d")
    await program.write("a", b"x")
    for path, how, problem in (
        ("nothing", {}, NoSuchName),
        ("a", {}, NoSuchName),
        ("a", {"version": "none"}, NoSuchName),
        ("a", {"at_ms": 1}, NoSuchName),
        ("d", {}, BadArgument),
        ("", {}, BadArgument),
        ("a", {"to": b"d/.."}, BadArgument),
    ):
        with pytest.raises(problem):
            await restore(device, path, **how)  # type: ignore[arg-type]
    with pytest.raises(IsADirectory):
        history(device, "d")
    device.elsewhere.can_write = False
    with pytest.raises(ReadOnly):
        await restore(device, "a")


# ---- trash
async def test_an_earlier_file_of_the_name_is_in_its_history(device: Device, program: Program) -> None:
    await save(program, "a", b"first")
    await program.unlink("a")
    device.clock.advance(60)
    await save(program, "a", b"another")
    found = history(device, "a")
    assert [(past.version.size, past.shown) for past in found] == [(7, True), (5, False)]
    assert await restore(device, "a", version=found[1].id) == [("a", "restored")]
    assert await program.read("a") == b"first"
    assert [item.version.size for item in history(device, "a")][:2] == [5, 7]


async def test_a_removed_file_comes_back_with_its_attributes(device: Device, program: Program) -> None:
    await save(program, "a", b"kept")
    await program.chmod("a", 0o600)
    before = await program.stat("a")
    await settle(device)
    await program.unlink("a")
    assert await trash(device) == [("a", 1)]
    assert await restore(device, "a") == [("a", "restored")]
    after = await program.stat("a")
    assert (after.mode, after.mtime_ns, await program.read("a")) == (0o600, before.mtime_ns, b"kept")
    assert await trash(device) == []


async def test_a_removed_folder_comes_back_with_what_went_with_it(device: Device, program: Program) -> None:
    await program.mkdir("d", 0o700)
    await program.mkdir("d/e")
    for name in ("d/long-gone", "d/a", "d/e/b"):
        await save(program, name, name.encode())
    await program.unlink("d/long-gone")
    device.clock.advance(3600)
    for name in ("d/a", "d/e/b"):
        await program.unlink(name)
    await program.rmdir("d/e")
    await program.rmdir("d")
    assert await trash(device) == [("d", 3)]
    assert sorted(path for path, _ in await trash(device, single=True)) == [
        "d", "d/a", "d/e", "d/e/b", "d/long-gone",
    ]  # fmt: skip
    await restore(device, "d")
    assert await program.tree() == {"d": None, "d/a": b"d/a", "d/e": None, "d/e/b": b"d/e/b"}
    assert (await program.stat("d")).mode == 0o700
    assert await trash(device) == [("d/long-gone", 1)]


async def test_a_file_of_a_removed_folder_comes_back_alone(device: Device, program: Program) -> None:
    await program.mkdir("d")
    for name in ("d/a", "d/b"):
        await save(program, name, b"x")
        await program.unlink(name)
    await program.rmdir("d")
    assert await restore(device, "d/a") == [("d/a", "restored")]
    assert await program.tree() == {"d": None, "d/a": b"x"}


async def test_a_name_that_is_taken_is_not_overwritten_by_another_kind(device: Device, program: Program) -> None:
    await save(program, "a", b"x")
    await program.unlink("a")
    device.clock.advance(60)
    await program.mkdir("a")
    with pytest.raises(BadArgument):
        await restore(device, "a")
    before = device.fs.history.retention._scope.now_ms() - 90_000
    with pytest.raises(NameExists):
        await restore(device, "a", at_ms=before)
    assert await restore(device, "a", at_ms=before, to=b"b") == [("b", "restored")]
    assert await program.read("b") == b"x"


async def test_a_removed_symlink_comes_back(device: Device, program: Program) -> None:
    await program.symlink("target", "s")
    await settle(device)
    await program.unlink("s")
    assert await restore(device, "s") == [("s", "restored")]
    assert await program.tree() == {"s": b"-> target"}


async def test_what_was_removed_elsewhere_is_in_the_trash_here(make_device: Callable[..., Device]) -> None:
    here, there = make_device("here"), make_device("there")
    theirs = there.attach("there")
    await save(theirs, "a", b"x" * LARGE)
    there.give_to(here)
    await theirs.unlink("a")
    there.give_to(here)
    assert await trash(here) == [("a", 1)]
    newcomer = make_device("newcomer")
    here.give_to(newcomer)
    assert await trash(newcomer) == [("a", 1)]
    assert await restore(newcomer, "a") == [("a", "restored")]
    newcomer.give_to(there)
    assert await theirs.read("a") == b"x" * LARGE


async def test_an_emptied_trash_gives_nothing_back_here(device: Device, program: Program) -> None:
    for name in ("a", "b"):
        await save(program, name, b"x")
        await program.unlink(name)
    assert (await device.fs.history.trash.empty(b"a")).files == 1
    assert await trash(device) == [("b", 1)]
    with pytest.raises(NoSuchName):
        await restore(device, "a")


async def test_a_removed_file_comes_back_from_the_trash_though_its_name_is_used_again(
    device: Device, program: Program
) -> None:
    await save(program, "a", b"removed")
    await program.unlink("a")
    device.clock.advance(60)
    await save(program, "a", b"another")
    assert await restore(device, "a", from_trash=True) == [("a", "restored")]
    assert await program.read("a") == b"removed"
    assert await restore(device, "a") == [("a", "restored")]
    assert await program.read("a") == b"another"


# ---- policy
async def test_history_is_thinned_to_one_version_a_day_and_then_goes(device: Device, program: Program) -> None:
    retention = device.fs.history.retention
    device.clock.advance(DAY_S - (device.volume.now_ms() // 1000) % DAY_S)  # midnight
    for number in range(4):
        await save(program, "a", b"%d" % number)
    assert len(history(device, "a")) == 4
    retention.set_policy(HistoryPolicy(2 * DAY_S, 10 * DAY_S))
    await retention.tidy()
    assert len(history(device, "a")) == 4
    device.clock.advance(4 * DAY_S)
    await retention.tidy()
    assert [past.version.body.data for past in history(device, "a")] == [b"3", b"2"]  # type: ignore[union-attr]
    device.clock.advance(8 * DAY_S)
    await retention.tidy()
    assert len(history(device, "a")) == 1
    assert device.store.db.number("SELECT count(*) FROM past_places") == 0


async def test_trash_is_kept_as_long_as_the_policy_says(device: Device, program: Program) -> None:
    await save(program, "a", b"x")
    await program.unlink("a")
    device.clock.advance(364 * DAY_S)
    await device.fs.history.retention.tidy()
    assert await trash(device) == [("a", 1)]
    device.clock.advance(2 * DAY_S)
    await device.fs.history.retention.tidy()
    assert await trash(device) == []


def test_a_policy_that_contradicts_itself_is_refused(device: Device) -> None:
    for policy in (HistoryPolicy(10, 5), HistoryPolicy(-1, 5), HistoryPolicy(0, 10**12)):
        with pytest.raises(BadArgument):
            device.fs.history.retention.set_policy(policy)
    assert device.fs.history.retention.policy == HistoryPolicy()


async def test_nothing_is_counted_twice(device: Device, program: Program) -> None:
    await save(program, "a", b"x" * LARGE)
    await program.write("b", b"x" * LARGE)
    await save(program, "a", b"y")
    await save(program, "b", b"y")
    counts = device.fs.history.retention.counts()
    assert (counts.versions, counts.bytes) == (2, LARGE)


async def test_what_is_stored_while_it_is_restored_has_its_content(device: Device, program: Program) -> None:
    await program.write("f", BIG)
    restoring = device.fs.history.restoring
    shown = restoring.history(b"f")[0]
    plan = restoring.plan(b"f", version=shown.id, to=b"g")
    version = plan.items[0].entry.version if plan.items[0].entry is not None else None
    assert version is not None
    assert isinstance(version.body, Pending)
    await device.settle()
    await restoring.put(plan, plan.items[0])
    assert await program.read("g") == BIG
    await device.settle()
    assert not device.store.db.all("SELECT * FROM pending_bodies")


async def test_a_version_whose_content_nobody_needed_meanwhile_is_refused(device: Device, program: Program) -> None:
    await program.write("f", BIG)
    gone = device.volume.tree.version_of(device.node_at("f"))
    assert gone is not None
    assert isinstance(gone.body, Pending)
    await program.unlink("f")
    await program.write("g", BIG)
    await device.settle()
    state = device.volume.tree.state(device.node_at("g"))
    assert state is not None
    version = device.volume.new_version(gone.body, gone.size, 1)
    with pytest.raises(ContentUnavailable), device.store.db.transaction():
        device.volume.write([with_version(state, version, list(state.versions))])
    assert await program.read("g") == BIG
