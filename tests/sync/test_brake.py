# SPDX-License-Identifier: GPL-3.0-or-later
"""Many removals from elsewhere wait for a person's word, and nothing is lost meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holofsd.core.brake import BrakeLimit
from holofsd.core.document import Role
from holofsd.core.errors import BadArgument, RoleTooLow
from tests.sync.braking import MANY, QUEUE_SLICE, brake, fill, full, held, knows, names, remove_all
from tests.sync.devices import QUICK, devices, settled, share, until


async def test_many_removals_are_held_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        remove_all(ann, [*paths, "folder"])
        ann.write("other", b"changed")
        ann.write("new", b"new")
        await knows(bob, ann)
        assert bob.files()["other"] == b"changed"
        assert names(bob) == {*paths, "folder/", "other", "new"}
        report = brake(bob).report()
        assert (report.files, report.directories, report.devices) == (MANY, 1, ("ann",))
        assert len(brake(bob).paths()) == MANY + 1
        await until(lambda: ann.sync.copies() == 1, "bob says that it holds all records")


async def test_accepted_removals_happen(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob, 250)
        remove_all(ann, [*paths, "folder"])
        await knows(bob, ann)
        assert await brake(bob).accept() == 251
        await settled(ann, bob)
        assert names(bob) == {"other"}
        assert not brake(bob).holds


async def test_refused_removals_are_undone_everywhere(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob, 250)
        before = bob.files()
        remove_all(ann, [*paths, "folder"])
        await knows(bob, ann)
        assert await brake(bob).refuse() == 251
        assert bob.files() == before
        await settled(ann, bob)
        assert ann.files() == before
        assert not brake(ann).holds


async def test_what_went_before_the_limit_was_reached_comes_back_with_the_rest(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        before = bob.files()
        for first, last in ((0, 20), (20, 40), (40, MANY)):
            remove_all(ann, paths[first:last])
            await knows(bob, ann)
        assert len(names(bob)) == len(before) - 40
        assert held(bob) == 40
        await brake(bob).refuse()
        await settled(ann, bob)
        assert bob.files() == before


async def test_what_went_before_stays_away_where_something_else_has_its_path_now(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        ann.mkdir("album")
        ann.write("album/photo", b"a photograph")
        await knows(bob, ann)
        before = bob.files()
        remove_all(ann, [*paths[:20], "album/photo", "album"])
        await knows(bob, ann)
        remove_all(ann, paths[20:])
        await knows(bob, ann)
        assert held(bob) == MANY - 20
        ann.write(paths[0], b"made anew by ann")
        bob.write(paths[1], b"made anew by bob")
        ann.mkdir("album")
        ann.write("album/photo", b"another photograph")
        await knows(bob, ann)
        await brake(bob).refuse()
        await settled(ann, bob)
        anew = {paths[0]: b"made anew by ann", paths[1]: b"made anew by bob", "album/photo": b"another photograph"}
        assert bob.files() == ann.files() == {**before, **anew}


@pytest.mark.parametrize(("count", "removed"), [(MANY, 50), (400, 70)])
async def test_a_few_removals_or_a_small_share_of_the_volume_are_followed(
    tmp_path: Path, count: int, removed: int
) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob, count)
        remove_all(ann, paths[:removed])
        await settled(ann, bob)
        assert len(names(bob)) == count + 2 - removed
        assert not brake(bob).holds


async def test_a_limit_of_ones_own_holds_and_off_lets_everything_happen(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        brake(bob).set_limit(BrakeLimit(files=2, percent=0))
        remove_all(ann, paths[:3])
        await knows(bob, ann)
        assert held(bob) == 3
        await brake(bob).accept()
        brake(bob).set_limit(BrakeLimit(off=True))
        remove_all(ann, [*paths[3:], "folder"])
        await settled(ann, bob)
        assert names(bob) == {"other"}
        with pytest.raises(BadArgument):
            brake(bob).set_limit(BrakeLimit(percent=101))


async def test_a_restart_keeps_the_hold_and_the_limit(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        brake(bob).set_limit(BrakeLimit(files=10, percent=1))
        remove_all(ann, paths)
        await knows(bob, ann)
        await bob.restart()
        assert brake(bob).limit == BrakeLimit(files=10, percent=1)
        assert held(bob) == MANY
        ann.remove("other")
        await knows(bob, ann)
        assert held(bob) == MANY + 1
        assert names(bob) >= {*paths, "other"}


async def test_a_verdict_is_carried_out_after_a_restart(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        before = bob.files()
        remove_all(ann, paths)
        await knows(bob, ann)
        authors = b"".join(bob.store.removals.authors())
        with bob.store.db.transaction():  # as if killed between the word and the deed
            bob.store.set_meta("brake-verdict", b"refuse" + authors)
        await bob.restart()
        await settled(ann, bob)
        assert ann.files() == before


async def test_a_newcomer_holds_nothing_of_what_went_before_it_came(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", config=replace(QUICK, merge_slice=40)) as (ann, bob, cid):
        await share(ann, bob)
        brake(ann).set_limit(BrakeLimit(off=True))
        paths = fill(ann, "folder", 300)
        await settled(ann, bob)
        remove_all(bob, paths)
        await settled(ann, bob)
        await share(ann, cid)
        await settled(ann, bob, cid)
        assert names(cid) == {"folder/"}
        assert not brake(cid).holds


async def test_who_was_away_holds_only_what_it_had(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", config=replace(QUICK, merge_slice=QUEUE_SLICE)) as (
        ann,
        bob,
        cid,
    ):
        await share(ann, bob, cid)
        brake(ann).set_limit(BrakeLimit(off=True))
        old = fill(ann, "old")
        await settled(ann, bob, cid)
        await until(lambda: not brake(cid).catching_up, "all is heard")
        await cid.down()
        young = fill(ann, "young", 300)
        await settled(ann, bob)
        remove_all(bob, [*young, *old])
        await settled(ann, bob)
        await cid.up()
        await until(lambda: cid.heads() == ann.heads() and cid.is_settled(), "all records")
        assert names(cid) <= {"old/", "young/", *old}
        assert len(old) - 50 <= held(cid) <= len(old)  # what came before the limit was reached was followed
        await brake(cid).refuse()
        await settled(ann, bob, cid)
        assert names(ann) == {"old/", "young/", *old}


async def test_two_devices_decide_differently_and_nothing_is_lost(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        paths = fill(ann, "folder")
        await settled(ann, bob, cid)
        await until(lambda: not brake(bob).catching_up and not brake(cid).catching_up, "all is heard")
        before = bob.files()
        remove_all(ann, [*paths, "folder"])
        await knows(bob, ann)
        await knows(cid, ann)
        await brake(bob).accept()
        await brake(cid).refuse()
        await settled(ann, bob, cid)
        assert ann.files() == before


async def test_a_reader_can_hold_and_accept_but_not_refuse(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob, role=Role.READER)
        paths = fill(ann, "folder")
        await settled(ann, bob)
        await until(lambda: not brake(bob).catching_up, "all is heard")
        remove_all(ann, paths)
        await until(lambda: held(bob) == MANY)
        with pytest.raises(RoleTooLow):
            await brake(bob).refuse()
        await brake(bob).accept()
        await settled(ann, bob)
        assert names(bob) == {"folder/"}


async def test_only_what_a_person_would_miss_is_held(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        photos, modules = fill(ann, "photos"), fill(ann, "node_modules")
        await settled(ann, bob)
        await until(lambda: not brake(bob).catching_up, "all is heard")
        remove_all(ann, [*modules, "node_modules"])
        await settled(ann, bob)
        assert names(bob) == {*photos, "photos/"}
        modules = fill(ann, "node_modules")
        await settled(ann, bob)
        await ann.down()  # both at once
        await ann.up()
        with ann.store.db.transaction():
            remove_all(ann, [*modules, "node_modules", *photos, "photos"])
        await knows(bob, ann)
        assert names(bob) == {*photos, "photos/"}
        assert held(bob) == MANY + 1
        await brake(bob).refuse()
        await settled(ann, bob)
        assert names(ann) == {*photos, "photos/"}


async def test_folders_to_skip_are_a_setting(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        for wrong in (b"", b"a/b", b"a\0b"):
            with pytest.raises(BadArgument):
                brake(bob).set_skip([wrong])
        brake(bob).set_skip([b"renders", b"folder"])
        await bob.restart()
        assert brake(bob).skip == (b"renders", b"folder")
        remove_all(ann, [*paths, "folder"])
        await settled(ann, bob)
        assert names(bob) == {"other"}


async def test_refusing_brings_back_what_stood_with_the_held_files_alone(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        for number in range(10):
            ann.write(f"scratch {number}", b"for a moment")
            await knows(bob, ann)
            ann.remove(f"scratch {number}")
            await knows(bob, ann)
        ann.write("folder/x.tmp", b"a leftover")
        await knows(bob, ann)
        before = {path: data for path, data in bob.files().items() if path != "folder/x.tmp"}
        remove_all(ann, ["folder/x.tmp", *paths[:40]])
        await knows(bob, ann)
        remove_all(ann, [*paths[40:], "folder"])
        await knows(bob, ann)
        assert held(bob) == MANY - 40 + 1
        await brake(bob).refuse()
        await settled(ann, bob)
        assert bob.files() == ann.files() == before
