# SPDX-License-Identifier: GPL-3.0-or-later
"""Ignored files are no damage to fsck, and stay ignored where an index is restored from its backup."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from holofsd.check.fsck import FileCheck, examine
from holofsd.check.mending import backup_path, restored
from holofsd.core.ids import ROOT_ID
from holofsd.store.copies import copy_database
from tests.check.test_what_went import findings
from tests.sync.devices import QUICK, Device, devices, settled, share, until
from tests.sync.test_releasing import made

SLOW = replace(QUICK, rules_rest=60.0)


def ignored(device: Device) -> set[bytes | None]:
    return {device.volume.tree.path_of(node) for node in device.store.ignored.all()}


async def test_ignored_files_survive_a_restored_index_and_are_not_published_by_it(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=SLOW) as (ann, bob):
        await share(ann, bob)
        ann.write(".holofsignore", b"*.o\n")
        made(ann, ROOT_ID, "before.o", "published-later.o")
        await settled_but_for(2, ann, bob)
        assert findings(ann, bob) == []
        directory = ann.directory(ann.store.volume)
        backup_path(directory).parent.mkdir(exist_ok=True)
        copy_database(directory / "index.db", backup_path(directory))
        made(ann, ROOT_ID, "since.o")
        with ann.store.db.transaction():
            ann.volume.keeping_back._release(ann.store.ignored.all()[0])
        released = {b"before.o", b"published-later.o", b"since.o"} - ignored(ann)
        await until(lambda: len(bob.files()) == 2, "the released one to come")
        await ann.down()
        restored(ann.store.volume, directory)
        await ann.up()
        await until(lambda: ignored(ann) == {b"before.o", b"published-later.o", b"since.o"} - released)
        await until(lambda: ann.sync.copies() == 1)
        assert len(bob.files()) == 2
        assert {name.encode() for name in ann.files()} >= ignored(ann) | released
        assert findings(ann, bob) == []


async def settled_but_for(number: int, ann: Device, bob: Device) -> None:
    await until(lambda: ann.sync.copies() == 1 and len(ann.files()) == len(bob.files()) + number)


async def test_a_published_file_that_counts_as_ignored_is_put_right(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", config=SLOW) as (ann,):
        ann.create()
        node = ann.write("doc", b"x")
        await settled(ann)
        with ann.store.db.transaction():
            ann.store.ignored.add(node)
        volume, directory = ann.store.volume, ann.directory(ann.store.volume)
        await ann.down()
        report = examine(volume, directory, ann.id, repair=True, files=FileCheck.SIZES)
        assert [*report.findings] == ["ignored-published"]
        await ann.up()
        assert ann.store.ignored.all() == []
        assert findings(ann) == []
