# SPDX-License-Identifier: GPL-3.0-or-later
"""A writer whose later head vouches for fewer of its versions than one before: what counts is the most that it said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from holofsd.codec.signing import sign_head
from holofsd.core.document import Head
from holofsd.sync import frames
from tests.sync.devices import settled, until
from tests.sync.rawpeer import Author
from tests.sync.test_hostile import scene


def narrower(author: Author, dots: int) -> Head:
    """The author's head as it is, but for what it vouches for."""
    head = author.head()
    return sign_head(author.key, author.volume, head.seq, dots, head.set_hash)


async def test_devices_agree_whichever_of_its_heads_they_heard(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        await bob.down()
        await raw.push(author, author.say(author.file("first", b"1")), author.say(author.file("second", b"2")), after=0)
        await until(lambda: "second" in ann.files())
        await raw.push(author, author.say(author.file("third", b"3")), after=2, head=narrower(author, 1))
        await until(lambda: ann.heads()[author.id][0] == 3)
        await bob.up()
        await settled(ann, bob)
        await until(lambda: bob.files() == {"first": b"1", "second": b"2"})
        assert ann.files() == bob.files()
        assert ann.store.documents.widest()[author.id].dots == 2

        # It is forgotten once a later head vouches for as much.
        await bob.restart()
        await raw.push(author, author.say(author.file("fourth", b"4")), after=3)
        await until(lambda: len(ann.files()) == len(bob.files()) == 4)
        await settled(ann, bob)
        assert ann.store.documents.widest() == bob.store.documents.widest() == {}


async def test_two_heads_of_one_number(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        await bob.down()
        await raw.push(author, author.say(author.file("file", b"1")), after=0, head=narrower(author, 0))
        await until(lambda: author.id in ann.heads())
        assert ann.files() == {}
        await raw.send(frames.have([author.head()], first=False))
        await until(lambda: ann.files() == {"file": b"1"})
        await bob.up()
        await settled(ann, bob)
        await until(lambda: bob.files() == {"file": b"1"})


async def test_a_head_of_a_false_signature_counts_for_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, _bob, raw, joined):
        author = Author(joined.volume)
        await raw.session(ann.id, joined, author)
        await raw.push(author, author.say(author.file("file", b"1")), after=0)
        await until(lambda: ann.files() == {"file": b"1"})
        await raw.send(frames.have((), first=False, widest=[replace(author.head(), dots=2**40)]))
        assert await raw.is_thrown_out()
        assert ann.store.documents.dots_of(author.id) == 1
