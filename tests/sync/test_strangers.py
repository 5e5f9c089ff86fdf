# SPDX-License-Identifier: GPL-3.0-or-later
"""Cost of a device that is no member: little memory, little processor time, and members never notice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec import wire
from holofsd.codec.signing import SigningKey, generate, make_certificate, sign_grant, sign_removed
from holofsd.codec.ticket import decode_ticket
from holofsd.core import members as rules
from holofsd.core.document import Credentials, Grant, Role
from holofsd.core.errors import ConnectionLost, Refused
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.net.api import JOIN_ALPN, CloseCode, Connection
from holofsd.net.fake import FakeNetwork
from holofsd.net.strangers import MOST_OF_A_SOURCE
from holofsd.sync import frames, scrutiny
from holofsd.sync.config import HELLO_CREDENTIALS, MAX_HELLO, MAX_REDEEM
from holofsd.sync.invites import redeem
from holofsd.sync.scrutiny import Scrutiny, chain_shown, verified
from tests.net.virtual import run_virtual
from tests.sync.devices import devices, settled, share, until
from tests.sync.rawpeer import RawPeer

FALSE = b"f" * 64
NOTHING = Credentials()


def forged(issuer: bytes, device: bytes, generation: int = 1, role: Role = Role.ADMIN) -> Grant:
    return Grant(DeviceId(device), role, generation, issuer, "forged", FALSE)


def ladder(volume: VolumeId, device: DeviceId, length: int) -> Credentials:
    """Forged grants, each issued by the device of the one before, from the volume's key down to `device`."""
    devices = [number.to_bytes(32, "big") for number in range(1, length)]
    pairs = zip([volume, *devices], [*devices, device], strict=True)
    return Credentials(tuple(forged(issuer, granted) for issuer, granted in pairs))


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, *arguments: object) -> object:
        self.calls += 1
        return self.function(*arguments)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> tuple[Counted, Counted]:
    """Verifications of grants, and how often credentials were added up."""
    verify, resolve = Counted(scrutiny.verify_grant), Counted(rules.resolve)
    monkeypatch.setattr(scrutiny, "verify_grant", verify)
    monkeypatch.setattr(rules, "resolve", resolve)
    return verify, resolve


def shapes(volume: VolumeId, me: DeviceId) -> dict[str, Credentials]:
    count = HELLO_CREDENTIALS
    return {
        "a ladder": ladder(volume, me, count),
        "many of one": Credentials(tuple(forged(volume, me, number) for number in range(1, count + 1))),
        "rooted nowhere": Credentials(tuple(forged(b"n" * 32, me, number) for number in range(1, count + 1))),
        "about others": Credentials(tuple(forged(volume, bytes([9, number]) * 16) for number in range(count))),
    }


@pytest.mark.parametrize("shape", ["a ladder", "many of one", "rooted nowhere", "about others"])
async def test_forged_credentials_cost_one_signature_and_are_never_added_up(
    tmp_path: Path, counted: tuple[Counted, Counted], shape: str
) -> None:
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        raw = RawPeer(ann.network, "stranger")
        verify, resolve = counted
        before = resolve.calls
        for _ in range(3):
            stream = await (await raw.connect(ann.id)).open_stream()
            shown = shapes(ann.sync.id, raw.id)[shape]
            await stream.send(frames.hello(ann.sync.id, pb.PURPOSE_SESSION, shown, "stranger", 0))
            assert raw.connection is not None
            assert (await raw.connection.wait_closed()).code == CloseCode.REFUSED
        assert verify.calls <= 3
        assert resolve.calls == before
        assert not ann.sync.members.is_member(raw.id)
        await raw.endpoint.close()


async def test_a_hello_with_more_than_it_has_room_for_is_not_even_read(
    tmp_path: Path, counted: tuple[Counted, Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Counted(wire.from_credentials)
    monkeypatch.setattr(wire, "from_credentials", read)
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        raw = RawPeer(ann.network, "stranger")
        before = read.calls
        for many in (HELLO_CREDENTIALS + 1, 2000):
            short = pb.Grant(device=b"d" * 32)
            shown = pb.Credentials(grants=[short] * many)
            hello = pb.Hello(protocol=1, volume=ann.sync.id, purpose=pb.PURPOSE_SESSION, credentials=shown)
            stream = await (await raw.connect(ann.id)).open_stream()
            await stream.send(pb.Frame(hello=hello).SerializeToString())
            assert raw.connection is not None
            assert (await raw.connection.wait_closed()).code == CloseCode.REFUSED
        assert (read.calls, counted[0].calls) == (before, 0)
        await raw.endpoint.close()


async def test_a_member_is_let_in_whatever_else_its_hello_shows(
    tmp_path: Path, counted: tuple[Counted, Counted]
) -> None:
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        raw = RawPeer(ann.network, "raw")
        await redeem(raw.endpoint, decode_ticket(ann.ticket(Role.READER)), "raw")
        for shown in shapes(ann.sync.id, raw.id).values():
            stream = await (await raw.connect(ann.id)).open_stream()
            await stream.send(frames.hello(ann.sync.id, pb.PURPOSE_SESSION, shown, "raw", 0))
            raw.stream = stream
            await raw.hear("welcome")
        assert counted[0].calls == 0
        assert ann.sync.members.credentials.grants == tuple(
            grant for grant in ann.sync.members.credentials.grants if grant.device_name != "forged"
        )
        await raw.endpoint.close()


async def test_a_member_that_nobody_told_us_of_is_let_in_by_its_chain(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", network=FakeNetwork()) as (ann, bob):
        await share(ann, bob, role=Role.ADMIN)
        await settled(ann, bob)
        ann.network.partition(ann.id, bob.id)
        raw = RawPeer(ann.network, "raw")
        joined = await redeem(raw.endpoint, decode_ticket(bob.ticket(Role.READER)), "raw")
        assert not ann.sync.members.is_member(raw.id)
        await raw.session(ann.id, joined)
        assert ann.sync.members.is_member(raw.id)
        ann.network.heal_all()
        await raw.endpoint.close()


# ---- what is looked at, as values
VOLUME_KEY, ADMIN, OTHER = SigningKey(b"v" * 32), SigningKey(b"a" * 32), SigningKey(b"o" * 32)
VOLUME = VolumeId(VOLUME_KEY.public)


def _device(key: SigningKey) -> DeviceId:
    return DeviceId(key.public)


async def test_a_chain_is_verified_from_the_volumes_key_downwards_and_the_rest_is_left_out() -> None:
    top = sign_grant(VOLUME_KEY, VOLUME, _device(ADMIN), Role.ADMIN, 1, "admin")
    below = sign_grant(ADMIN, VOLUME, _device(OTHER), Role.WRITER, 1, "other")
    removal = sign_removed(VOLUME_KEY, VOLUME, _device(ADMIN), 255)
    stray = sign_grant(OTHER, VOLUME, _device(generate()), Role.ADMIN, 1, "by a writer")
    elsewhere = forged(b"e" * 32, _device(OTHER))
    certificate = make_certificate(generate(), OTHER, VOLUME)
    offered = Credentials((stray, below, elsewhere, top), (removal,), (certificate,))
    chain = chain_shown(VOLUME, offered, _device(OTHER), NOTHING)
    assert set(chain.grants) == {top, below, elsewhere}
    assert chain.removals == (removal,)
    assert chain.certificates == ()
    proven = await verified(VOLUME, chain, NOTHING)
    assert set(proven.grants) == {top, below}
    assert proven.removals == (removal,)
    assert chain_shown(VOLUME, offered, _device(OTHER), Credentials((top,), (removal,))).grants == (below, elsewhere)


@pytest.mark.parametrize("which", ["grant", "removal"])
async def test_a_false_signature_in_a_chain_is_refused(which: str) -> None:
    top = sign_grant(VOLUME_KEY, VOLUME, _device(ADMIN), Role.ADMIN, 1, "admin")
    removal = sign_removed(VOLUME_KEY, VOLUME, _device(ADMIN), 255)
    if which == "grant":
        top = replace(top, role=Role.ADMIN, generation=7)
    else:
        removal = replace(removal, generation=511)
    with pytest.raises(Refused):
        await verified(VOLUME, Credentials((top,), (removal,)), NOTHING)


async def test_a_removal_by_an_admin_that_only_we_know_is_undone_by_what_the_other_shows() -> None:
    """This device was removed by an admin who was removed in turn: the links between them are known here alone."""
    me = _device(OTHER)
    by_admin = sign_removed(ADMIN, VOLUME, me, 255)
    known = Credentials((sign_grant(VOLUME_KEY, VOLUME, _device(ADMIN), Role.ADMIN, 1, "admin"),), (by_admin,))
    shown = Credentials(removals=(sign_removed(VOLUME_KEY, VOLUME, _device(ADMIN), 255),))
    assert chain_shown(VOLUME, shown, me, known).removals == shown.removals


def test_what_strangers_show_has_a_share_of_the_processor_and_each_source_a_share_of_that() -> None:
    async def play() -> None:
        budget = Scrutiny(share=0.1)
        done: list[tuple[str, float]] = []
        clock = asyncio.get_running_loop().time
        cost = scrutiny.cost_of(size=MAX_HELLO, shown=HELLO_CREDENTIALS)

        async def come(source: str) -> None:
            async def work() -> None:
                done.append((source, clock()))

            await budget.spend(source, cost, work)

        crowd = [asyncio.create_task(come("10.0.0.1")) for _ in range(400)]
        await asyncio.sleep(10)
        honest = asyncio.create_task(come("10.0.0.2"))
        await honest
        assert clock() == 10, "another source has its own share"
        await asyncio.sleep(20)
        spent = cost * sum(source == "10.0.0.1" for source, _at in done)
        assert spent <= (scrutiny.BURST + 0.1 * 30) / scrutiny.PER_SOURCE + 2 * cost
        many = [asyncio.create_task(come(f"10.1.0.{number}")) for number in range(200)]
        await asyncio.sleep(30)
        assert cost * len(done) <= scrutiny.BURST + 0.1 * 60 + 2 * cost
        for task in (*crowd, *many):
            task.cancel()
        await asyncio.gather(*crowd, *many, return_exceptions=True)

    run_virtual(play())


# ---- streams and frames
async def test_a_stranger_has_two_streams_and_more_are_reset(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        raw = RawPeer(ann.network, "stranger")
        connection = await raw.connect(ann.id)
        streams = [await connection.open_stream() for _ in range(4)]
        for stream in streams:
            sending = asyncio.create_task(_send_part(stream, 1000))
            await sending
        for stream in streams[2:]:
            with pytest.raises(ConnectionLost, match="code 8"):
                await stream.receive()
        assert not connection.closed
        assert (await connection.wait_closed()).code == CloseCode.REFUSED
        await raw.endpoint.close()


async def test_a_stranger_that_opens_streams_without_end_is_cut_off(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        raw = RawPeer(ann.network, "stranger")
        connection = await raw.connect(ann.id)
        with suppress(ConnectionLost):
            for _ in range(200):
                await _send_part(await connection.open_stream(), 10)
        assert (await connection.wait_closed()).code == CloseCode.BUSY
        await raw.endpoint.close()


async def test_where_strangers_come_from_is_not_kept(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", network=FakeNetwork()) as (ann, bob):
        ann.create()
        crowd = [RawPeer(ann.network, f"stranger {number}") for number in range(5)]
        for one in crowd:
            await one.connect(ann.id)
        await until(lambda: len(ann.hub.peer_status()) == 5)
        assert ann.devices.devices_with_addresses() == []
        await bob.join(ann.ticket())
        await settled(ann, bob)
        assert ann.devices.devices_with_addresses() == [bob.id]
        for one in crowd:
            await one.endpoint.close()


async def test_what_a_stranger_may_say_first_is_small(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        raw = RawPeer(ann.network, "stranger")
        connection = await raw.connect(ann.id)
        await _send_length(connection, MAX_HELLO + 1)
        assert (await connection.wait_closed()).code == CloseCode.REFUSED
        joining = await raw.endpoint.connect(ann.id, ann.endpoint.addresses(), JOIN_ALPN)
        await _send_length(joining, MAX_REDEEM + 1)
        await joining.wait_closed()
        await raw.endpoint.close()


async def test_there_is_one_stream_for_a_ticket(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", network=FakeNetwork(discovery=True)) as (ann, bob):
        ann.create()
        raw = RawPeer(ann.network, "stranger")
        connection = await raw.endpoint.connect(ann.id, ann.endpoint.addresses(), JOIN_ALPN)
        for _ in range(2):
            await _send_part(await connection.open_stream(), 1000)
        assert (await connection.wait_closed()).code == CloseCode.PROTOCOL
        await bob.join(ann.ticket())
        await settled(ann, bob)
        await raw.endpoint.close()


async def test_tickets_that_are_never_told_to_the_end_keep_nobody_from_joining(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", network=FakeNetwork(discovery=True)) as (ann, bob):
        ann.create()
        crowd = [RawPeer(ann.network, f"stranger {number}") for number in range(40)]
        for one in crowd:
            connection = await one.endpoint.connect(ann.id, ann.endpoint.addresses(), JOIN_ALPN)
            await _send_length(connection, 1000)
        await bob.join(ann.ticket())
        await settled(ann, bob)
        await until(lambda: ann.hub.peers.turned_away > 0)
        for one in crowd:
            await one.endpoint.close()


async def test_who_comes_with_a_ticket_that_is_none_goes_before_a_newcomer_that_has_not_spoken_yet(
    tmp_path: Path,
) -> None:
    async with devices(tmp_path, "ann", network=FakeNetwork()) as (ann,):
        ann.create()
        strangers = [RawPeer(ann.network, f"stranger {number}") for number in range(2 * MOST_OF_A_SOURCE)]
        none = pb.Redeem(protocol=1, volume=ann.sync.id, secret=b"s" * 16).SerializeToString()

        async def come(one: RawPeer) -> Connection:
            return await one.endpoint.connect(ann.id, ann.endpoint.addresses(), JOIN_ALPN)

        async def come_with_none(one: RawPeer) -> None:
            stream = await (await come(one)).open_stream()
            await stream.send(none)
            answer = pb.Redeemed.FromString(await stream.receive() or b"")
            assert answer.WhichOneof("answer") == "refused"

        for one in strangers[:MOST_OF_A_SOURCE]:
            await come_with_none(one)
        newcomer = await come(strangers[MOST_OF_A_SOURCE])
        for one in strangers[MOST_OF_A_SOURCE + 1 :]:
            await come_with_none(one)
        assert not newcomer.closed
        assert ann.hub.peers.turned_away == MOST_OF_A_SOURCE
        for one in strangers:
            await one.endpoint.close()


async def _send_part(stream: object, length: int) -> None:
    """The beginning of a frame of that length."""
    await stream._raw.write_all(length.to_bytes(4, "big") + b"x")  # type: ignore[attr-defined]


async def _send_length(connection: Connection, length: int) -> None:
    await _send_part(await connection.open_stream(), length)
