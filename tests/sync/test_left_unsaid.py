# SPDX-License-Identifier: GPL-3.0-or-later
"""Publication of what a device knew and might not say, once it may."""

from __future__ import annotations

from pathlib import Path

from holofsd.codec.signing import generate
from holofsd.core.document import Role
from tests.sync.devices import settled, until
from tests.sync.rawpeer import Author
from tests.sync.test_hostile import scene


async def test_the_history_that_only_a_reader_heard_is_said_when_it_becomes_a_writer(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        ann.sync.set_member(bob.id, Role.READER)
        await until(lambda: bob.sync.role == Role.READER)
        key = generate()
        lesser, greater = (Author(joined.volume, key) for _ in range(2))
        envelopes = [lesser.say(lesser.file("first", b"1")), greater.say(greater.file("second", b"2"))]
        if lesser.head().set_hash > greater.head().set_hash:
            lesser, greater = greater, lesser
            envelopes.reverse()
        await bob.down()
        await raw.session(ann.id, joined, greater)
        await raw.push(greater, envelopes[1], after=0)
        await until(lambda: len(ann.files()) == 1)
        await ann.down()
        await bob.up()
        raw.connection = None
        await raw.session(bob.id, joined, lesser)
        await raw.push(lesser, envelopes[0], after=0)
        await until(lambda: len(bob.files()) == 1)
        await ann.up()
        bob.hub.learn(ann.id, ann.endpoint.addresses())
        await until(lambda: len(bob.files()) == 2, "bob to have the history that counts beside what it had")
        assert len(ann.files()) == 1
        await bob.restart()
        ann.sync.set_member(bob.id, Role.WRITER)
        await until(lambda: len(ann.files()) == 2, "bob to say what it had")
        await settled(ann, bob)
        assert sorted(ann.files()) == ["first", "second"]
