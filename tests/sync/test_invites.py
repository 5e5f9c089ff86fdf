# SPDX-License-Identifier: GPL-3.0-or-later
"""Invites let in whoever holds one, as often and as long as they say, and nobody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holofsd.codec.signing import generate
from holofsd.codec.ticket import decode_ticket
from holofsd.core.document import Role
from holofsd.core.errors import RoleTooLow, TicketRefused, Unreachable
from holofsd.core.ids import VolumeId
from holofsd.sync import invites
from holofsd.sync.invites import LastingRefusal, SlowDown, redeem
from tests.sync.devices import devices, settled, share, until

DAY_MS = 24 * 3600 * 1000


@pytest.mark.parametrize("role", list(Role))
async def test_a_ticket_gives_the_role_it_says(tmp_path: Path, role: Role) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob, role=role)
        assert bob.sync.role == role
        assert ann.sync.membership.roles[bob.id] == role
        assert ann.sync.members.name_of(bob.id) == "bob"
        assert bob.sync.can_write == (role != Role.READER)


async def test_a_ticket_works_once(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        ann.create()
        ticket = ann.ticket()
        await bob.join(ticket)
        with pytest.raises(LastingRefusal, match="used already"):
            await cid.join(ticket)
        assert not ann.sync.members.is_member(cid.id)


async def test_asking_again_with_the_same_ticket_gives_the_same_answer_and_uses_nothing(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        ann.create()
        invite = decode_ticket(ann.ticket(uses=2))
        first = await redeem(bob.endpoint, invite, "bob")
        assert (await redeem(bob.endpoint, invite, "bob")).credentials == first.credentials
        await redeem(cid.endpoint, invite, "cid")
        assert sorted(ann.sync.membership.names.values()) == ["ann", "bob", "cid"]


async def test_a_ticket_without_limit_lets_in_everybody(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", "dan") as (ann, *others):
        ann.create()
        ticket = ann.ticket(uses=0, expires_seconds=0)
        for other in others:
            await other.join(ticket)
        assert len(ann.sync.membership.roles) == 4


async def test_an_expired_ticket_is_refused(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        ann.create()
        ticket = ann.ticket()
        ann.clock_off_ms = DAY_MS + 1
        with pytest.raises(LastingRefusal, match="expired"):
            await bob.join(ticket)


async def test_a_revoked_ticket_is_refused(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        ann.create()
        ticket = ann.ticket()
        assert len(ann.hub.inviter.outstanding(ann.sync.id)) == 1
        assert len(ann.hub.inviter.revoke(ann.sync.id, "all")) == 1
        assert ann.hub.inviter.outstanding(ann.sync.id) == []
        with pytest.raises(LastingRefusal, match="revoked"):
            await bob.join(ticket)


async def test_a_guess_is_refused_whether_or_not_the_volume_is_there(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        ann.create()
        invite = decode_ticket(ann.ticket())
        for guess in (replace(invite, secret=b"0" * 16), replace(invite, volume=VolumeId(generate().public))):
            with pytest.raises(LastingRefusal, match="does not know it"):
                await redeem(bob.endpoint, guess, "bob")
        assert not ann.sync.members.is_member(bob.id)


async def test_guessing_is_slowed_down_and_a_good_ticket_is_good_all_the_same(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        ann.create()
        invite = decode_ticket(ann.ticket())
        for _ in range(invites.ATTEMPTS):
            with pytest.raises(LastingRefusal):
                await redeem(bob.endpoint, replace(invite, secret=b"0" * 16), "bob")
        with pytest.raises(TicketRefused, match="Too many attempts") as refusal:
            await redeem(bob.endpoint, replace(invite, secret=b"0" * 16), "bob")
        assert not isinstance(refusal.value, LastingRefusal)
        await redeem(bob.endpoint, invite, "bob")
        assert ann.sync.members.is_member(bob.id)


def test_failures_are_forgotten_after_a_minute_and_counted_for_a_bounded_number_of_addresses() -> None:
    slow_down = SlowDown()
    for _ in range(invites.ATTEMPTS):
        slow_down.failed("1.2.3.4", now=100.0)
    assert slow_down.blocked("1.2.3.4", now=159.0)
    assert not slow_down.blocked("1.2.3.4", now=161.0)
    assert not slow_down.blocked("4.3.2.1", now=100.0)
    for number in range(2 * invites.MAX_ADDRESSES_WATCHED):
        slow_down.failed(str(number), now=100.0)
    assert len(slow_down._failures) <= invites.MAX_ADDRESSES_WATCHED


async def test_only_an_admin_can_share(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob, role=Role.WRITER)
        with pytest.raises(RoleTooLow):
            bob.ticket()


async def test_a_ticket_of_somebody_who_is_no_admin_any_more_is_refused(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, role=Role.ADMIN)
        await settled(ann, bob)
        ticket = bob.ticket()
        ann.sync.set_member(bob.id, Role.WRITER)
        await until(lambda: bob.sync.role == Role.WRITER)
        with pytest.raises(LastingRefusal):
            await cid.join(ticket)


async def test_a_second_admin_can_let_somebody_in_whom_the_first_then_knows(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, role=Role.ADMIN)
        await cid.join(bob.ticket())
        cid.write("from cid", b"hello")
        await until(lambda: ann.files() == {"from cid": b"hello"})
        await settled(ann, bob, cid)


async def test_a_ticket_never_lowers_a_role(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob, role=Role.ADMIN)
        await redeem(bob.endpoint, decode_ticket(ann.ticket(Role.READER)), "bob")
        assert ann.sync.membership.roles[bob.id] == Role.ADMIN


async def test_an_issuer_that_is_away_is_said_to_be_away(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        ann.create()
        ticket = ann.ticket()
        await ann.down()
        with pytest.raises(Unreachable):
            await bob.join(ticket)


async def test_secrets_show_in_no_representation(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann") as (ann,):
        ann.create()
        issued = ann.hub.inviter.make(ann.sync.id, Role.WRITER, "Photos", [])
        assert issued.ticket not in repr(issued)
        assert decode_ticket(issued.ticket).secret.hex() not in repr(decode_ticket(issued.ticket))
