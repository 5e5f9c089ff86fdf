# SPDX-License-Identifier: GPL-3.0-or-later
"""All that `history` and `trash list` show can be restored, byte for byte, after any program of operations on
two devices; what is not kept is not shown."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.core.errors import HoloError, IsADirectory, NoSuchName
from holofsd.core.retention import HistoryPolicy
from holofsd.core.state import Blob, Inline, Kind, Pending, Target, Version
from holofsd.fs.names.settling import Keep
from holofsd.tree.past import PastVersion
from tests.fs.harness import Device, Program
from tests.fs.test_conflicts import Pair
from tests.fs.test_history_budget import assert_counted_right
from tests.fs.test_restoring_folders import remove_all

PATHS = ("a", "b", "d", "d/a", "d/b", "e", "e/a", "d/e", "d/e/a")
BELOW_MOVED = ("a/a", "a/b", "b/a", "b/e", "b/e/a", "d/b/a", "e/b", "e/e/a")
KEEPS = (Keep("newest"), Keep("shown"), Keep("copy"), Keep("both"), Keep("device", "alpha"), Keep("device", "beta"))
ENDLESS = 1 << 62


def paths_of(device: Device) -> list[str]:
    """Every name that a file has or had, also through folders that had other names."""
    rows = device.store.db.all("SELECT parent, name FROM placements UNION SELECT parent, name FROM past_places")
    past = device.fs.history.past
    return sorted({*PATHS, *BELOW_MOVED, *(os.fsdecode(past.resting_path(row[0], row[1])) for row in rows)})


def bytes_of(device: Device, version: Version) -> bytes:
    body = version.body
    if isinstance(body, Inline):
        return body.data
    if isinstance(body, Target):
        return body.path
    if isinstance(body, Pending):
        return device.store.staging.path(body.staging).read_bytes()
    assert isinstance(body, Blob)
    return device.store.content.path(body.hash).read_bytes()


async def shown_bytes(program: Program, path: str) -> bytes:
    attr = await program.stat(path)
    if attr.kind is Kind.SYMLINK:
        return await program.fs.read_link(program.att, attr.ino)
    return await program.read(path)


class Doing:
    """Carries out one operation at a time, as numbers say; one that is refused changes nothing."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.count = 0

    async def do(self, what: int, where: int, which: int, other: int) -> None:
        program = (self.pair.pa, self.pair.pb)[where % 2]
        path, target = PATHS[which % len(PATHS)], PATHS[other % len(PATHS)]
        operations = (
            self.write, self.write, self.save, self.save, self.unlink, self.rename, self.rename, self.link,
            self.symlink,
            self.mkdir, self.remove_all, self.meet, self.meet, self.wait, self.resolve, self.resolve, self.restore,
            self.restore_trash, self.empty_trash, self.collect, self.purge, self.squeeze,
        )  # fmt: skip
        self.count += 1
        with suppress(HoloError):
            await operations[what % len(operations)](program, path, target)

    async def write(self, program: Program, path: str, target: str) -> None:
        size = 10_000 if len(target) % 2 else 10
        await program.write(path, b"%d %s" % (self.count, path.encode()) * size)

    async def save(self, program: Program, path: str, target: str) -> None:
        """Save as an editor does, with some time since the version before."""
        program.device.clock.advance(61)
        await program.write("saving", b"%d saved" % self.count)
        await program.rename("saving", path)

    async def unlink(self, program: Program, path: str, target: str) -> None:
        await program.unlink(path)

    async def rename(self, program: Program, path: str, target: str) -> None:
        await program.rename(path, target)

    async def link(self, program: Program, path: str, target: str) -> None:
        await program.link(path, target)

    async def symlink(self, program: Program, path: str, target: str) -> None:
        await program.symlink(f"to {self.count}", path)

    async def mkdir(self, program: Program, path: str, target: str) -> None:
        await program.mkdir(path)

    async def remove_all(self, program: Program, path: str, target: str) -> None:
        await remove_all(program, path)

    async def meet(self, program: Program, path: str, target: str) -> None:
        await self.pair.meet()

    async def wait(self, program: Program, path: str, target: str) -> None:
        program.device.clock.advance((1, 61, 3600)[len(target) % 3])

    async def resolve(self, program: Program, path: str, target: str) -> None:
        contested = await program.fs.alternatives.listing()
        if contested:
            chosen = contested[len(path) % len(contested)]
            await program.fs.settling.one(chosen.path, KEEPS[(len(target) + self.count) % len(KEEPS)])

    async def restore(self, program: Program, path: str, target: str) -> None:
        await program.fs.history.restoring.restore(path.encode())

    async def restore_trash(self, program: Program, path: str, target: str) -> None:
        items = await program.fs.history.trash.list(single=bool(len(target) % 2))
        if items:
            await program.fs.history.restoring.restore(items[len(path) % len(items)].path, from_trash=True)

    async def empty_trash(self, program: Program, path: str, target: str) -> None:
        await program.fs.history.trash.empty(path.encode())

    async def collect(self, program: Program, path: str, target: str) -> None:
        await program.fs.history.retention.collect(0)

    async def purge(self, program: Program, path: str, target: str) -> None:
        with program.device.store.db.transaction():
            program.device.store.history.purge_before(program.device.volume.now_ms() - 120_000, ENDLESS)

    async def squeeze(self, program: Program, path: str, target: str) -> None:
        retention = program.fs.history.retention
        retention.set_policy(HistoryPolicy(max_bytes=retention.sizes().all // 2))
        await retention.budget.enforce()


class Looking:
    def __init__(self, device: Device, program: Program) -> None:
        self.device = device
        self.program = program
        self.restoring = device.fs.history.restoring
        self.made = 0

    def out(self) -> str:
        self.made += 1
        return f"out/{self.made}"

    async def each_path(self) -> None:
        for path in paths_of(self.device):
            try:
                listed = self.restoring.history(os.fsencode(path))
            except IsADirectory:
                continue
            except NoSuchName:
                with pytest.raises(HoloError):
                    await self.restoring.restore(os.fsencode(path))
                continue
            assert len({past.version.dot for past in listed}) == len(listed)
            standing = [past.version.body for past in listed if not past.ended_ms]
            assert all(standing.count(body) == 1 for body in standing)
            await self.each_version(path, listed)
            await self.without_options(path, listed)

    async def each_version(self, path: str, listed: list[PastVersion]) -> None:
        for past in listed:
            if past.here:
                out, expected = self.out(), bytes_of(self.device, past.version)
                (done,) = await self.restoring.restore(os.fsencode(path), version=past.id, to=out.encode())
                assert (done.path, done.what) == (out.encode(), "restored")
                assert await shown_bytes(self.program, out) == expected

    async def without_options(self, path: str, listed: list[PastVersion]) -> None:
        folder = await self.is_folder(path)
        exists = not folder and await self.exists(path)
        present = await shown_bytes(self.program, path) if exists else None
        ended = [past for past in listed if past.ended_ms and not past.shown]
        if (present is not None and not ended) or not all(past.here for past in listed):
            return
        contents = [bytes_of(self.device, past.version) for past in listed]
        out = self.out()
        upcoming = self.restoring.taken_without_version(os.fsencode(path), listed)
        done = await self.restoring.restore(os.fsencode(path), to=out.encode())
        assert done[0].what == "restored"
        if await self.is_folder(out):
            return  # one was removed from there after the file
        found = await shown_bytes(self.program, out)
        assert found in contents
        assert upcoming is not None
        assert bytes_of(self.device, upcoming.version) == found
        assert found != present or all(content == present for content in contents)

    async def is_folder(self, path: str) -> bool:
        return await self.exists(path) and (await self.program.stat(path)).kind is Kind.DIRECTORY

    async def exists(self, path: str) -> bool:
        return await self.can_be_placed(path) and await self.program.exists(path)

    async def one_by_one(self) -> None:
        """Restore what is gone, one name after the other: of what was listed at another name, nothing vanishes."""
        known: dict[str, tuple[bytes | None, set[bytes]]] = {}
        for path in paths_of(self.device):
            if await self.can_be_placed(path) and not await self.exists(path):
                with suppress(IsADirectory, NoSuchName):
                    listed = self.restoring.history(os.fsencode(path))
                    if all(past.here for past in listed):
                        (first, *_rest) = self.restoring.plan(os.fsencode(path)).items
                        version = first.entry.version if first.entry is not None else None
                        expected = bytes_of(self.device, version) if version is not None else None
                        known[path] = expected, {bytes_of(self.device, past.version) for past in listed}
        for path, (expected, contents) in known.items():
            if not await self.can_be_placed(path) or await self.exists(path):
                continue  # it came with another one, or a file has the name of its folder
            listed = self.restoring.history(os.fsencode(path))
            assert contents <= {bytes_of(self.device, past.version) for past in listed}
            await self.restoring.restore(os.fsencode(path))
            if expected is not None:
                assert await shown_bytes(self.program, path) == expected

    async def in_place(self) -> None:
        """Restore with the id, at the name itself."""
        for path in paths_of(self.device):
            with suppress(IsADirectory, NoSuchName):
                for past in self.restoring.history(os.fsencode(path)):
                    if past.here and await self.can_be_placed(path) and not await self.is_folder(path):
                        expected = bytes_of(self.device, past.version)
                        await self.restoring.restore(os.fsencode(path), version=past.id)
                        assert await shown_bytes(self.program, path) == expected

    async def can_be_placed(self, path: str) -> bool:
        """No file has the name of a folder on the way to it."""
        folder = ""
        for name in path.split("/")[:-1]:
            folder = f"{folder}/{name}" if folder else name
            if await self.program.exists(folder) and (await self.program.stat(folder)).kind is not Kind.DIRECTORY:
                return False
        return True

    async def each_removed(self) -> None:
        for item in await self.device.fs.history.trash.list(single=True):
            if item.here:
                out = self.out()
                done = await self.restoring.restore(item.path, from_trash=True, to=out.encode())
                what = {one.path: one.what for one in done}
                # Of a folder that is there, what was removed from it; an empty one that was one with it is no loss.
                assert what.get(out.encode()) == "restored" or await self.is_folder(os.fsdecode(item.path))


STEPS = st.lists(st.tuples(st.integers(0, 21), st.integers(0, 1), st.integers(0, 8), st.integers(0, 8)), max_size=25)


@settings(deadline=None, max_examples=int(os.environ.get("HOLOFS_EXAMPLES", "40")))
@given(STEPS)
def test_whatever_is_listed_can_be_restored(steps: list[tuple[int, int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        a, b = Device(Path(folder) / "a", "alpha"), Device(Path(folder) / "b", "beta")
        pair = Pair(a, b, a.attach(), b.attach())
        try:
            asyncio.run(_run(pair, steps))
        finally:
            a.kill()
            b.kill()


async def _run(pair: Pair, steps: list[tuple[int, int, int, int]]) -> None:
    doing = Doing(pair)
    for path in ("d", "e", "d/e"):
        await pair.pa.mkdir(path)
    await pair.meet()
    for step in steps:
        await doing.do(*step)
    for program in (pair.pa, pair.pb):
        await program.device.settle()
        await program.fs.history.retention.collect(0)
        assert_counted_right(program.device)
        looking = Looking(program.device, program)
        await looking.each_path()
        await looking.each_removed()
        await looking.one_by_one()
        await looking.in_place()


def test_what_stood_at_a_path_before_something_of_which_nothing_is_kept(tmp_path: Path) -> None:
    """Two files are saved through one temporary name; of the second nothing is kept as it was there."""
    a, b = Device(tmp_path / "a", "alpha"), Device(tmp_path / "b", "beta")
    pair = Pair(a, b, a.attach(), b.attach())
    try:
        asyncio.run(_run(pair, [(2, 1, 0, 0), (2, 1, 1, 0), (0, 1, 1, 1)]))
    finally:
        a.kill()
        b.kill()


@pytest.mark.parametrize("how", ["newest", "shown", "copy"])
@pytest.mark.parametrize("made_by", ["one file changed twice", "two files of one name"])
def test_what_a_settled_conflict_replaced_comes_back_without_options(tmp_path: Path, how: str, made_by: str) -> None:
    async def run() -> None:
        a, b = Device(tmp_path / "a", "alpha"), Device(tmp_path / "b", "beta")
        pair = Pair(a, b, a.attach(), b.attach())
        if made_by == "one file changed twice":
            await pair.conflict("f", b"ours", b"theirs")
        else:
            await pair.pa.write("f", b"ours")
            b.clock.advance(1)
            await pair.pb.write("f", b"theirs")
            await pair.tree()
        for device in (a, b):
            await device.settle()
        await a.fs.settling.one(b"f", Keep(how))
        kept = await pair.pa.read("f")
        await a.fs.history.restoring.restore(b"f")
        assert {kept, await pair.pa.read("f")} == {b"ours", b"theirs"}
        a.kill()
        b.kill()

    asyncio.run(run())
