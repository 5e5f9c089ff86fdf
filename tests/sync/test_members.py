# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles are given and taken back, and everybody acts on it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from holofsd.codec.signing import SigningKey
from holofsd.core.document import Role
from holofsd.core.errors import DeviceUnknown, RoleTooLow
from holofsd.core.ids import AuthorId, DeviceId
from holofsd.sync import frames
from tests.sync.devices import Device, devices, settled, share, until


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


@pytest.mark.parametrize("before", [b"1", b"changed"])
async def test_what_somebody_merged_before_hearing_of_the_removal_becomes_its_own_word(
    before: bytes, tmp_path: Path
) -> None:
    async with devices(tmp_path, "ann", "bob", "cid", "dan") as (ann, bob, cid, dan):
        await share(ann, bob, cid)
        bob.write("before", b"1")
        await settled(ann, bob, cid)
        # cid does not hear of the removal and still talks to bob; ann hears of bob's work through cid alone.
        ann.network.partition(ann.id, bob.id)
        ann.network.partition(ann.id, cid.id)
        ann.sync.remove_member(bob.id)
        node = bob.write("after", b"2")
        if before != b"1":
            bob.write("before", before)
        expected = {"after": b"2", "before": before}
        await until(lambda: cid.files() == expected)
        ann.network.heal(ann.id, cid.id)
        await until(lambda: cid.sync.members.was_removed(bob.id))
        bob.write("much later", b"3")
        # Nothing merged is un-merged: cid says it in its own name, and everybody shows the same.
        await until(lambda: ann.files() == cid.files() == expected)
        bobs = bob.volume.author
        if before == b"1":
            assert ann.heads()[bobs] < cid.heads()[bobs]
        else:  # cid cannot tell that it had what counts: that was replaced
            await until(lambda: ann.heads()[bobs] == cid.heads()[bobs])
        assert ann.sync.violations == {}
        await dan.join(ann.ticket())
        await until(lambda: dan.files() == expected)
        await until(lambda: dan.heads().get(bobs) == ann.heads()[bobs], "dan to have what counts of bob, and no more")
        # Said once: it is not said again at the next start.
        said = cid.store.documents.envelope(cid.volume.author, node)
        await cid.restart()
        await until(lambda: cid.sync.is_connected(ann.id))
        await settled_but_for(bobs, ann, cid, dan)
        assert cid.store.documents.envelope(cid.volume.author, node) == said


async def settled_but_for(author: AuthorId, *devices: Device) -> None:
    """A removed device's author may differ: what it said is in other authors' records."""

    def agreed() -> bool:
        heads = [{a: head for a, head in device.heads().items() if a != author} for device in devices]
        return all(device.is_settled() for device in devices) and all(head == heads[0] for head in heads)

    await until(agreed, "the devices to agree")


async def test_what_a_removed_device_sends_to_those_who_know_is_never_taken(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob)
        await cid.join(ann.ticket(Role.READER))
        bob.write("before", b"1")
        await settled(ann, bob, cid)
        # cid, a reader that has not heard, takes it in and offers it to ann, who has; it cannot say it as its own.
        ann.network.partition(ann.id, bob.id)
        ann.network.partition(ann.id, cid.id)
        ann.sync.remove_member(bob.id)
        bob.write("after", b"2")
        await until(lambda: cid.files().get("after") == b"2")
        ann.network.heal(ann.id, cid.id)
        await until(lambda: cid.sync.members.was_removed(bob.id))
        ann.write("by ann", b"3")
        await until(lambda: cid.files().get("by ann") == b"3")
        assert ann.files() == {"before": b"1", "by ann": b"3"}
        assert ann.sync.violations == {}


async def test_a_member_removed_while_it_was_away_is_told_when_it_is_back(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        await bob.down()
        ann.sync.remove_member(bob.id)
        await bob.up()
        await until(lambda: bob.sync.role is None, "bob to hear of it")
        await until(lambda: not bob.hub._links and not ann.hub._links, "both to hang up")
        assert ann.hub.volumes_shared_with(bob.id) == []


async def test_an_admin_that_goes_on_from_an_old_backup_hears_of_a_removal_from_whom_it_removed(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        await ann.back_up(tmp_path / "backup")
        ann.sync.remove_member(bob.id)
        await until(lambda: bob.sync.role is None, "bob to hear of it")
        await ann.put_back(tmp_path / "backup")
        await ann.up()
        assert ann.sync.members.is_member(bob.id)
        await until(lambda: ann.sync.members.was_removed(bob.id), "ann to hear of it again")
        await bob.join(ann.ticket())
        await until(lambda: bob.sync.role == Role.WRITER, "bob to be let in again")


async def test_a_device_whose_removal_became_void_is_a_member_again(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, cid)
        await bob.join(ann.ticket(Role.ADMIN))
        await settled(ann, bob, cid)
        # bob removes cid; ann, who is senior, removes bob before she hears of it: bob's word does not count any more.
        ann.network.partition(ann.id, bob.id)
        ann.network.partition(ann.id, cid.id)
        bob.sync.remove_member(cid.id)
        await until(lambda: cid.sync.role is None, "cid to hear of it")
        ann.sync.remove_member(bob.id)
        ann.network.heal(ann.id, bob.id)
        ann.network.heal(ann.id, cid.id)
        await until(lambda: cid.sync.role == Role.WRITER, "cid to hear that it is a member")
        cid.write("by cid", b"1")
        await settled(ann, cid)


async def test_what_did_not_count_for_a_while_counts_on_its_own_device_too(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.write("file", b"1")
        await settled(ann, bob)
        ann.network.partition(ann.id, bob.id)
        bob.remove("file")
        await until(lambda: bob.is_settled(), "bob to publish that")
        ann.sync.set_member(bob.id, Role.READER)
        node = ann.write("file", b"2")
        ann.network.heal(ann.id, bob.id)
        await until(lambda: bob.files() == {"file": b"2"}, "bob to see that its removal does not count")
        ann.sync.set_member(bob.id, Role.WRITER)
        await settled(ann, bob)
        await until(lambda: bob.volume.tree.state(node) == ann.volume.tree.state(node), "both to know the same")
        assert bob.sync.status().quarantine_reasons == {}


async def test_a_removal_beats_a_change_of_role_made_at_the_same_time(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob)
        await cid.join(ann.ticket(Role.ADMIN))
        await settled(ann, bob, cid)
        ann.network.partition(ann.id, cid.id)
        cid.sync.set_member(bob.id, Role.ADMIN)
        ann.sync.remove_member(bob.id)
        ann.network.heal(ann.id, cid.id)
        await until(lambda: ann.sync.membership.generations == cid.sync.membership.generations)
        assert ann.sync.members.was_removed(bob.id)
        assert cid.sync.members.was_removed(bob.id)


async def test_two_removals_and_an_invitation_at_once_end_alike_everywhere(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob)
        await cid.join(ann.ticket(Role.ADMIN))
        bob.write("by bob", b"1")
        await settled(ann, bob, cid)
        ann.network.partition(ann.id, cid.id)
        ann.sync.remove_member(bob.id)
        cid.sync.remove_member(bob.id)
        await until(lambda: bob.sync.role is None)
        ticket = cid.ticket()
        await bob.hub.remove(bob.sync.id)
        bob.store.close()
        await bob.join(ticket)
        ann.network.heal(ann.id, cid.id)
        await until(lambda: ann.sync.members.is_member(bob.id), "ann to hear that bob is back")
        bob.write("back", b"2")
        await settled(ann, bob, cid)
        assert ann.files() == {"by bob": b"1", "back": b"2"}


async def test_whoever_does_not_listen_is_closed_all_the_same(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        session = ann.sync.sessions[bob.id]

        async def blocked(frame: bytes) -> None:
            await asyncio.sleep(3600)

        session.stream.send = blocked  # type: ignore[method-assign]
        ann.sync.remove_member(bob.id)
        await until(lambda: not ann.sync.is_connected(bob.id))


async def test_an_admin_by_the_recovery_code_outranks_the_others(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob, cid, role=Role.READER)
        await settled(ann, bob, cid)
        key = SigningKey(ann.secret)
        bob.sync.members.recover(key, "bob")
        bob.sync.members.volume_key = key
        await until(lambda: ann.sync.membership.roles.get(bob.id) == Role.ADMIN)
        # ann's device is in wrong hands: it removes bob at the same moment as bob removes it.
        ann.network.partition(ann.id, bob.id)
        ann.network.partition(ann.id, cid.id)
        ann.network.partition(bob.id, cid.id)
        ann.sync.remove_member(bob.id)
        bob.sync.remove_member(ann.id)
        ann.network.heal(ann.id, cid.id)
        ann.network.heal(bob.id, cid.id)
        await until(lambda: ann.sync.role is None)
        await until(lambda: bob.sync.role == cid.sync.membership.roles.get(bob.id) == Role.ADMIN, "all to agree")


async def test_a_removed_device_that_is_in_the_middle_of_a_file_gets_no_more_of_it(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        await settled(ann, bob)
        large = os.urandom(1 << 20) * 24
        served: list[int] = []
        sent = frames.blob

        def counted(number: int, data: bytes, end: bool, size: int) -> bytes:
            served.append(len(data))
            if len(served) == 2:
                ann.sync.remove_member(bob.id)
            return sent(number, data, end, size)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(frames, "blob", counted)
            ann.write("film", large)
            await until(lambda: bob.sync.role is None)
            await until(lambda: not ann.sync.is_connected(bob.id) and not ann.hub._links)
        assert sum(served) < len(large) / 2
        assert bob.files().get("film") is None


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
