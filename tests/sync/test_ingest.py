# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages: interrupted, taken up again, from somebody else, and never half shown."""

from __future__ import annotations

import os
from pathlib import Path

from holofsd.sync.outgoing import Outgoing
from tests.sync.devices import Device, devices, settled, share, until


def received_by(device: Device, author: Device) -> int:
    """Progress in what the author wrote and nothing counts of yet."""
    return max((received.seq for received in device.store.documents.incoming(author.volume.author)), default=0)


async def test_an_interrupted_run_goes_on_where_it_stopped_and_shows_nothing_before_its_head(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        ann.create()
        for number in range(600):
            ann.write(f"file{number}", os.urandom(4000))
        await until(lambda: ann.store.outbox.count() == 0)
        ann.network.weather.delay = (0.001, 0.003)
        await bob.join(ann.ticket())
        await until(lambda: received_by(bob, ann) > 60)
        ann.network.drop_connections(ann.id)
        received = received_by(bob, ann)
        assert bob.files() == {}
        await bob.restart()
        assert received_by(bob, ann) == received
        asked: list[int] = []
        serve = Outgoing.serve

        def watch(self: Outgoing, author: object, after: int, whole: bool) -> None:
            if author == ann.volume.author:  # she asks for what he has written, too
                asked.append(after)
            serve(self, author, after, whole)  # type: ignore[arg-type]

        Outgoing.serve = watch  # type: ignore[method-assign,assignment]
        try:
            await until(lambda: asked)
        finally:
            Outgoing.serve = serve  # type: ignore[method-assign]
        ann.network.weather.delay = (0.0, 0.0)
        await settled(ann, bob)
        assert asked[0] >= received
        assert len(bob.files()) == 600


async def test_a_run_that_stops_is_taken_over_by_another_device(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob)
        for number in range(600):
            ann.write(f"file{number}", os.urandom(4000))
        await settled(ann, bob)
        ann.network.weather.delay = (0.001, 0.003)
        await cid.join(ann.ticket())
        await until(lambda: received_by(cid, ann) > 60)
        ann.network.kill(ann.id, notice=True)
        ann.network.weather.delay = (0.0, 0.0)
        await settled(bob, cid)
        assert len(cid.files()) == 600


async def test_a_run_that_stops_is_taken_over_by_a_device_that_holds_less(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob)
        ann.write("known to bob", b"1")
        await settled(ann, bob)
        ann.network.partition(ann.id, bob.id)
        for number in range(600):
            ann.write(f"file{number}", os.urandom(4000))
        await until(lambda: ann.store.outbox.count() == 0)
        ann.network.weather.delay = (0.001, 0.003)
        await cid.join(ann.ticket())
        await until(lambda: received_by(cid, ann) > 60)
        assert cid.files() == {}
        ann.network.kill(ann.id, notice=True)
        ann.network.weather.delay = (0.0, 0.0)
        await settled(bob, cid)
        assert set(cid.files()) == {"known to bob"}


async def test_what_was_on_its_way_from_a_device_that_was_put_back_does_not_keep_what_it_says_now(
    tmp_path: Path,
) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        ann.create()
        ann.write("before", b"1")
        await until(lambda: ann.store.outbox.count() == 0)
        await ann.back_up(tmp_path / "backup")
        for number in range(600):
            ann.write(f"file{number}", os.urandom(4000))
        await until(lambda: ann.store.outbox.count() == 0)
        ann.network.weather.delay = (0.001, 0.003)
        await bob.join(ann.ticket())
        await until(lambda: received_by(bob, ann) > 60)
        await ann.put_back(tmp_path / "backup")
        ann.network.weather.delay = (0.0, 0.0)
        await ann.up()
        ann.write("after", b"2")
        await until(lambda: set(bob.files()) == {"before", "after"})


async def test_a_damaged_copy_of_a_document_is_sent_again_as_a_whole(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("one", b"1")
        ann.write("two", b"2")
        await settled(ann, bob)
        author = ann.volume.author
        with bob.store.db.transaction():
            bob.store.db.run("UPDATE heads SET set_hash=zeroblob(32) WHERE author=?", (author,))
        ann.write("three", b"3")
        await until(lambda: bob.sync.ingest.counts.disagreements >= 1)
        await settled(ann, bob)
        assert set(bob.files()) == {"one", "two", "three"}


async def test_many_records_are_merged_in_slices_and_survive_a_stop_between_them(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        ann.create()
        for number in range(900):
            ann.write(f"file{number}", b"x")
        await until(lambda: ann.store.outbox.count() == 0)
        await bob.join(ann.ticket())
        await until(lambda: 0 < bob.sync.merger.backlog() < 900)
        await bob.restart()
        await settled(ann, bob)
        assert len(bob.files()) == 900
