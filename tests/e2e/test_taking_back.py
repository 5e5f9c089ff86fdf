# SPDX-License-Identifier: GPL-3.0-or-later
"""A share is taken back: from a device that obeys, and from one that does not; and all admins are lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.ticket import decode_ticket
from holofsd.core.document import Envelope, Head
from holofsd.core.errors import ConnectionLost
from holofsd.core.ids import VolumeId
from holofsd.net.api import Connection
from support.device import Device, World
from support.rogue import Refusal, Rogue, Session, record, rogue
from support.trees import contents, is_written
from support.wait import until


def test_a_removed_device_keeps_what_it_has_gets_nothing_more_and_can_come_back(world: World) -> None:
    a, b, c = world.sharing("a", "b", "c")
    here, there, far = a.mount(), b.mount(), c.mount()
    there.joinpath("by b").write_text("b")
    until(lambda: contents(here) == contents(far) == {"by b": b"b"}, "all to have what b wrote")

    removed = a.json("members", "remove", "docs", b.device_id())
    assert (removed["removed"], removed["name"]) == (True, "b")
    until(lambda: not is_written(there / "too late"), "b to hear that it was removed")
    until(lambda: _standing(c, b) == "removed", "c to hear it")
    here.joinpath("later").write_text("a")
    until(lambda: contents(far) == {"by b": b"b", "later": b"a"}, "c to have what came later")
    assert "later" not in contents(there)
    assert contents(there)["by b"] == b"b"
    assert any("not a member" in warning for warning in b.status()["warnings"])

    b.unmount(there)
    b.ctl("leave", "docs", "--delete")
    b.join(a.share())
    b.mount(path=there)
    until(lambda: contents(there) == {"by b": b"b", "later": b"a"}, "b to be back")
    there.joinpath("back").write_text("b")
    until(lambda: "back" in contents(far), "what b writes to count again")


def test_the_last_admin_cannot_be_removed_and_members_cannot_remove(world: World) -> None:
    a, b = world.sharing("a", "b")
    for change in (["remove", "docs", a.device_id()], ["role", "docs", a.device_id(), "reader"]):
        refused = a.ctl("members", *change, check=False)
        assert (refused.code, refused.err.count("\n")) == (4, 1)
        assert "last admin" in refused.err
    until(lambda: len(b.json("members", "docs")) == 2, "b to know a")
    refused = b.ctl("members", "remove", "docs", a.device_id(), check=False)
    assert refused.code == 4
    assert "Only an admin" in refused.err


def test_a_revoked_invite_opens_no_door(world: World) -> None:
    a, b = world.running("a", "b")
    a.allowed += [r"an invite was refused"]
    a.create()
    first, second = a.share(), a.share("docs", "--read-only", "--uses", "0", "--expires", "never")
    listed = {invite["role"]: invite for invite in a.json("share", "--list", "docs")}
    assert listed["reader"]["uses_left"] == listed["reader"]["expires_at_ms"] == 0
    assert a.ctl("share", "--revoke", "docs", listed["writer"]["id"]).out.strip() == listed["writer"]["id"]
    refused = b.ctl("join", first, check=False)
    assert refused.code == 4
    assert "revoked" in refused.err
    b.join(second)
    assert [invite["role"] for invite in a.json("share", "--list", "docs")] == ["reader"]


def test_the_recovery_code_makes_an_admin_when_all_admins_are_lost(world: World) -> None:
    a, b, c, new = world.running("a", "b", "c", "new")
    a.create()
    here = a.mount()
    here.joinpath("file").write_text("a")
    code = a.ctl("recovery", "docs", "--forget").out.strip()
    assert a.ctl("recovery", "docs", check=False).code == 1
    b.join(a.share("docs", "--read-only"))
    c.join(a.share())
    there = b.mount()
    until(lambda: contents(there) == {"file": b"a"}, "b to have the file")
    until(lambda: len(c.json("members", "docs")) == 3, "c to know b")
    address = until(
        lambda: [peer["address"] for peer in c.json("peers") if peer["address"] and peer["device_id"] == b.device_id()],
        "c to reach b",
    )[0]
    lost = a.device_id()
    a.kill9_all()

    # On a new device, from a reader; and on the reader itself.
    volume = new.json("recover", code, "--name", "docs", "--from", f"{b.device_id()}@{address}")
    assert (volume["name"], volume["role"]) == ("docs", "admin")
    far = new.mount()
    until(lambda: contents(far) == {"file": b"a"}, "the new device to have the file")
    until(lambda: not is_written(there / "by b"), "b to be a reader still")
    assert b.json("recover", code)["role"] == "admin"
    until(lambda: is_written(there / "by b"), "b to write")
    assert new.json("members", "remove", "docs", lost)["removed"] is True
    until(lambda: contents(far) == contents(there), "both to have everything")
    assert code not in "".join(path.read_text() for path in (*b.log_files(), *new.log_files()))


# ---- a removed device whose program was changed


async def _outlaw(world: World, intruder: Rogue) -> tuple[Device, Path, str]:
    """A device, and the rogue: a writer whose file counts."""
    (a,) = await asyncio.to_thread(world.running, "a")
    a.allowed += [r"refused|forged|signature|violat|protocol|quarantin|disagree|member|certif|removed|invite"]
    a.create()
    here = await asyncio.to_thread(a.mount)
    await asyncio.to_thread(here.joinpath("large").write_bytes, os.urandom(200_000))
    ticket = await asyncio.to_thread(a.share)
    await intruder.redeem(ticket)
    intruder.certify(decode_ticket(ticket).volume)
    return a, here, ticket


async def test_a_removed_device_that_goes_on_sending_is_heard_by_nobody(world: World) -> None:
    async with rogue() as outlaw:
        a, here, ticket = await _outlaw(world, outlaw)
        invite, volume = decode_ticket(ticket), decode_ticket(ticket).volume
        connection = await outlaw.connect(invite)
        session = await outlaw.session(connection, volume)
        envelopes, head = outlaw.author.publish(volume, [record(outlaw.file(b"while a member", b"yes"))])
        await session.send_records(0, envelopes, head)
        await asyncio.to_thread(until, lambda: "while a member" in contents(here), "the file of a member")
        await session.until(lambda: bool(_blobs(session)), "what a has written")
        kept = await asyncio.to_thread(contents, here)
        blobs = _blobs(session)
        await asyncio.to_thread(a.ctl, "members", "remove", "docs", outlaw.key.public.hex())

        # The session that it had is closed, and says why.
        await session.until(lambda: bool(session.over), "the session to be closed")
        assert [r.device for r in session.credentials.removals] == [outlaw.key.public]
        # It goes on from where it was: records, content, the invite that once let it in, and as if nothing had been.
        for _ in range(3):
            envelopes, head = outlaw.author.publish(volume, [record(outlaw.file(os.urandom(8).hex().encode(), b"no"))])
            with pytest.raises((Refusal, ConnectionLost)):
                await _push(outlaw, await outlaw.connect(invite), volume, envelopes, head)
            with pytest.raises((Refusal, ConnectionLost)):
                await outlaw.get(await outlaw.connect(invite), volume, blobs[0])
            with pytest.raises((Refusal, ConnectionLost)):
                await outlaw.redeem(ticket)
        assert await asyncio.to_thread(contents, here) == kept
        assert [m["name"] for m in a.json("members", "docs") if not m["removed"]] == ["a"]


async def test_a_removed_device_that_does_not_listen_is_closed_all_the_same(world: World) -> None:
    async with rogue() as outlaw:
        a, here, ticket = await _outlaw(world, outlaw)
        invite, volume = decode_ticket(ticket), decode_ticket(ticket).volume
        connection = await outlaw.connect(invite)
        stream = await outlaw.hello(connection, volume, pb.PURPOSE_SESSION)
        await asyncio.to_thread(until, lambda: _connected(a), "the session to begin")

        def fill() -> None:
            for number in range(400):
                here.joinpath(f"small {number}").write_bytes(os.urandom(4000))

        await asyncio.to_thread(fill)  # more than its stream takes unread
        await asyncio.to_thread(a.ctl, "members", "remove", "docs", outlaw.key.public.hex())
        await asyncio.to_thread(until, lambda: not _connected(a), "the session to be over")
        assert await outlaw.close_code(connection) is not None
        stream.abort(0)


async def _push(
    outlaw: Rogue, connection: Connection, volume: VolumeId, envelopes: Sequence[Envelope], head: Head
) -> None:
    session = await outlaw.session(connection, volume)
    await session.send_records(0, envelopes, head)
    await session.in_step()


def _blobs(session: Session) -> list[bytes]:
    return [v.file.blob for records in session.records.values() for v in _versions(records) if v.file.blob]


def _versions(records: Mapping[bytes, Envelope]) -> list[pb.Version]:
    nodes = [pb.NodeRecord.FromString(e.payload) for key, e in records.items() if len(key) == 16]
    return [version for node in nodes for version in node.versions]


def _connected(a: Device) -> bool:
    return any(member["connected"] for member in a.json("members", "docs"))


def _standing(seen_by: Device, of: Device) -> str:
    (member,) = [m for m in seen_by.json("members", "docs") if m["device_id"] == of.device_id()]
    return "removed" if member["removed"] else str(member["role"])
