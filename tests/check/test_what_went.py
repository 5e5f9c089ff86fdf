# SPDX-License-Identifier: GPL-3.0-or-later
"""A device whose records of removed files went, or whose former author was folded, is well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from holofsd.check.fsck import FileCheck, examine_copy
from holofsd.core.node import is_alive
from tests.sync.devices import QUICK, Device, devices, settled, share, until
from tests.sync.test_folding import is_gone
from tests.sync.test_forgetting import knows, purge

FORGETFUL = replace(QUICK, forget_interval=0.05)


def findings(*checked: Device) -> list[object]:
    found: list[object] = []
    for device in checked:
        volume = device.store.volume
        report = examine_copy(volume, device.directory(volume), device.id, files=FileCheck.SIZES)
        found += [(device.name, finding) for finding in report.findings.items()]
    return found


async def test_what_shrank_or_went_is_no_damage(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "new", config=FORGETFUL) as (ann, bob, new):
        await share(ann, bob)
        folder = ann.mkdir("folder")
        kept_here = ann.write("folder/in the trash of ann", b"1")
        let_go = ann.write("folder/let go", b"2")
        ann.write("stays", b"3")
        await settled(ann, bob)
        for name in ("folder/in the trash of ann", "folder/let go", "folder"):
            bob.remove(name)
        await settled(ann, bob)
        purge(bob, folder, kept_here, let_go)
        purge(ann, let_go)
        await until(lambda: knows(ann, let_go) == knows(bob, let_go) == 0)
        await ann.sync.forgetter.look()
        await bob.sync.forgetter.look()
        await settled(ann, bob)
        assert findings(ann, bob) == []
        await new.join(ann.ticket())
        await settled(ann, bob, new)
        assert findings(new) == []
        state = ann.volume.tree.state(kept_here)
        assert state is not None
        assert state.versions
        assert not is_alive(state)
        purge(ann, folder, kept_here)
        await until(lambda: not any(knows(d, n) for d in (ann, bob, new) for n in (folder, kept_here)))
        await settled(ann, bob, new)
        assert findings(ann, bob, new) == []


async def test_a_folded_author_is_no_damage(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=replace(FORGETFUL, fold_after=0.0)) as (ann, bob):
        await share(ann, bob)
        ann.mkdir("folder")
        ann.write("folder/file", b"1")
        await settled(ann, bob)
        former = ann.volume.author
        ann.sync.rotate_author()
        await until(lambda: is_gone(former, ann, bob))
        await settled(ann, bob)
        bob.write("folder/file", b"2")
        await settled(ann, bob)
        assert findings(ann, bob) == []


async def test_records_of_a_removed_device_that_are_to_be_had_again_are_no_damage(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        cid.write("file", b"by cid")
        await settled(ann, bob, cid)
        ann.sync.remove_member(cid.id)
        await until(lambda: bob.sync.members.was_removed(cid.id))
        with bob.store.db.transaction():  # as a device does that heard more than the removal names
            bob.store.documents.let_go_of(cid.volume.author)
        assert findings(bob) == []
        with bob.store.db.transaction():
            bob.store.documents.sweep()
        assert findings(bob) == []
        assert bob.files() == ann.files() == {"file": b"by cid"}
