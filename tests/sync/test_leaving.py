# SPDX-License-Identifier: GPL-3.0-or-later
"""A device that left a volume is no safe copy of it: it says so, and whoever hears of it passes it on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.ticket import decode_ticket
from holofsd.core.document import Credentials
from holofsd.core.errors import ConnectionLost
from holofsd.net.api import CloseCode
from holofsd.sync import frames
from holofsd.sync.create import prepare_joined
from holofsd.sync.invites import redeem
from tests.sync.devices import Device, devices, share, until
from tests.sync.rawpeer import RawPeer


async def safe_on(device: Device, copies: int) -> None:
    await asyncio.wait_for(device.wait_copies(copies), 30)


def left(device: Device, about: Device) -> bool:
    return next(found.left for found in device.sync.status().devices if found.device == about.id)


async def share_file(founder: Device, *others: Device) -> None:
    """A volume with a file that all of them hold, and the founder knows it."""
    await share(founder, *others)
    founder.write("file", b"1")
    await safe_on(founder, len(others))


async def test_a_device_that_leaves_says_so_to_whoever_is_connected(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share_file(ann, bob)
        await bob.leave()
        await until(lambda: left(ann, bob), "ann to have heard it")
        assert ann.sync.copies() == 0
        assert not ann.sync.status().devices[0].complete
        assert ann.sync.members.is_member(bob.id)
        await ann.restart()
        assert ann.sync.copies() == 0
        assert left(ann, bob)


async def test_whoever_was_away_hears_of_it_from_others(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share_file(ann, bob, cid)
        ann.network.partition(ann.id, bob.id)
        await bob.leave()
        await until(lambda: left(ann, bob), "the other member to pass it on")
        assert ann.sync.copies() == 1


async def test_whoever_was_away_hears_of_it_when_it_asks(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share_file(ann, bob)
        await ann.down()
        await bob.leave()
        await bob.restart()
        await ann.up()
        assert ann.sync.copies() == 1, "an absent device goes on counting"
        await until(lambda: left(ann, bob), "the device that left to say so")
        assert ann.sync.copies() == 0
        assert not ann.sync.violations


async def test_a_device_that_joins_again_counts_again_whatever_its_clock_says(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share_file(ann, bob)
        await bob.leave()
        await until(lambda: ann.sync.copies() == 0, "ann to have heard it")
        bob.clock_off_ms = -3_600_000
        await bob.join(ann.ticket())
        await safe_on(ann, 1)
        assert not left(ann, bob)
        ann.write("file", b"2")
        await safe_on(ann, 1)


async def test_a_program_of_earlier_that_left_refuses_and_counts_no_more(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share_file(ann, bob)
        await bob.hub.remove(bob.sync.id)  # without a word
        await until(lambda: ann.sync.copies() == 0, "the refusal to count")
        await bob.restart()
        await safe_on(ann, 1)  # it was met again, so it had not left


async def test_a_device_that_was_met_while_it_joined_had_not_left(tmp_path: Path) -> None:
    """A device refuses until it has the volume, and what it holds then may be known from others alone."""
    async with devices(tmp_path, "ann", "bob", "cid") as (ann, bob, cid):
        await share(ann, bob)
        ann.network.partition(bob.id, cid.id)
        joined = await redeem(cid.endpoint, decode_ticket(ann.ticket()), cid.name)
        await until(lambda: cid.hub.refused >= 2, "ann to have been refused, and to try again")
        ann.network.partition(ann.id, cid.id)
        ann.network.heal(bob.id, cid.id)
        cid.hold(prepare_joined(cid.directory(joined.volume), joined.volume, joined.credentials, cid.key))
        ann.write("file", b"1")
        await safe_on(ann, 2)


async def test_a_stranger_hears_nothing_of_a_volume_that_was_left(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        volume, chain = bob.sync.id, ann.sync.members.proof(bob.id)
        await bob.leave()
        raw = RawPeer(ann.network, "stranger")
        for shown in (Credentials(), chain):
            stream = await (await raw.connect(bob.id)).open_stream()
            await stream.send(frames.hello(volume, pb.PURPOSE_SESSION, shown, "stranger", 0))
            with pytest.raises(ConnectionLost):
                await stream.receive()
            assert raw.connection is not None
            end = await raw.connection.wait_closed()
            assert (end.by_peer, end.code) == (True, CloseCode.REFUSED)
