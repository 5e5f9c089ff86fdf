# SPDX-License-Identifier: GPL-3.0-or-later
"""History and trash keep within their budget, and make room on a full disk; nothing else goes for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holofsd.core.errors import NoSpace
from holofsd.core.ids import ROOT_INO, BlobHash
from holofsd.core.node import is_alive
from holofsd.core.retention import DAY_S, HistoryPolicy
from holofsd.core.state import Kind
from holofsd.fs.past.budget import InUse
from holofsd.fs.settings import FsSettings
from holofsd.fs.shared.scope import Scope
from holofsd.tree.facts import blobs_of
from support.full_pool import pool_full
from tests.fs.harness import Device, Program
from tests.fs.test_history import history, restore, save, settle, trash

SIZE = 10_000


def blob(number: int, size: int = SIZE) -> bytes:
    return b"%08d" % number * (size // 8)


async def save_for(program: Program, path: str, data: bytes, seconds: float) -> None:
    """A version that others may have seen and that stands for so long."""
    await program.write(path, data)
    await settle(program.device)
    program.device.clock.advance(seconds)


def kept(device: Device, path: str) -> list[int]:
    """The numbers of the replaced versions that `history` lists, newest first."""
    versions = [past.version for past in history(device, path) if past.ended_ms]
    return [int(device.store.content.path(blob).read_bytes()[:8]) for blob in (v.body.hash for v in versions)]  # type: ignore[union-attr]


def set_max(device: Device, size: int) -> None:
    device.fs.history.retention.set_policy(HistoryPolicy(max_bytes=size))


def files_on_disk(device: Device) -> int:
    return sum(path.stat().st_size for folder in device.store.content.folders() for path in folder.iterdir())


def assert_counted_right(device: Device) -> None:
    """The totals that triggers keep are those that counting everything gives."""
    db, store = device.store.db, device.store
    here: dict[bytes, int] = dict(db.all("SELECT hash, size FROM content"))
    rows = db.all("SELECT blob, size FROM history")
    inline = sum(size for blob, size in rows if blob is None)
    blobs = {blob for blob, _size in rows if blob is not None}
    in_trash: dict[bytes, set[bytes]] = {}
    trash_inline = 0
    for node, payload in store.history.gone_nodes(b"", 1 << 30):  # type: ignore[arg-type]
        state = device.volume.tree.state(node)
        assert state is not None
        assert payload
        if state.kind is not Kind.FILE or is_alive(state):
            continue
        for version in state.versions.values():
            found = blobs_of(version.body, version.size)
            in_trash.setdefault(node, set()).update(hash for hash, _size in found)
            trash_inline += 0 if found else version.size
    both = blobs.union(*in_trash.values())
    totals = store.past_sizes.totals()
    assert totals.versions == len(rows)
    assert totals.history == inline + sum(here.get(hash, 0) for hash in blobs)
    assert totals.all == inline + trash_inline + sum(here.get(hash, 0) for hash in both)
    named = dict(db.all("SELECT hash, history FROM past_content WHERE history>0"))
    assert set(named) == blobs


# ---- the budget
async def test_history_keeps_within_its_budget(device: Device, program: Program) -> None:
    for number in range(40):
        await save_for(program, "a", blob(number), 2 * DAY_S)
    set_max(device, 10 * SIZE)
    await device.fs.history.retention.budget.enforce()
    assert kept(device, "a") == [38, 37, 36, 35, 34, 33, 32, 31, 30]
    assert device.fs.history.retention.sizes().all <= 10 * SIZE
    assert files_on_disk(device) == 10 * SIZE, "nine versions, and the one that the file has"
    assert await program.read("a") == blob(39)
    assert_counted_right(device)


async def test_versions_that_stood_for_seconds_go_first(device: Device, program: Program) -> None:
    device.clock.advance(DAY_S - device.clock.now_ns() / 1e9 % DAY_S)  # the beginning of a day
    for number in range(3):
        await save_for(program, "a", blob(number), 3600)
    for number in range(3, 13):
        await save_for(program, "a", blob(number), 1)
    await save_for(program, "a", blob(13), 3600)
    await save_for(program, "a", blob(14), 0)
    set_max(device, 5 * SIZE)
    await device.fs.history.retention.budget.enforce()
    assert kept(device, "a") == [13, 12, 2, 1]


async def test_of_a_burst_the_last_one_stays(device: Device, program: Program) -> None:
    device.clock.advance(DAY_S - device.clock.now_ns() / 1e9 % DAY_S)
    for minute in range(3):
        for number in range(10):
            await save_for(program, "a", blob(minute * 10 + number), 2)
        device.clock.advance(40)
    await save_for(program, "a", blob(99), 0)
    set_max(device, 24 * SIZE)
    await device.fs.history.retention.budget.enforce()
    found = kept(device, "a")
    assert len(found) <= 24
    assert {29, 19, 9} <= set(found), "each was the last of its burst"


async def test_old_trash_goes_before_newer_versions_and_the_other_way_round(device: Device, program: Program) -> None:
    await save(program, "old", blob(1))
    await save(program, "new", blob(2))
    await program.unlink("old")
    device.clock.advance(7200)
    await save(program, "a", blob(3))
    device.clock.advance(7200)
    await save(program, "a", blob(4))
    device.clock.advance(7200)
    await program.unlink("new")
    set_max(device, int(2.2 * SIZE))
    await device.fs.history.retention.budget.enforce()
    assert (await trash(device), kept(device, "a")) == ([("new", 1)], [3])
    set_max(device, int(1.2 * SIZE))
    await device.fs.history.retention.budget.enforce()
    assert (await trash(device), kept(device, "a")) == ([("new", 1)], [])
    set_max(device, 0)
    await device.fs.history.retention.budget.enforce()
    assert await trash(device) == []
    assert await program.tree() == {"a": blob(4)}
    assert files_on_disk(device) == SIZE
    assert_counted_right(device)


async def test_a_restored_folder_names_what_had_to_make_room(device: Device, program: Program) -> None:
    await program.mkdir("d")
    for number, name in enumerate(("d/a", "d/b")):
        await save(program, name, blob(number))
    for name in ("d/a", "d/b"):
        await program.unlink(name)
        device.clock.advance(1)
    await program.rmdir("d")
    set_max(device, SIZE + SIZE // 2)
    await device.fs.history.retention.budget.enforce()
    # Also once nobody knows the file any more.
    node = device.store.db.one("SELECT node FROM let_go")
    assert node is not None
    with device.store.db.transaction():
        device.volume.tree.forget(node[0])
        device.store.history.forget_purged(node[0])
    assert await restore(device, "d") == [("d", "restored"), ("d/a", "missing"), ("d/b", "restored")]
    assert await program.tree() == {"d": None, "d/b": blob(1)}


async def test_content_that_is_shared_counts_once_and_stays_while_somebody_needs_it(
    device: Device, program: Program
) -> None:
    for name in ("a", "b", "c"):
        await save(program, name, blob(1))
    for name in ("a", "b"):
        await save(program, name, blob(2))
    assert device.fs.history.retention.sizes().all == SIZE
    await program.unlink("b")
    assert device.fs.history.retention.sizes().all == 2 * SIZE
    set_max(device, 0)
    await device.fs.history.retention.budget.enforce()
    assert device.fs.history.retention.sizes().all == 0
    assert await program.tree() == {"a": blob(2), "c": blob(1)}


async def test_content_that_is_not_here_counts_nothing(make_device: Callable[..., Device]) -> None:
    here, there = make_device("here"), make_device("there")
    theirs = there.attach("there")
    await save(theirs, "a", blob(1))
    await theirs.unlink("a")
    there.give_to(here, content=False)
    assert await trash(here) == [("a", 1)]
    assert here.fs.history.retention.sizes().all == 0
    there.give_to(here)
    assert here.fs.history.retention.sizes().trash == SIZE
    assert_counted_right(here)


async def test_what_a_program_reads_of_the_past_stays(device: Device, program: Program) -> None:
    for number in range(4):
        await save_for(program, "a", blob(number), 3600)
    day = device.fs.history.files.root(device.volume.now_ms() - 3 * 3_600_000 - 1000)
    then = await device.fs.lookup(program.att, day.ino, b"a")
    handle = device.new_handle()
    await device.fs.open(program.att, then.ino, handle, write=False, truncate=False, base=b"")
    before = await device.fs.read(program.att, handle, 0, SIZE)
    set_max(device, 0)
    device.fs.history._began -= 3600  # mounts of before the start came back long ago
    await device.fs.history.retention.budget.enforce()
    assert await device.fs.read(program.att, handle, 0, SIZE) == before
    assert len(kept(device, "a")) == 1, "only that one is left"
    device.restart()
    await device.fs.history.retention.budget.enforce()
    again = device.attach(handles=())
    assert device.fs.history.files.is_known(then.ino)
    found = await device.fs.fetch(again.att, then.ino, b"", 0, SIZE)
    assert found.size == len(before)


async def test_garbage_in_its_day_of_grace_stays(device: Device, program: Program) -> None:
    for number in range(3):
        await save(program, "a", blob(number))
    with device.store.db.transaction():
        device.store.history.purge_before(device.volume.now_ms() - 90_000, 1000)
    await device.fs.history.retention.collect()
    waiting = device.fs.history.retention.garbage()
    assert waiting == SIZE
    set_max(device, 0)
    await device.fs.history.retention.budget.enforce()
    assert device.fs.history.retention.garbage() == waiting
    assert files_on_disk(device) == 2 * SIZE


async def test_a_restore_that_is_under_way_gets_what_it_was_promised(
    device: Device, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    await program.mkdir("d")
    for number in range(5):
        await save(program, f"d/{number}", blob(number))
    for number in range(5):
        await program.unlink(f"d/{number}")
    await program.rmdir("d")
    set_max(device, 0)
    bring = device.fs._contents.bring

    async def squeezed(*arguments: object) -> None:
        await device.fs.history.retention.budget.enforce()
        await device.fs.history.retention.collect(0)
        await bring(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(device.fs._contents, "bring", squeezed)
    done = await device.fs.history.restoring.restore(b"d")
    assert {one.what for one in done} == {"restored"}
    assert await program.tree() == {"d": None} | {f"d/{number}": blob(number) for number in range(5)}


async def test_the_budget_is_counted_for_what_was_removed_before_anybody_counted(
    device: Device, program: Program
) -> None:
    for number, name in enumerate(("a", "b")):
        await save(program, name, blob(number))
        await program.unlink(name)
    with device.store.db.transaction():
        device.store.db.run("DELETE FROM trash_content")
    assert device.fs.history.retention.sizes().all == 0
    await device.fs.history.retention.budget.recount()
    assert device.fs.history.retention.sizes().trash == 2 * SIZE
    assert_counted_right(device)


@pytest.mark.parametrize("how", ["written over", "removed", "saved over"])
async def test_content_of_versions_that_left_no_trace_goes_first(device: Device, program: Program, how: str) -> None:
    """Versions that no device heard of and that stood for a moment: they are in no history, and their bytes are on the
    disk."""
    await save(program, "a", blob(1))
    await save(program, "a", blob(2))
    for number in range(10, 30):
        await program.write("b", blob(number))
        await device.fs.hasher.drain()
        if how == "removed":
            await program.unlink("b")
        elif how == "saved over":
            await program.rename("b", "c")
    set_max(device, 10 * SIZE)
    assert device.fs.history.retention.sizes().all == SIZE
    assert device.fs.history.retention.garbage() >= 18 * SIZE
    await device.fs.history.retention.budget.enforce()
    assert files_on_disk(device) == 2 * SIZE + (SIZE if how != "removed" else 0)
    assert kept(device, "a") == [1]
    assert device.fs.history.retention.garbage() == 0
    tree = await program.tree()
    assert tree == {"a": blob(2)} | ({} if how == "removed" else {{"saved over": "c"}.get(how, "b"): blob(29)})


# ---- a disk that is almost full
class Disk:
    """Disk as history sees its room: what is deleted comes back."""

    def __init__(self, device: Device, free: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.device = device
        self.left_before = free + files_on_disk(device)
        device.fs._scope._margin = SIZE
        monkeypatch.setattr(Scope, "free", lambda _scope, fresh=False: self.free())

    def free(self) -> int:
        return self.left_before - files_on_disk(self.device)


@pytest.fixture
def tight(make_device: Callable[..., Device]) -> Device:
    return make_device("tight", FsSettings(reserve_bytes=4 * SIZE))


async def test_history_goes_before_a_write_is_refused(tight: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tight.attach()
    for number in range(10):
        await save_for(program, "a", blob(number), 120)
    disk = Disk(tight, 3 * SIZE, monkeypatch)
    with pytest.raises(NoSpace):
        tight.fs._scope.require_space()
    assert tight.fs._scope.refused_since_ms
    await program.write("b", b"x" * 1000)
    assert disk.free() >= 5 * SIZE
    assert kept(tight, "a")[:2] == [8, 7], "no more goes than has to"
    assert (await program.tree()) == {"a": blob(9), "b": b"x" * 1000}
    tight.fs._scope.note_space()
    assert not tight.fs._scope.refused_since_ms


async def test_where_history_has_nothing_to_give_the_write_is_refused_and_nothing_else_goes(
    tight: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tight.attach()
    await save(program, "a", blob(1))
    await save(program, "b", b"small")
    await save(program, "b", b"small, too")
    Disk(tight, 3 * SIZE, monkeypatch)
    with pytest.raises(NoSpace):
        await program.write("c", b"x" * 1000)
    assert await program.tree() == {"a": blob(1), "b": b"small, too"}
    assert len(history(tight, "b")) == 2, "a version inside the index gives no room back"


async def test_room_is_made_for_the_copy_of_a_large_file_also_while_the_background_is_busy(
    tight: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tight.attach()
    for number in range(10):
        await save_for(program, "a", blob(number), 120)
    await save(program, "large", blob(77, 8 * SIZE))
    disk = Disk(tight, 5 * SIZE, monkeypatch)
    async with pool_full():
        handle = await program.open("large", write=True)
        await tight.fs.stage(program.att, handle, empty=False, base=b"")
    assert disk.free() >= 12 * SIZE
    await program.release(handle)
    assert (await tight.fs.lookup(program.att, ROOT_INO, b"large")).size == 8 * SIZE


# ---- in small steps, and not in vain
class Reading:
    """Rows that are read from the index by the task that shrinks the history, between two turns of the loop."""

    def __init__(self, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = self.all = self.turns = 0
        db = device.store.db
        everything, one, sleep = db.all, db.one, asyncio.sleep

        def all_counted(*arguments: Any) -> list[Any]:
            rows = everything(*arguments)
            self._count(len(rows))
            return rows

        def one_counted(*arguments: Any) -> Any:
            self._count(1)
            return one(*arguments)

        async def turn(seconds: float) -> None:
            self.now = 0
            self.turns += 1
            await sleep(seconds)

        monkeypatch.setattr(db, "all", all_counted)
        monkeypatch.setattr(db, "one", one_counted)
        monkeypatch.setattr(asyncio, "sleep", turn)

    def _count(self, rows: int) -> None:
        self.now += rows
        self.all += rows
        self.most = max(self.most, self.now)


async def test_letting_go_reads_few_rows_at_a_time(
    device: Device, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is written ten thousand times unseen leaves as many contents: the loop has its turn all the same."""
    await save(program, "a", blob(1))
    untraced = {BlobHash(number.to_bytes(32)): SIZE for number in range(1, 10_001)}
    with device.store.db.transaction():
        for hash, size in untraced.items():
            device.store.content.add(hash, size, 0)
    device.volume.tree.untraced.update(untraced)
    set_max(device, SIZE)
    reading = Reading(device, monkeypatch)
    await device.fs.history.retention.budget.enforce()
    assert device.store.db.number("SELECT count(*) FROM content") == 1
    assert reading.all > 10_000
    assert reading.most <= 500, reading.most


async def test_a_look_that_gains_nothing_is_not_had_again_at_once(
    device: Device, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        await save_for(program, "a", blob(number), 3600)
    retention, budget = device.fs.history.retention, device.fs.history.retention.budget
    monkeypatch.setattr(budget, "_in_use", lambda: InUse(whole={device.node_at("a")}))
    set_max(device, 2 * SIZE)
    await budget.enforce()
    reading = Reading(device, monkeypatch)
    for _ in range(20):
        await budget.enforce()
    assert reading.turns == 0, "all of it is in use still"
    await save_for(program, "a", blob(4), 3600)
    await budget.enforce()
    assert reading.turns > 0, "more has come"
    monkeypatch.setattr(budget, "_in_use", InUse)
    set_max(device, SIZE)
    await budget.enforce()
    assert retention.sizes().all <= SIZE, "the limit is another one"
