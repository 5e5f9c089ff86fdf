# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles are given and taken back, and everybody acts on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from holofsd.core.document import Role
from holofsd.core.errors import DeviceUnknown, RoleTooLow
from holofsd.core.ids import DeviceId
from tests.sync.devices import devices, settled, share, until


async def test_a_removed_member_gets_nothing_more_and_is_told_why(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        bob.write("by bob", b"kept")
        await settled(ann, bob, cid)
        ann.sync.remove_member(bob.id)
        await until(lambda: bob.sync.role is None, "bob learns that it was removed")
        await until(lambda: not cid.sync.members.is_member(bob.id))
        await until(lambda: not ann.sync.is_connected(bob.id) and not cid.sync.is_connected(bob.id))
        ann.write("later", b"not for bob")
        await settled(ann, cid)
        assert cid.files() == {"by bob": b"kept", "later": b"not for bob"}
        assert bob.files() == {"by bob": b"kept"}
        assert any("not a member" in warning for warning in bob.sync.status().warnings)


async def test_what_a_removed_member_writes_afterwards_does_not_count(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid)
        bob.write("before", b"1")
        await settled(ann, bob, cid)
        # cid does not hear of the removal and still talks to bob; ann hears of bob's work through cid alone.
        ann.network.partition(ann.id, bob.id)
        ann.network.partition(ann.id, cid.id)
        ann.sync.remove_member(bob.id)
        bob.write("after", b"2")
        await until(lambda: cid.files().get("after") == b"2")
        ann.network.heal(ann.id, cid.id)
        await until(lambda: cid.sync.members.name_of(bob.id) == "bob" and not cid.sync.members.is_member(bob.id))
        cid.write("by cid", b"3")
        await until(lambda: ann.files().get("by cid") == b"3")
        assert "after" not in ann.files()
        assert ann.sync.violations == {}


async def test_a_removed_member_can_be_invited_again(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        ann.sync.remove_member(bob.id)
        await until(lambda: bob.sync.role is None)
        bob.write("while out", b"mine")
        ticket = ann.ticket()
        await bob.hub.remove(bob.sync.id)
        bob.store.close()
        await bob.join(ticket)
        assert bob.sync.role == Role.WRITER
        await until(lambda: ann.files() == {"while out": b"mine"})
        await settled(ann, bob)


async def test_a_writer_that_becomes_a_reader_stops_publishing_and_goes_on_when_it_may_again(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        bob.write("first", b"1")
        await settled(ann, bob)
        changes: list[object] = []
        bob.sync.on_role_change(lambda: changes.append(bob.sync.role))
        ann.sync.set_member(bob.id, Role.READER)
        await until(lambda: bob.sync.role == Role.READER)
        bob.write("second", b"2")
        ann.write("from ann", b"3")
        await until(lambda: bob.files().get("from ann") == b"3")
        assert "second" not in ann.files()
        ann.sync.set_member(bob.id, Role.WRITER)
        await until(lambda: ann.files().get("second") == b"2")
        await settled(ann, bob)
        assert changes == [Role.READER, Role.WRITER]


async def test_a_reader_that_becomes_a_writer_gets_a_certificate(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob, role=Role.READER)
        await until(lambda: ann.sync.is_connected(bob.id))
        assert bob.volume.author not in ann.sync.membership.authors
        ann.sync.set_member(bob.id, Role.WRITER)
        await until(lambda: bob.sync.can_write)
        bob.write("now", b"1")
        await until(lambda: ann.files() == {"now": b"1"})


async def test_only_an_admin_changes_members_and_the_last_admin_stays(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        with pytest.raises(RoleTooLow):
            bob.sync.remove_member(ann.id)
        with pytest.raises(RoleTooLow, match="last admin"):
            ann.sync.remove_member(ann.id)
        with pytest.raises(RoleTooLow, match="last admin"):
            ann.sync.set_member(ann.id, Role.READER)
        with pytest.raises(DeviceUnknown):
            ann.sync.remove_member(DeviceId(b"n" * 32))


async def test_whom_a_removed_admin_let_in_stays(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, role=Role.ADMIN)
        await cid.join(bob.ticket())
        await until(lambda: ann.sync.members.is_member(cid.id))
        ann.sync.remove_member(bob.id)
        cid.write("still here", b"1")
        await until(lambda: ann.files() == {"still here": b"1"})
