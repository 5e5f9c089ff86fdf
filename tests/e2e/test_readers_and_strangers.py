# SPDX-License-Identifier: GPL-3.0-or-later
"""Attempts of those who may not: readers that write, forge, lie about content or about their invite; and strangers."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.signing import generate, sign_grant
from holofsd.codec.ticket import Invite, decode_ticket
from holofsd.core.document import Credentials, Role
from holofsd.core.errors import ConnectionLost
from holofsd.core.ids import DeviceId, VolumeId
from support.device import Device, World
from support.rogue import Author, Refusal, Rogue, Session, record, rogue
from support.trees import contents, is_written
from support.wait import until


def test_a_reader_reads_and_every_change_answers_erofs_at_once(world: World) -> None:
    a, b = world.running("a", "b")
    a.create()
    here = a.mount()
    here.joinpath("file").write_text("text")
    here.joinpath("folder").mkdir()
    b.join(a.share("docs", "--read-only"))
    there = b.mount()
    until(lambda: there.joinpath("file").read_text() == "text" and there.joinpath("folder").is_dir(), "the file")

    attempts: list[Callable[[], object]] = [
        lambda: there.joinpath("file").write_text("no"),
        lambda: there.joinpath("file").open("a"),
        lambda: there.joinpath("new").write_text("no"),
        lambda: there.joinpath("new").mkdir(),
        lambda: there.joinpath("folder").rmdir(),
        lambda: there.joinpath("file").unlink(),
        lambda: there.joinpath("file").rename(there / "other"),
        lambda: there.joinpath("file").chmod(0o600),
        lambda: there.joinpath("link").symlink_to("file"),
        lambda: os.link(there / "file", there / "link"),
        lambda: os.truncate(there / "file", 0),
        lambda: os.utime(there / "file", (0, 0)),
        lambda: os.setxattr(there / "file", "user.x", b"no"),
    ]
    for number, attempt in enumerate(attempts):
        with pytest.raises(OSError) as caught:
            attempt()
        assert caught.value.errno == errno.EROFS, number
    assert contents(here) == contents(there) == {"file": b"text"}

    here.joinpath("file").write_text("changed")
    until(lambda: there.joinpath("file").read_text() == "changed", "readers to go on reading")


def test_a_reader_made_a_writer_may_write_and_the_other_way_round(world: World) -> None:
    a, b = world.running("a", "b")
    a.create()
    here = a.mount()
    b.join(a.share("docs", "--read-only"))
    there = b.mount()
    assert not is_written(there / "by b")
    a.ctl("members", "docs", "role", b.device_id(), "writer")
    until(lambda: is_written(there / "by b"), "b to write through the mount that it has")
    until(lambda: "by b" in contents(here), "a to have what b wrote")
    # Closed in the very moment in which b becomes a reader: its program was told that it is kept, and so it is, beside
    # the volume, which does not take it any more.
    b.allowed += [r"what was closed is kept in the journal", r"a call of a journal failed", r"is kept beside it"]
    a.ctl("members", "docs", "role", b.device_id(), "reader")
    until(lambda: not is_written(there / "by b again"), "b to be a reader")


# ---- a reader whose program was changed


async def _member(world: World, intruder: Rogue, *options: str) -> tuple[Device, Path, Invite]:
    """A device with a volume and a file in it, and the rogue a member as the options say."""
    (a,) = await asyncio.to_thread(world.running, "a")
    a.allowed += [r"refused|forged|signature|violat|protocol|quarantin|disagree|member|certif"]
    a.create()
    here = await asyncio.to_thread(a.mount)
    await asyncio.to_thread(here.joinpath("file").write_bytes, b"honest")
    ticket = a.share("docs", *options)
    await intruder.redeem(ticket)
    return a, here, decode_ticket(ticket)


async def _unchanged_and_alive(a: Device, here: Path, expected: dict[str, bytes]) -> None:
    def check() -> bool:
        assert contents(here) == expected
        here.joinpath("alive").write_text("alive")
        assert here.joinpath("alive").read_text() == "alive"
        here.joinpath("alive").unlink()
        return a.is_settled()

    await asyncio.to_thread(until, check, "the device to go on as before")


async def _offer(session: Session, author: Author, volume: VolumeId, records: list[tuple[bytes, bytes]]) -> None:
    """Pushes a publication, and serves it to whoever asks; returns when the other side took it or had time to."""
    after = author.seq
    envelopes, head = author.publish(volume, records)
    session.serve[author.id] = ([*author.newest.values()], head)
    await session.send_records(after, envelopes, head)
    await session.show([head])
    # Its answer to a ping comes after it has acted on what was sent before, or it has ended the session.
    await session.in_step()


async def test_records_of_a_reader_do_not_count(world: World) -> None:
    async with rogue() as reader:
        a, here, invite = await _member(world, reader, "--read-only")
        reader.certify(invite.volume)
        session = await reader.session(await reader.connect(invite), invite.volume)
        await _offer(session, reader.author, invite.volume, [record(reader.file(b"by a reader", b"no"))])
        await _unchanged_and_alive(a, here, {"file": b"honest"})


async def test_a_reader_cannot_make_itself_a_writer(world: World) -> None:
    async with rogue() as reader:
        a, here, invite = await _member(world, reader, "--read-only")
        volume, device = invite.volume, DeviceId(reader.key.public)
        own = sign_grant(reader.key, volume, device, Role.ADMIN, 9, "rogue")
        by_nobody = sign_grant(generate(), volume, device, Role.ADMIN, 9, "rogue")
        (real,) = [grant for grant in reader.credentials.grants if grant.device == device]
        altered = replace(real, role=Role.ADMIN)
        known = reader.credentials
        reader.credentials = replace(known, grants=(*known.grants, own, by_nobody))
        reader.certify(volume)
        session = await reader.session(await reader.connect(invite), volume)
        await _offer(session, reader.author, volume, [record(reader.file(b"by a reader", b"no"))])
        await _unchanged_and_alive(a, here, {"file": b"honest"})

        # A grant whose signature is false may end the session; it must not do more.
        reader.credentials = replace(known, grants=(*(g for g in known.grants if g != real), altered))
        try:
            session = await reader.session(await reader.connect(invite), volume)
            await _offer(session, reader.author, volume, [record(reader.file(b"again", b"no"))])
        except (Refusal, ConnectionLost):
            pass
        await _unchanged_and_alive(a, here, {"file": b"honest"})
        roles = {member["device_id"]: member["role"] for member in a.json("members", "docs")}
        assert roles[device.hex()] == "reader"


async def test_records_forged_in_the_name_of_a_writer_are_refused(world: World) -> None:
    async with rogue() as reader:
        a, here, invite = await _member(world, reader, "--read-only")
        session = await reader.session(await reader.connect(invite), invite.volume)
        await session.until(lambda: len(session.heads) > 0, "what a has written")
        (author,) = session.heads
        honest = session.heads[author]
        forger = Author(seq=honest.seq)
        envelopes, head = forger.publish(invite.volume, [record(reader.file(b"forged", b"no", author=forger))])
        forged = [replace(envelope, author=honest.author) for envelope in envelopes]
        await session.send_records(honest.seq, forged, replace(head, author=honest.author))
        await session.in_step()
        await _unchanged_and_alive(a, here, {"file": b"honest"})


async def test_an_invite_is_worth_the_role_it_was_made_for(world: World) -> None:
    async with rogue() as reader:
        (a,) = await asyncio.to_thread(world.running, "a")
        a.create()
        ticket = a.share("docs", "--read-only")
        await reader.redeem(ticket, lambda invite: replace(invite, role=Role.ADMIN))
        roles = {member["device_id"]: member["role"] for member in a.json("members", "docs")}
        assert roles[reader.key.public.hex()] == "reader"


@pytest.mark.timeout(240)
async def test_altered_content_is_not_taken_and_the_true_one_is_when_it_can_be_had(world: World) -> None:
    true, false = os.urandom(100_000), os.urandom(100_000)
    async with rogue() as reader:
        a, here, invite = await _member(world, reader, "--read-only")
        b = world.device("b")
        b.allowed += [r"content|hash|blob|refused|unreachable|connect"]
        await asyncio.to_thread(b.up)
        await asyncio.to_thread(b.join, a.share())
        there = await asyncio.to_thread(b.mount)
        ticket_of_b = decode_ticket(await asyncio.to_thread(_admin_ticket, a, b))
        await asyncio.to_thread(until, lambda: contents(there) == {"file": b"honest"}, "b to have the file")
        await asyncio.to_thread(b.down)

        await asyncio.to_thread(here.joinpath("large").write_bytes, true)
        await asyncio.to_thread(until, a.is_settled, "the large file to be published")
        pulled = await reader.session(await reader.connect(invite), invite.volume)
        await pulled.until(lambda: len(pulled.heads) > 0 and bool(_blobs_of(pulled)), "what a has written")
        honest = _blobs_of(pulled)
        await asyncio.to_thread(a.down)

        await asyncio.to_thread(b.up)
        reader.blobs = dict.fromkeys(honest, false)
        to_b = replace(ticket_of_b, addresses=tuple(await asyncio.to_thread(_addresses, b)))
        relay = await reader.session(await reader.connect(to_b), invite.volume)
        for author, records in pulled.records.items():
            relay.serve[author] = (sorted(records.values(), key=lambda e: e.seq), pulled.heads[author])
        await relay.show(list(pulled.heads.values()))
        await relay.until(lambda: bool(reader.asked), "b to ask for the content")
        await asyncio.to_thread(until, lambda: there.joinpath("large").exists(), "the name to show")

        await asyncio.to_thread(a.up)
        await asyncio.to_thread(until, lambda: there.joinpath("large").read_bytes() == true, "the true content", 90)


def _admin_ticket(a: Device, b: Device) -> str:
    """A ticket made by b, which tells where b is; nobody redeems it."""
    a.ctl("members", "docs", "role", b.device_id(), "admin")

    def share() -> str:
        result = b.ctl("share", "docs", check=False)
        return result.out.strip() if result.code == 0 else ""

    return until(share, "b to be an admin")


def _addresses(b: Device) -> tuple[str, ...]:
    """b was restarted: a fresh ticket says where it is now."""
    return decode_ticket(b.share()).addresses


def _blobs_of(session: Session) -> list[bytes]:
    found = []
    for records in session.records.values():
        for key, envelope in records.items():
            if len(key) == 16:
                state = pb.NodeRecord.FromString(envelope.payload)
                found += [version.file.blob for version in state.versions if version.file.blob]
    return found


# ---- strangers


@pytest.mark.parametrize("purpose", [pb.PURPOSE_SESSION, pb.PURPOSE_CONTENT])
async def test_a_stranger_cannot_tell_a_volume_that_exists_from_one_that_does_not(
    world: World, purpose: pb.Purpose.ValueType
) -> None:
    async with rogue() as stranger:
        (a,) = await asyncio.to_thread(world.running, "a")
        a.create()
        a.allowed += [r"refused|member|stranger"]
        invite = decode_ticket(a.share())
        answers = {}
        for what, volume in (("real", invite.volume), ("made up", VolumeId(generate().public))):
            connection = await stranger.connect(invite)
            answers[what] = await _how_refused(stranger, connection, volume, purpose)
        assert answers["real"] == answers["made up"]
        assert len(a.json("members", "docs")) == 1


async def test_a_stranger_with_credentials_of_its_own_making_is_refused_alike(world: World) -> None:
    async with rogue() as stranger:
        (a,) = await asyncio.to_thread(world.running, "a")
        a.create()
        a.allowed += [r"refused|member|stranger|grant|credential"]
        invite = decode_ticket(a.share())
        bare = await _how_refused(stranger, await stranger.connect(invite), invite.volume, pb.PURPOSE_SESSION)
        grant = sign_grant(stranger.key, invite.volume, DeviceId(stranger.key.public), Role.ADMIN, 1, "rogue")
        stranger.credentials = Credentials(grants=(grant,))
        forged = await _how_refused(stranger, await stranger.connect(invite), invite.volume, pb.PURPOSE_SESSION)
        assert forged == bare


async def test_a_guessed_secret_is_refused_alike_for_volumes_that_exist_and_do_not(world: World) -> None:
    async with rogue() as stranger:
        (a,) = await asyncio.to_thread(world.running, "a")
        a.create()
        a.allowed += [r"refused|invite|redeem"]
        ticket = a.share()
        how = []
        for change in (
            lambda invite: replace(invite, secret=bytes(16)),
            lambda invite: replace(invite, secret=bytes(16), volume=VolumeId(generate().public)),
        ):
            with pytest.raises(Refusal) as caught:
                await stranger.redeem(ticket, change)
            how.append(caught.value.how)
        assert how[0] == how[1]
        assert len(a.json("members", "docs")) == 1


async def _how_refused(
    stranger: Rogue, connection: object, volume: VolumeId, purpose: pb.Purpose.ValueType
) -> tuple[str, int | None]:
    """All that the stranger learns: how the stream ended, and with which code the connection did."""
    with pytest.raises(Refusal) as caught:
        await stranger.welcome(connection, volume, purpose)  # type: ignore[arg-type]
    # Which of the two is heard of first is chance, and the code is that of the connection.
    how = "lost" if caught.value.how.startswith("lost ") else caught.value.how
    return how, await stranger.close_code(connection)  # type: ignore[arg-type]
