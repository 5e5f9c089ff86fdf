# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices that share a volume come to hold the same, however they meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from holofsd.sync import outgoing
from tests.sync.devices import devices, settled, share, until


async def test_what_one_device_writes_is_on_the_other(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.mkdir("docs")
        ann.write("docs/small", b"hello")
        ann.write("docs/large", b"x" * 1_000_000)
        await until(lambda: bob.files().get("docs/large"))
        await settled(ann, bob)
        assert bob.files() == {"docs/": b"", "docs/small": b"hello", "docs/large": b"x" * 1_000_000}


async def test_both_write_and_edit_each_others_files(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("a", b"by ann")
        await settled(ann, bob)
        bob.write("a", b"edited by bob")
        bob.write("b", b"by bob")
        await until(lambda: ann.files() == {"a": b"edited by bob", "b": b"by bob"})
        ann.remove("b")
        await until(lambda: bob.files() == {"a": b"edited by bob"})
        await settled(ann, bob)


async def test_what_was_written_before_the_others_came_reaches_them(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        ann.create()
        for number in range(700):
            ann.write(f"file{number}", b"%d" % number)
        await share(ann, bob)
        await settled(ann, bob)
        assert len(bob.files()) == 700


async def test_two_that_wrote_apart_agree_when_they_meet(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("both", b"first")
        await settled(ann, bob)
        ann.network.partition(ann.id, bob.id)
        ann.write("both", b"ann apart")
        bob.write("both", b"bob apart")
        ann.write("only ann", b"1")
        bob.write("only bob", b"2")
        await until(lambda: ann.store.outbox.count() == 0 and bob.store.outbox.count() == 0)
        ann.network.heal(ann.id, bob.id)
        await settled(ann, bob)
        files = ann.files()
        assert {"only ann", "only bob", "both"} <= files.keys()
        assert sorted(content or b"" for path, content in files.items() if path.startswith("both")) == [
            b"ann apart",
            b"bob apart",
        ]


async def test_records_and_content_pass_through_a_third_device_while_their_author_is_away(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        await settled(ann, bob, cid)
        ann.network.partition(ann.id, cid.id)
        ann.write("small", b"relayed")
        ann.write("large", b"r" * 300_000)
        await until(lambda: bob.files().get("large"))
        await ann.down()
        await until(lambda: cid.files() == {"small": b"relayed", "large": b"r" * 300_000})


async def test_a_restart_forgets_nothing_and_says_nothing_twice(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("before", b"1")
        await settled(ann, bob)
        author = ann.volume.author
        await bob.down()
        ann.write("while away", b"2")
        await ann.restart()
        await bob.up()
        await settled(ann, bob)
        assert ann.volume.author == author
        assert bob.files() == {"before": b"1", "while away": b"2"}


async def test_nothing_is_published_before_somebody_has_told_what_others_have(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        await bob.down()
        await ann.restart()
        seq = ann.store.documents.head(ann.volume.author)
        ann.write("alone", b"held back")
        await until(lambda: ann.sync.status().unpublished == 1)
        assert ann.store.documents.head(ann.volume.author) == seq
        await bob.up()
        await settled(ann, bob)
        assert bob.files() == {"alone": b"held back"}


async def test_what_was_made_and_removed_before_it_was_published_never_leaves(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        node = ann.write("temporary", b"secret draft")
        ann.remove("temporary")
        ann.write("kept", b"final")
        await until(lambda: "kept" in bob.files())
        await settled(ann, bob)
        assert not bob.store.documents.is_known(node)
        assert not ann.store.documents.is_known(node)


async def test_a_file_that_changes_often_is_published_once_in_a_while(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        before = ann.store.documents.head(ann.volume.author)
        assert before is not None
        for number in range(100):
            ann.write("log", b"line %d" % number)
        await settled(ann, bob)
        after = ann.store.documents.head(ann.volume.author)
        assert after is not None
        assert after.seq - before.seq <= 10
        assert bob.files() == {"log": b"line 99"}


async def test_connections_that_come_and_go_twice_and_in_pieces_do_no_harm(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        weather = ann.network.weather
        weather.delay, weather.ghost, weather.cut, weather.loss_of_connection = (0.0, 0.01), 0.3, 0.2, 0.02
        for number in range(60):
            for device in (ann, bob, cid):
                device.write(f"{device.name}{number % 20}", b"%d" % number)
            if number % 20 == 7:
                ann.network.drop_connections(bob.id)
            await until(lambda: True)
        weather.loss_of_connection = weather.ghost = 0.0
        await settled(ann, bob, cid)
        assert len(ann.files()) == 60


async def test_removing_a_folder_against_a_new_file_in_it_brings_the_folder_back_for_everyone(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.mkdir("folder")
        await settled(ann, bob)
        ann.network.partition(ann.id, bob.id)
        ann.remove("folder")
        bob.write("folder/new", b"still here")
        ann.network.heal(ann.id, bob.id)
        await settled(ann, bob)
        assert ann.files() == {"folder/": b"", "folder/new": b"still here"}
        await until(lambda: not ann.store.nodes.revived(1) and not bob.store.nodes.revived(1))


async def test_records_that_fill_their_last_page_to_the_brim_are_followed_by_their_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "PAGE_BYTES", 1)  # every page is full with one record
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        ann.create()
        for number in range(20):
            ann.write(f"file{number}", b"%d" % number)
        await share(ann, bob)
        await settled(ann, bob)
        assert len(bob.files()) == 20
