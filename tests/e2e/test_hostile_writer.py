# SPDX-License-Identifier: GPL-3.0-or-later
"""A member with the right to write that means harm: refused or quarantined, counted, and everything else goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest

from e2e.conftest import FAILED, LIMIT_S
from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.records import encode_state
from holofsd.codec.ticket import Invite, decode_ticket
from holofsd.core.errors import ConnectionLost
from holofsd.core.ids import ROOT_ID, NodeId
from support.device import Device, World
from support.rogue import Author, Rogue, Session, record, rogue
from support.trees import contents, names
from support.wait import until

EXPECTED_LOG = [r"refused|forged|signature|violat|protocol|quarantin|disagree|frame|record|unreadable|two histories"]


@dataclass
class Scene:
    """A and B are honest; the rogue is a writer, in session with A."""

    a: Device
    b: Device
    here: Path
    there: Path
    volume: str
    writer: Rogue
    invite: Invite

    async def session(self) -> Session:
        return await self.writer.session(await self.writer.connect(self.invite), self.invite.volume)

    async def publish(self, session: Session, records: list[tuple[bytes, bytes]], author: Author | None = None) -> None:
        author = author or self.writer.author
        after = author.seq
        envelopes, head = author.publish(self.invite.volume, records)
        session.serve[author.id] = (sorted(author.newest.values(), key=lambda e: e.seq), head)
        await session.send_records(after, envelopes, head)

    async def accepted(self, session: Session) -> None:
        """The document took what was published (whatever became of it in the tree)."""
        author = self.writer.author
        await session.until(lambda: session.confirmed.get(author.id) == author.seq, "the records to be confirmed")

    async def goes_on(self) -> None:
        """Honest work reaches the other honest device."""
        await asyncio.to_thread(self._works)

    def _works(self) -> None:
        name = f"honest-{os.urandom(4).hex()}"
        self.here.joinpath(name).write_text(name)
        until(lambda: self.there.joinpath(name).read_text() == name, "honest work to reach b")
        self.there.joinpath(name).unlink()
        until(lambda: not self.here.joinpath(name).exists(), "honest removal to reach a")

    async def quarantined(self, device: Device) -> int:
        status = await asyncio.to_thread(device.volume_status, self.volume)
        return int(status["quarantined"])


@pytest.fixture(scope="module")
def honest() -> Iterator[tuple[Device, Device]]:
    """Devices for all tests of this file, which are members of one more volume in each."""
    with World(limit_s=LIMIT_S * 2) as world:
        a, b = world.running("a", "b")
        for device in (a, b):
            device.allowed += EXPECTED_LOG
        yield a, b


NUMBERS = count()


@pytest.fixture
async def scene(honest: tuple[Device, Device], request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    a, b = honest
    volume = f"docs{next(NUMBERS)}"
    here, there = await asyncio.to_thread(_shared, a, b, volume)
    async with rogue() as writer:
        ticket = a.share(volume)
        await writer.redeem(ticket)
        invite = decode_ticket(ticket)
        writer.certify(invite.volume)
        yield Scene(a, b, here, there, volume, writer, invite)
    if request.node.stash.get(FAILED, False):
        print(a.world.logs())
    for device, path in ((a, here), (b, there)):
        await asyncio.to_thread(device.ctl, "unmount", "--force", path)  # whoever still looks at it


def _shared(a: Device, b: Device, volume: str) -> tuple[Path, Path]:
    a.create(volume)
    b.join(a.share(volume))
    return a.mount(volume), b.mount(volume)


async def test_an_honest_record_of_a_writer_counts(scene: Scene) -> None:
    """Shows that the other tests of this file are refused for the right reason."""
    session = await scene.session()
    await scene.publish(session, [record(scene.writer.file(b"by the rogue", b"honest this time"))])
    await scene.accepted(session)
    expected = {"by the rogue": b"honest this time"}
    await asyncio.to_thread(until, lambda: contents(scene.here) == contents(scene.there) == expected, "the file")
    await scene.goes_on()


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff" * 100,
        b"\x0a\xff\xff\xff\xff\x0f",
        os.urandom(5000),
        pb.Frame(blob=pb.Blob(id=1)).SerializeToString(),
    ],
    ids=["empty", "ones", "long length", "random", "of another stream"],
)
async def test_a_garbage_frame_ends_at_most_its_session(scene: Scene, frame: bytes) -> None:
    session = await scene.session()
    await session.send_raw(frame)
    await session.in_step()
    await scene.goes_on()
    again = await scene.session()
    await again.in_step()
    assert not again.over


async def test_a_huge_frame_is_refused_before_it_is_read(scene: Scene) -> None:
    session = await scene.session()
    before = (await asyncio.to_thread(scene.a.status))["resident_bytes"]
    with contextlib.suppress(ConnectionLost):
        await session.send_raw(bytes(48 << 20))
    await session.until_over()
    await scene.goes_on()
    after = (await asyncio.to_thread(scene.a.status))["resident_bytes"]
    assert after - before < 32 << 20


async def test_a_record_that_is_garbage_is_quarantined_and_counted(scene: Scene) -> None:
    session = await scene.session()
    good = scene.writer.file(b"good", b"good")
    newer = pb.NodeRecord(format=999, id=bytes(range(16)), kind=pb.NODE_KIND_FILE).SerializeToString()
    bad = [(os.urandom(16), os.urandom(300)), (os.urandom(16), b""), (bytes(range(16)), newer), (b"odd key", b"x")]
    await scene.publish(session, [*bad, record(good)])
    await scene.accepted(session)
    await asyncio.to_thread(until, lambda: "good" in contents(scene.there), "what is good of it")
    assert await scene.quarantined(scene.a) >= 3
    await asyncio.to_thread(until, lambda: names(scene.here) == {"good"}, "a to show what is good, and nothing else")
    await scene.goes_on()


async def test_a_record_that_is_too_large_is_refused(scene: Scene) -> None:
    session = await scene.session()
    state = scene.writer.file(b"too large", bytes(3 << 20))
    await scene.publish(session, [(state.id, encode_state(state))])
    await session.in_step()
    assert set(await asyncio.to_thread(names, scene.here)) == set()
    await scene.goes_on()


async def test_bad_names_are_never_shown(scene: Scene) -> None:
    session = await scene.session()
    bad = [b"", b".", b"..", b"a/b", b"../../etc/passwd", b"nul\x00nul", b"x" * 256, b"/"]
    states = [scene.writer.file(name, b"bad %d" % number) for number, name in enumerate(bad)]
    await scene.publish(session, [record(state) for state in states])
    await scene.publish(session, [record(scene.writer.file(b"good", b"good"))])
    await scene.accepted(session)
    found = {f"lost+found/{state.id.hex()}": b"bad %d" % number for number, state in enumerate(states)}
    wanted = {"good": b"good", **found}
    await asyncio.to_thread(until, lambda: contents(scene.there) == wanted, "only names that can be shown")
    await asyncio.to_thread(until, lambda: names(scene.here) == {"lost+found", *wanted}, "a to show the same names")
    assert await scene.quarantined(scene.a) >= 1
    await scene.goes_on()


async def test_cycles_and_missing_parents_harm_nothing(scene: Scene) -> None:
    session = await scene.session()
    writer = scene.writer
    one, two, self_parent, nowhere = (NodeId(os.urandom(16)) for _ in range(4))
    records = [
        writer.directory(one, b"one", two),
        writer.directory(two, b"two", one),
        writer.directory(self_parent, b"self", self_parent),
        writer.directory(NodeId(os.urandom(16)), b"lost", nowhere),
        writer.directory(ROOT_ID, b"root", one),
        writer.file(b"in a cycle", b"x", parent=one),
        writer.file(b"good", b"good"),
    ]
    await scene.publish(session, [record(state) for state in records])
    await scene.accepted(session)
    await asyncio.to_thread(until, lambda: scene.there.joinpath("good").exists(), "what is good of it")

    def agree() -> bool:
        assert contents(scene.here) == contents(scene.there)
        return b"x" in contents(scene.here).values()

    await asyncio.to_thread(until, agree, "both to show the same tree, with the file of the cycle in it")
    await scene.goes_on()


async def test_records_in_another_authors_name_are_refused(scene: Scene) -> None:
    await asyncio.to_thread(scene.here.joinpath("mine").write_bytes, b"mine")
    session = await scene.session()
    await session.until(lambda: len(session.heads) > 0, "what a has written")
    victim = next(iter(session.heads.values()))
    forged = Author(seq=victim.seq)
    envelopes, head = forged.publish(scene.invite.volume, [record(scene.writer.file(b"forged", b"no", author=forged))])
    renamed = [replace(envelope, author=victim.author) for envelope in envelopes]
    await session.send_records(victim.seq, renamed, replace(head, author=victim.author))
    await session.in_step()
    # And claiming it under one's own name, with a dot of the victim: its counters are not the rogue's to give.
    session = await scene.session()
    stolen = Author(key=scene.writer.author.key)
    state = scene.writer.file(b"stolen", b"no")
    ((dot, version),) = state.versions.items()
    beyond = replace(dot, author=victim.author, counter=10**6)
    lie = replace(state, versions={beyond: replace(version, dot=beyond)}, context={victim.author: 10**6})
    await scene.publish(session, [record(lie)], stolen)
    await session.in_step()
    assert await asyncio.to_thread(contents, scene.here) == {"mine": b"mine"}
    await scene.goes_on()


async def test_old_records_again_change_nothing(scene: Scene) -> None:
    document = scene.here / "document"
    await asyncio.to_thread(document.write_bytes, b"old")
    session = await scene.session()
    await session.until(lambda: len(session.heads) > 0, "the old record")
    await session.until(lambda: any(b"old" in e.payload for r in session.records.values() for e in r.values()), "old")
    old = {author: dict(records) for author, records in session.records.items()}
    old_heads = dict(session.heads)

    await asyncio.to_thread(document.write_bytes, b"new")
    await asyncio.to_thread(until, lambda: contents(scene.there) == {"document": b"new"}, "the new one")
    for author, records in old.items():
        for after in (0, old_heads[author].seq):
            await session.send_records(after, sorted(records.values(), key=lambda e: e.seq), old_heads[author])
            await session.in_step()
            if session.over:
                session = await scene.session()
    await session.show(list(old_heads.values()))
    await session.in_step()
    for root in (scene.here, scene.there):
        assert await asyncio.to_thread(contents, root) == {"document": b"new"}
    await scene.goes_on()


async def test_a_false_set_hash_is_found_out(scene: Scene) -> None:
    session = await scene.session()
    author = scene.writer.author
    envelopes, _ = author.publish(scene.invite.volume, [record(scene.writer.file(b"whole", b"1"))])
    author.newest[b"never sent"] = author.publish(scene.invite.volume, [(b"never sent", b"x")])[0][0]
    await session.send_records(0, envelopes, author.head(scene.invite.volume))
    await session.in_step()
    assert author.id not in session.confirmed
    assert await asyncio.to_thread(contents, scene.here) == {}
    await scene.goes_on()
