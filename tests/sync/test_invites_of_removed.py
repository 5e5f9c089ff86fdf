# SPDX-License-Identifier: GPL-3.0-or-later
"""A device that was removed does not come back with a ticket that it has redeemed before."""

from __future__ import annotations

from pathlib import Path

import pytest

from holofsd.codec.ticket import decode_ticket
from holofsd.core.document import Role
from holofsd.sync.invites import LastingRefusal, redeem
from tests.sync.devices import Device, devices, settled, share, until


async def comes_back(as_whom: Device, ticket: str) -> bool:
    """The one who was removed, with a new key."""
    try:
        await redeem(as_whom.endpoint, decode_ticket(ticket), "new")
    except LastingRefusal:
        return False
    return True


async def test_the_ticket_of_a_removed_device_lets_in_nobody_any_more(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", "new") as (ann, bob, cid, new):
        ann.create()
        ticket, other = ann.ticket(uses=0), ann.ticket(uses=5)
        await bob.join(ticket)
        await cid.join(other)
        assert len(ann.hub.inviter.redeemed_by(ann.sync.id, bob.id)) == 1
        ann.sync.remove_member(bob.id)
        assert [row.uses_left for row in ann.hub.inviter.outstanding(ann.sync.id)] == [4]
        assert not await comes_back(new, ticket)
        with pytest.raises(LastingRefusal, match="used"):
            await redeem(bob.endpoint, decode_ticket(ticket), "bob")
        assert await comes_back(new, other)
        # Let in again by another ticket, its old one stays worth nothing, also after a restart.
        await redeem(bob.endpoint, decode_ticket(ann.ticket()), "bob")
        assert ann.sync.members.is_member(bob.id)
        await ann.restart()
        assert [row.uses_left for row in ann.hub.inviter.outstanding(ann.sync.id)] == [3]


async def test_a_ticket_made_on_another_device_is_revoked_there_when_that_hears_of_the_removal(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", "new") as (ann, bob, cid, new):
        await share(ann, bob, role=Role.ADMIN)
        await settled(ann, bob)
        ticket = bob.ticket(uses=0)
        await cid.join(ticket)
        await until(lambda: ann.sync.members.is_member(cid.id))
        await bob.down()  # it hears of it when it is back, and is asked for a membership at once
        ann.sync.remove_member(cid.id)
        await bob.up()
        await until(lambda: not bob.sync.members.is_member(cid.id))
        assert bob.hub.inviter.outstanding(bob.sync.id) == []
        assert not await comes_back(new, ticket)


async def test_an_invite_is_kept_where_a_person_says_so_and_another_removal_revokes_it(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", "new") as (ann, bob, cid, new):
        ann.create()
        ticket = ann.ticket(uses=0)
        await bob.join(ticket)
        await cid.join(ticket)
        with ann.hub.inviter.keeping(ann.sync.id, bob.id):
            ann.sync.remove_member(bob.id)
        await ann.restart()
        assert await comes_back(new, ticket)
        ann.sync.remove_member(cid.id)
        assert ann.hub.inviter.outstanding(ann.sync.id) == []


async def test_a_ticket_that_is_worth_more_than_a_lowered_role_is_revoked(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "new") as (ann, bob, new):
        ann.create()
        admin, reader = ann.ticket(Role.ADMIN, uses=0), ann.ticket(Role.READER, uses=0)
        await bob.join(reader)
        await redeem(bob.endpoint, decode_ticket(admin), "bob")
        assert ann.sync.membership.roles[bob.id] is Role.ADMIN
        ann.sync.set_member(bob.id, Role.WRITER)
        assert not await comes_back(new, admin)
        assert await comes_back(new, reader)


async def test_an_invite_that_a_device_removed_long_ago_knows_is_revoked_at_the_next_start(tmp_path: Path) -> None:
    """State as after an upgrade, or a crash between the removal and the revoking."""
    async with devices(tmp_path, "ann", "bob", "new") as (ann, bob, new):
        ann.create()
        ticket = ann.ticket(uses=0)
        await bob.join(ticket)
        ann.sync.remove_member(bob.id)
        with ann.devices.db.transaction():
            ann.devices.db.run("UPDATE invites SET revoked=0")
        assert ann.hub.inviter.outstanding(ann.sync.id) == []  # refused all the same
        await ann.restart()
        assert all(row.revoked for row in ann.devices.invites(ann.sync.id))
        assert not await comes_back(new, ticket)
