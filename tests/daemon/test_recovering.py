# SPDX-License-Identifier: GPL-3.0-or-later
"""All admins are lost, and somebody has the recovery code; invites that are taken back."""

from __future__ import annotations

import pytest

from holofsd.core.document import Role
from holofsd.core.errors import (
    BadArgument,
    InviteUnknown,
    NotAMember,
    RecoveryInvalid,
    RecoveryUnknown,
    RoleTooLow,
    TicketRefused,
    Unreachable,
)
from holofsd.daemon.device import Device
from tests.daemon.test_device import World, eventually, join, pair, ticket_of, world

__all__ = ["pair", "world"]  # fixtures


def source(device: Device) -> str:
    return f"{device.identity().device_id}@{','.join(device._endpoint.addresses())}"


def role(device: Device, name: str = "docs") -> Role | None:
    return device._volumes.find(name).sync.role


async def test_a_member_becomes_an_admin_by_the_code_and_removes_the_lost_one(world: World) -> None:
    async with world.device("a") as a:
        await a.create_volume("docs")
        code = await a.recovery_code("docs", False)
        lost = a.identity().device_id
        async with world.device("b") as b:
            await join(b, await ticket_of(a, Role.READER))
            await eventually(lambda: b._volumes.find("docs").sync.is_connected(a._device))
    async with world.device("b") as b:
        with pytest.raises(RoleTooLow):
            await b.share("docs", Role.WRITER, 1, 3600)
        assert (await b.recover(code, "", ())).role == Role.ADMIN
        assert await b.recovery_code("docs", False) == code
        assert (await b.set_member("docs", lost, None)).removed
        ticket = await ticket_of(b)
        async with world.device("c") as c:
            await join(c, ticket)
            assert role(c) == Role.WRITER
        # The lost one turns up again: nobody listens to it, and it hears why.
        world.network.discovery = True
        async with world.device("a") as a:
            await eventually(lambda: role(a) is None)
            with pytest.raises(NotAMember):
                await a.share("docs", Role.WRITER, 1, 3600)


async def test_a_new_device_becomes_an_admin_by_the_code_from_any_member(world: World) -> None:
    async with world.device("a") as a, world.device("b") as b:
        await a.create_volume("docs")
        code = await a.recovery_code("docs", False)
        await join(b, await ticket_of(a, Role.READER))
        await eventually(lambda: b._volumes.find("docs").sync.is_connected(a._device))
    async with world.device("b") as b, world.device("new") as new:
        for missing in ({"name": ""}, {"sources": ()}, {"sources": ("somebody",)}, {"name": "a/b"}):
            arguments = {"name": "docs", "sources": (source(b),), **missing}
            with pytest.raises(BadArgument):
                await new.recover(code, **arguments)  # type: ignore[arg-type]
        assert await new.list_volumes() == ()
        volume = await new.recover(code, "papers", ("aa" * 32, source(b)))
        assert (volume.name, volume.role, volume.state) == ("papers", Role.ADMIN, "ready")
        await eventually(lambda: b._volumes.find("docs").sync.is_connected(new._device))
        await eventually(lambda: new._volumes.find("papers").sync.is_connected(b._device))
        assert [m.name for m in await new.members("papers")] == ["new", "a", "b"]
        assert (await new.set_member("papers", "b", Role.WRITER)).role == Role.WRITER
        await eventually(lambda: role(b) == Role.WRITER)


async def test_a_device_that_was_removed_comes_back_by_the_code(world: World) -> None:
    async with world.device("a") as a, world.device("b") as b:
        await a.create_volume("docs")
        code = await a.recovery_code("docs", False)
        await join(b, await ticket_of(a))
        await eventually(lambda: b._volumes.find("docs").sync.is_connected(a._device))
        await a.set_member("docs", "b", None)
        await eventually(lambda: role(b) is None)
        await b.leave("docs", True)
        await b.recover(code, "docs", (source(a),))
        assert role(b) == Role.ADMIN
        await eventually(lambda: a._volumes.find("docs").sync.membership.roles.get(b._device) == Role.ADMIN)


async def test_nobody_to_ask_leaves_nothing_behind(world: World) -> None:
    async with world.device("a") as a, world.device("b") as b, world.device("new") as new:
        await a.create_volume("docs")
        code = await a.recovery_code("docs", False)
        with pytest.raises(Unreachable):
            await new.recover(code, "docs", (source(b),))  # b does not hold it
        with pytest.raises(RecoveryInvalid):
            await new.recover(code[:-3], "docs", (source(a),))
        with pytest.raises(BadArgument):
            await new.recover(code, "docs", (f"{a.identity().device_id}@",))
        assert await new.list_volumes() == ()


async def test_a_code_that_was_forgotten_is_not_shown_again(pair: tuple[Device, Device]) -> None:
    a, b = pair
    await a.create_volume("docs")
    await join(b, await ticket_of(a, Role.ADMIN))
    with pytest.raises(RecoveryUnknown):
        await b.recovery_code("docs", False)
    code = await a.recovery_code("docs", True)
    with pytest.raises(RecoveryUnknown):
        await a.recovery_code("docs", False)
    await a.recover(code, "", ())
    assert await a.recovery_code("docs", False) == code


async def test_invites_are_listed_and_revoked_one_by_one(pair: tuple[Device, Device]) -> None:
    a, b = pair
    await a.create_volume("docs")
    tickets = {role: await ticket_of(a, role) for role in Role}
    listed = sorted(await a.invites("docs"), key=lambda invite: invite.role)
    assert [invite.role for invite in listed] == list(Role)
    assert all(invite.uses_left == 1 and invite.expires_at_ms > invite.made_at_ms for invite in listed)
    assert all(invite.id not in ticket for invite in listed for ticket in tickets.values())
    with pytest.raises(InviteUnknown):
        await a.revoke_invite("docs", "feed")
    (revoked,) = await a.revoke_invite("docs", listed[0].id[:8])
    assert revoked.role == Role.READER
    assert len(await a.invites("docs")) == 2
    with pytest.raises(TicketRefused, match="revoked"):
        await join(b, tickets[Role.READER])
    await join(b, tickets[Role.WRITER])
    assert [invite.role for invite in await a.invites("docs")] == [Role.ADMIN]
    assert len(await a.revoke_invite("docs", "all")) == 1
    assert await a.revoke_invite("docs", "all") == ()


async def test_the_only_admin_leaves_nobody_without_one(pair: tuple[Device, Device]) -> None:
    a, b = pair
    await a.create_volume("alone")
    await a.leave("alone", True)
    await a.create_volume("docs")
    await join(b, await ticket_of(a))
    with pytest.raises(RoleTooLow, match="only admin"):
        await a.leave("docs", True)
    assert role(a) == Role.ADMIN
    code = await a.recovery_code("docs", True)
    await a.leave("docs", True)
    await b.recover(code, "", ())
    await b.set_member("docs", a.identity().device_id, Role.READER)
    with pytest.raises(RoleTooLow, match="only admin"):
        await b.leave("docs", True)
