# SPDX-License-Identifier: GPL-3.0-or-later
"""More connections for content: opened where they help, closed afterwards, and nothing that a stranger could use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.ticket import decode_ticket
from holofsd.core.errors import ConnectionLost
from holofsd.core.ids import DeviceId
from holofsd.net.api import CONTENT_ALPN, JOIN_ALPN, SESSION_ALPN, CloseCode, Connection
from holofsd.net.fake import FakeEndpoint, FakeNetwork
from holofsd.sync import frames
from holofsd.sync.config import BLOB_FRAME
from holofsd.sync.invites import redeem
from holofsd.sync.line_count import STEPS
from tests.sync.devices import QUICK, Device, devices, settled, share, until
from tests.sync.rawpeer import Author, RawPeer

FAR = 0.02
"""Seconds that a piece of data travels: a stream then brings so many files a second, and no more."""
LOOKS_OFTEN = replace(QUICK, content_window=0.15, content_rest=0.3)
LARGE = BLOB_FRAME + 1
"""Bytes of a file that a stream brings by itself."""


class OfEarlierPrograms(FakeNetwork):
    """Network on which nobody answers to connections for content."""

    def endpoint(self, device: DeviceId, alpns: Sequence[bytes] = (SESSION_ALPN, JOIN_ALPN)) -> FakeEndpoint:
        return super().endpoint(device, alpns)


def connections(device: Device, other: Device) -> int:
    """Connections for content that the device opened."""
    link = device.hub._links.get(other.id)
    return link.content.more if link is not None else 0


async def fetched(ann: Device, bob: Device, count: int, label: str) -> int:
    """The most connections that bob opened while he got so many files from ann."""
    ann.network.partition(ann.id, bob.id, notice=True)
    for number in range(count):
        ann.write(f"{label} {number}", os.urandom(LARGE))
    ann.network.heal(ann.id, bob.id)
    most = 0

    def are_here() -> bool:
        nonlocal most
        most = max(most, connections(bob, ann))
        return len(
            [name for name in bob.files() if name.startswith(label)]
        ) == count and bob.store.content.missing() == (0, 0)

    await until(are_here, "all content")
    return most


async def test_much_content_from_far_away_comes_over_more_connections_which_are_closed_then(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", network=FakeNetwork(), config=LOOKS_OFTEN) as (ann, bob):
        await share(ann, bob)
        ann.network.weather = replace(ann.network.weather, delay=(FAR, FAR))
        assert await fetched(ann, bob, 120, "far") >= STEPS[1]
        await until(lambda: connections(bob, ann) == 0, "the connections to be closed")
        assert await fetched(ann, bob, 1, "one more") == 0


async def test_a_program_that_knows_only_one_connection_gets_everything_over_that(tmp_path: Path) -> None:
    network = OfEarlierPrograms()
    async with devices(tmp_path, "ann", "bob", network=network, config=LOOKS_OFTEN) as (ann, bob):
        await share(ann, bob)
        network.weather = replace(network.weather, delay=(FAR, FAR))
        assert await fetched(ann, bob, 60, "far") == 0


async def test_what_is_fetched_goes_on_where_a_connection_breaks(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", network=FakeNetwork(), config=LOOKS_OFTEN) as (ann, bob):
        await share(ann, bob)
        ann.network.weather = replace(ann.network.weather, delay=(FAR, FAR))
        ann.network.partition(ann.id, bob.id, notice=True)
        for number in range(120):
            ann.write(f"far {number}", os.urandom(LARGE))
        ann.network.heal(ann.id, bob.id)
        await until(lambda: connections(bob, ann) >= STEPS[1])
        link = bob.hub._links[ann.id]
        broken = list(link.content._more.values())[:2]
        for connection in broken:
            connection.close(CloseCode.LOST)
        await settled(ann, bob)
        assert link.connection is bob.hub._links[ann.id].connection, "that of the sessions is still the same"


async def test_they_end_with_the_connection_of_the_sessions(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", network=FakeNetwork(), config=LOOKS_OFTEN) as (ann, bob):
        await share(ann, bob)
        raw, main = await in_session(ann)
        more = await raw.endpoint.connect(ann.id, ann.endpoint.addresses(), CONTENT_ALPN)
        await content_stream(more, ann)
        main.close(CloseCode.NORMAL)
        await more.wait_closed()
        await raw.endpoint.close()


async def in_session(device: Device) -> tuple[RawPeer, Connection]:
    raw = RawPeer(device.network, "raw")
    joined = await redeem(raw.endpoint, decode_ticket(device.ticket()), "raw")
    author = Author(joined.volume)
    stream = await raw.session(device.id, joined, author)
    return raw, stream.connection


async def content_stream(connection: Connection, device: Device) -> None:
    stream = await connection.open_stream()
    await stream.send(frames.hello(device.sync.id, pb.PURPOSE_CONTENT, device.sync.members.credentials, "raw", 0))
    data = await stream.receive()
    assert data is not None
    assert pb.Frame.FromString(data).WhichOneof("frame") == "welcome"


async def test_a_member_has_a_bounded_number_of_them(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        raw, _main = await in_session(ann)
        made = [await raw.endpoint.connect(ann.id, ann.endpoint.addresses(), CONTENT_ALPN) for _ in range(STEPS[-1])]
        for connection in made:
            await content_stream(connection, ann)
        one_more = await raw.endpoint.connect(ann.id, ann.endpoint.addresses(), CONTENT_ALPN)
        assert (await one_more.wait_closed()).code == CloseCode.BUSY
        assert not any(connection.closed for connection in made)
        made[0].close(CloseCode.NORMAL)
        await until(lambda: ann.hub._links[raw.id].more == STEPS[-1] - 1)
        await content_stream(await raw.endpoint.connect(ann.id, ann.endpoint.addresses(), CONTENT_ALPN), ann)
        await raw.endpoint.close()


async def test_a_session_is_not_held_on_them(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        raw, main = await in_session(ann)
        more = await raw.endpoint.connect(ann.id, ann.endpoint.addresses(), CONTENT_ALPN)
        stream = await more.open_stream()
        await stream.send(frames.hello(ann.sync.id, pb.PURPOSE_SESSION, ann.sync.members.credentials, "raw", 0))
        with pytest.raises(ConnectionLost):
            await stream.receive()
        assert not main.closed
        await raw.endpoint.close()


async def test_strangers_and_members_without_a_session_have_none(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        stranger = RawPeer(ann.network, "stranger")
        refused = await stranger.endpoint.connect(ann.id, ann.endpoint.addresses(), CONTENT_ALPN)
        assert (await refused.wait_closed()).code == CloseCode.REFUSED
        raw, main = await in_session(ann)
        main.close(CloseCode.NORMAL)
        await until(lambda: raw.id not in ann.hub._links)
        refused = await raw.endpoint.connect(ann.id, ann.endpoint.addresses(), CONTENT_ALPN)
        assert (await refused.wait_closed()).code == CloseCode.REFUSED
        for peer in (raw, stranger):
            await peer.endpoint.close()


async def test_a_removed_member_loses_them(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        raw, _main = await in_session(ann)
        more = await raw.endpoint.connect(ann.id, ann.endpoint.addresses(), CONTENT_ALPN)
        await content_stream(more, ann)
        ann.sync.members.remove(raw.id)
        await more.wait_closed()
        await raw.endpoint.close()


async def test_a_device_that_answers_nothing_on_them_still_gives_its_content(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", network=FakeNetwork(), config=LOOKS_OFTEN) as (ann, bob):
        await share(ann, bob)
        ann.network.weather = replace(ann.network.weather, delay=(FAR, FAR))
        ann.hub.peers._on_other = ignores
        assert await fetched(ann, bob, 60, "far") > 0
        assert connections(bob, ann) == 0


async def ignores(connection: Connection) -> None:
    await connection.wait_closed()
