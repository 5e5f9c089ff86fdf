# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits, renames, new files and removals made here, beside removals that are held: each has its effect."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from holofsd.core import edit
from holofsd.core.brake import BrakeLimit
from holofsd.core.node import live_links
from holofsd.core.state import Place
from tests.sync.braking import MANY, brake, fill, full, held, knows, names, remove_all
from tests.sync.devices import QUICK, devices, settled, share, until


async def test_an_edit_of_a_held_file_beats_its_removal(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        remove_all(ann, [*paths, "folder"])
        await knows(bob, ann)
        bob.write(paths[0], b"still needed")
        await knows(ann, bob)
        assert ann.files()[paths[0]] == b"still needed"
        await brake(bob).accept()
        await settled(ann, bob)
        assert bob.files() == {"folder/": b"", paths[0]: b"still needed", "other": b"stays"}


async def test_what_only_a_held_removal_said_is_said_again_when_it_is_joined(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        remove_all(ann, paths)
        await knows(bob, ann)
        ann.network.partition(ann.id, bob.id)
        node = bob.write(paths[0], b"still needed")
        await until(lambda: bob.store.outbox.count() == 0, "the edit to have a number")
        with bob.store.db.transaction():  # as when its author dropped it, because every device had heard of it
            for envelope in bob.store.documents.about(node):
                if envelope.author == ann.volume.author:
                    bob.store.documents.drop(envelope.author, envelope.key, envelope.seq)
        before = bob.heads()[bob.volume.author][0]
        await brake(bob).accept()
        await until(lambda: bob.store.outbox.count() == 0 and bob.heads()[bob.volume.author][0] > before, "a record")
        said = bob.sync.merger.told.state(node)
        assert said is not None
        assert said.removed == bob.volume.tree.state(node).removed  # type: ignore[union-attr]
        assert bob.files()[paths[0]] == b"still needed"


async def test_an_edit_elsewhere_lets_go_of_a_held_file(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        paths = fill(ann, "folder")
        await settled(ann, bob, cid)
        await until(lambda: not brake(bob).catching_up and not brake(cid).catching_up, "all is heard")
        ann.network.partition(ann.id, cid.id)
        ann.network.partition(bob.id, cid.id)
        cid.write(paths[0], b"edited far away")
        remove_all(ann, paths)
        await knows(bob, ann)
        assert held(bob) == MANY
        ann.network.heal(ann.id, cid.id)
        ann.network.heal(bob.id, cid.id)
        await until(lambda: bob.files()[paths[0]] == b"edited far away")
        await until(lambda: held(bob) == MANY - 1, "the edited file is not held any more")
        await until(lambda: held(cid) == MANY - 1, "the others are held there too")


async def test_what_only_a_held_removal_said_is_said_again_when_it_is_let_go(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        paths = fill(ann, "folder")
        await settled(ann, bob, cid)
        await until(lambda: not brake(bob).catching_up and not brake(cid).catching_up, "all is heard")
        cid.network.partition(ann.id, cid.id)
        cid.network.partition(bob.id, cid.id)
        node = cid.write(paths[0], b"still needed")
        await until(lambda: not cid.store.outbox.count(), "the edit to have a number")
        remove_all(ann, paths)
        await knows(bob, ann)
        assert held(bob) == MANY
        ann.network.partition(ann.id, bob.id)
        edit_of_cid = cid.store.documents.envelope(cid.volume.author, node)
        head_of_cid = cid.store.documents.head(cid.volume.author)
        assert edit_of_cid is not None
        assert head_of_cid is not None
        with bob.store.db.transaction():
            for envelope in bob.store.documents.about(node):  # as when its author dropped it: every device had heard
                if envelope.author == ann.volume.author:
                    bob.store.documents.drop(envelope.author, envelope.key, envelope.seq)
            bob.store.documents.set_head(head_of_cid)
            bob.sync.merger.merge([edit_of_cid])
        assert held(bob) == MANY - 1
        await until(lambda: bob.sync.merger.told.state(node) is not None and not bob.store.outbox.count(), "a record")
        told, known = bob.sync.merger.told.state(node), bob.volume.tree.state(node)
        assert told is not None
        assert known is not None
        assert known.removed.context, "the removal was joined"
        assert told.removed == known.removed


async def test_removals_made_here_are_never_held(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        remove_all(ann, [*paths, "folder"])
        assert names(ann) == {"other"}
        await knows(bob, ann)
        assert not brake(ann).holds


async def test_a_held_file_removed_here_too_is_gone(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        remove_all(ann, paths)
        await knows(bob, ann)
        remove_all(bob, paths)
        assert held(bob) == 0
        await brake(bob).accept()
        await settled(ann, bob)
        assert names(bob) == {"folder/", "other"}


async def test_renames_and_replacements_are_no_removals(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        await ann.down()  # nothing is published between a removal and what takes its place
        await ann.up()
        with ann.store.db.transaction():
            target = ann.volume.tree.lookup(*ann._place("folder"))
            assert target is not None
            for number, path in enumerate(paths):
                if number % 2:
                    entry = ann.volume.tree.lookup(*ann._place(path))
                    state = ann.volume.tree.state(entry.node) if entry else None
                    assert state is not None
                    link = next(iter(live_links(state)))
                    place = Place(target.node, b"moved%d" % number)
                    ann.volume.write([edit.moved(state, link, place, ann.volume.stamp())])
                else:
                    ann.remove(path)
                    ann.write(path, b"another file")
        await settled(ann, bob)
        assert names(bob) == names(ann)
        assert not brake(bob).holds


async def test_a_name_taken_by_a_new_file_lets_go_of_the_old_one(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        remove_all(ann, paths)
        await knows(bob, ann)
        ann.write(paths[0], b"a new file of the same name")
        await knows(bob, ann)
        assert bob.files()[paths[0]] == b"a new file of the same name"
        assert names(bob) == {*paths, "folder/", "other"}
        assert held(bob) == MANY - 1


async def test_hard_links_and_conflict_copies_survive_a_refusal(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        with ann.store.db.transaction():
            entry = ann.volume.tree.lookup(*ann._place(paths[0]))
            assert entry is not None
            state = ann.volume.tree.state(entry.node)
            assert state is not None
            place = Place(entry.parent, b"second name")
            ann.volume.write([edit.with_link(state, edit.link_id(state.id, b"2"), place, ann.volume.stamp())])
        await settled(ann, bob)
        ann.network.partition(ann.id, bob.id)
        ann.write(paths[1], b"ann's")
        bob.write(paths[1], b"bob's")
        ann.network.heal(ann.id, bob.id)
        await settled(ann, bob)
        before = bob.files()
        assert len(before) == MANY + 4
        remove_all(ann, paths)
        await knows(bob, ann)
        assert bob.files() == before
        await brake(bob).refuse()
        await settled(ann, bob)
        assert sorted(filter(None, ann.files().values())) == sorted(filter(None, before.values()))
        assert "folder/second name" in ann.files()


async def test_what_was_made_after_the_hold_began_comes_and_goes(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        remove_all(ann, [*paths, "folder"])
        await knows(bob, ann)
        young = fill(ann, "young")
        bob.write("made here", b"meanwhile")
        await knows(bob, ann)
        await knows(ann, bob)
        assert names(bob) >= {*paths, *young, "made here"}
        await bob.restart()
        remove_all(ann, [*young, "young", "made here"])
        await knows(bob, ann)
        assert names(bob) == {*paths, "folder/", "other"}
        assert held(bob) == MANY + 1
        ann.remove("other")  # was there before
        await knows(bob, ann)
        assert held(bob) == MANY + 2


async def test_files_that_never_stood_together_are_not_too_many(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await full(ann, bob, 2)
        for number in range(MANY):
            ann.write(f"lock {number}", b"mine")
            await until(lambda: f"lock {number}" in names(bob))  # noqa: B023
            ann.remove(f"lock {number}")
        await settled(ann, bob)
        assert not brake(bob).holds


async def test_the_hold_ends_when_everything_is_made_anew(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        paths = await full(ann, bob)
        remove_all(ann, [*paths, "folder"])
        await knows(bob, ann)
        ann.mkdir("folder")
        await knows(bob, ann)
        for path in paths[:-1]:
            ann.write(path, b"anew")
        ann.mkdir(paths[-1])
        await settled(ann, bob)
        assert not brake(bob).holds
        assert names(bob) == {*paths[:-1], paths[-1] + "/", "folder/", "other"}


async def test_the_hold_ends_when_what_replaces_is_heard_of_before_its_folder(tmp_path: Path) -> None:
    config = replace(QUICK, publish_records=1)
    async with devices(tmp_path, "ann", "bob", config=config) as (ann, bob):
        await share(ann, bob)
        paths = fill(ann, "folder", 3)
        ann.mkdir("folder/inner")
        ann.write("folder/inner/file", b"inside")
        await settled(ann, bob)
        await until(lambda: not brake(bob).catching_up, "all is heard")
        brake(bob).set_limit(BrakeLimit(files=1, percent=0))
        remove_all(ann, [*paths, "folder/inner/file", "folder/inner", "folder"])
        await knows(bob, ann)
        assert brake(bob).holds
        with ann.store.db.transaction():
            made = [ann.mkdir("folder"), ann.mkdir("folder/inner")]
            for path in (*paths, "folder/inner/file"):
                ann.write(path, b"anew")
            for node in made:
                state = ann.volume.tree.state(node)
                assert state is not None
                ann.store.outbox.remove(node)
                ann.volume.write([edit.with_mode(state, 0o700, ann.volume.stamp())])
        await settled(ann, bob)
        assert not brake(bob).holds
        assert names(bob) == {*paths, "folder/", "folder/inner/", "folder/inner/file"}
