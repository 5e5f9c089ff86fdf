# SPDX-License-Identifier: GPL-3.0-or-later
"""Members with programs of their own that sign whatever they like: nobody else loses a right by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.signing import generate, make_certificate, sign_grant, sign_removed
from holofsd.codec.ticket import Invite, decode_ticket
from holofsd.core.credentials import grant_digest
from holofsd.core.document import Credentials, Role
from holofsd.core.ids import DeviceId
from support.device import Device, World
from support.rogue import Refusal, Rogue, Session, rogue
from support.trees import contents
from support.wait import until

T = TypeVar("T")
ODD = r"refused|credential|member|protocol|certif|removed|lie|invite"


async def off(call: Callable[..., T], *arguments: object) -> T:
    """A call that blocks, beside the rogue's loop."""
    return await asyncio.to_thread(call, *arguments)


@asynccontextmanager
async def _scene(world: World, *options: str) -> AsyncIterator[tuple[Device, Device, Rogue, Invite, Session]]:
    """Two honest devices that share a volume, and the rogue in session with the first one."""
    async with rogue() as intruder:
        a, b = await off(world.sharing, "a", "b")
        for device in (a, b):
            device.allowed += [ODD]
        ticket = await off(a.share, "docs", *options)
        await intruder.redeem(ticket)
        invite = decode_ticket(ticket)
        session = await intruder.session(await intruder.connect(invite), invite.volume)
        yield a, b, intruder, invite, session


async def _say(session: Session, credentials: Credentials) -> None:
    await session.send(pb.Frame(credentials=wire.to_credentials(credentials)))
    await session.in_step()


def _roles(device: Device) -> dict[str, str]:
    return {m["device_id"]: m["role"] for m in device.json("members", "docs") if not m.get("removed")}


def _lies(device: Device) -> set[str]:
    return {lie["what"] for lie in device.volume_status()["lies"]}


async def test_a_reader_that_makes_certificates_without_end_stops_neither_inviting_nor_removing(world: World) -> None:
    async with _scene(world, "--read-only") as (a, b, reader, invite, session):
        made = [make_certificate(generate(), reader.key, invite.volume) for _ in range(4090)]
        await _say(session, Credentials(certificates=tuple(made)))
        assert not session.over
        await off(until, lambda: any("certificates" in lie for lie in _lies(a)), "a to count what the reader did")
        c = await off(world.running, "c")
        await off(c[0].join, await off(a.share))
        await off(a.ctl, "members", "role", "docs", b.device_id(), "admin")
        await off(until, lambda: _roles(b).get(b.device_id()) == "admin", "b to be an admin")
        await off(until, lambda: reader.key.public.hex() in _roles(b), "b to know the reader")
        await off(b.ctl, "members", "remove", "docs", reader.key.public.hex())
        await off(until, lambda: reader.key.public.hex() not in _roles(a), "a to hear that the reader was removed")
        await off(until, lambda: set(_roles(a)) == set(_roles(b)) == set(_roles(c[0])), "all to know the same members")


async def test_a_junior_admin_cannot_take_the_last_generation(world: World) -> None:
    async with _scene(world, "--admin") as (a, b, admin, invite, session):
        owner = DeviceId(bytes.fromhex(a.device_id()))
        code = await off(lambda: a.ctl("recovery", "docs").out.strip())
        far = sign_removed(admin.key, invite.volume, owner, 2**62 - 1)
        friend = sign_grant(admin.key, invite.volume, DeviceId(generate().public), Role.ADMIN, 2**62 - 1, "friend")
        await _say(session, Credentials(grants=(friend,), removals=(far,)))
        assert len(await off(_roles, a)) == 3

        # The one that counts: the founder is out, comes back with the code, and undoes all that the other one did.
        guest = DeviceId(generate().public)
        await _say(session, Credentials(grants=(sign_grant(admin.key, invite.volume, guest, Role.WRITER, 1, "guest"),)))
        digests = [grant_digest(grant) for grant in admin.credentials.grants if grant.issuer == owner]
        await _say(session, Credentials(removals=(sign_removed(admin.key, invite.volume, owner, 255, (), digests),)))
        await off(until, lambda: a.device_id() not in _roles(b), "b to hear that a was removed")
        await off(lambda: a.ctl("recover", "-", stdin=code))
        await off(until, lambda: _roles(b).get(a.device_id()) == "admin", "b to hear that a is back")
        await off(a.ctl, "members", "remove", "docs", admin.key.public.hex(), "--undo")
        await off(until, lambda: set(_roles(b)) == {a.device_id(), b.device_id()}, "what the admin did to be undone")
        await off(a.down)
        await off(a.up)
        here, there = await off(a.mount), await off(b.mount)
        await off(here.joinpath("after all").write_bytes, b"fine")
        await off(until, lambda: contents(there) == {"after all": b"fine"}, "the two to go on")


async def test_a_removed_device_does_not_come_back_with_a_new_key_and_the_old_ticket(world: World) -> None:
    (a,) = await off(world.running, "a")
    a.allowed += [ODD]
    await off(a.create)
    many, kept = await off(a.share, "docs", "--uses", "0"), await off(a.share, "docs", "--uses", "7")
    listed = {invite["uses_left"]: invite["id"] for invite in a.json("share", "--list", "docs")}
    async with rogue() as first, rogue() as second, rogue() as again, rogue() as other:
        await first.redeem(many)
        told = await off(a.ctl, "members", "remove", "docs", first.key.public.hex())
        assert listed[0] in told.out + told.err
        assert listed[7] not in told.out + told.err
        with pytest.raises(Refusal, match="revoked"):
            await again.redeem(many)
        await second.redeem(kept)
        removed = await off(a.json, "members", "remove", "docs", second.key.public.hex(), "--keep-invites")
        assert not removed.get("revoked")
        await other.redeem(kept)
        assert set(_roles(a)) == {a.device_id(), other.key.public.hex()}


async def test_two_devices_that_were_told_different_certificates_go_on_together(world: World) -> None:
    async with _scene(world) as (a, b, writer, invite, session):
        ticket = await off(_ticket_of, a, b)
        to_b = await writer.session(await writer.connect(decode_ticket(ticket)), invite.volume)
        for told in (session, to_b):
            made = [make_certificate(generate(), writer.key, invite.volume) for _ in range(2500)]
            await _say(told, Credentials(certificates=tuple(made)))
        here, there = await off(a.mount), await off(b.mount)
        await off(here.joinpath("by a").write_bytes, b"a")
        await off(there.joinpath("by b").write_bytes, b"b")
        expected = {"by a": b"a", "by b": b"b"}
        await off(until, lambda: contents(here) == contents(there) == expected, "the two to go on")
        await off(b.down)
        await off(b.up)
        await off(here.joinpath("by a").write_bytes, b"again")
        await off(until, lambda: contents(there) == {**expected, "by a": b"again"}, "the two to meet again")
        await to_b.close()


def _ticket_of(a: Device, b: Device) -> str:
    """A ticket that tells where b is; nobody redeems it."""
    a.ctl("members", "docs", "role", b.device_id(), "admin")

    def share() -> str:
        result = b.ctl("share", "docs", check=False)
        return result.out.strip() if result.code == 0 else ""

    return until(share, "b to be an admin")
