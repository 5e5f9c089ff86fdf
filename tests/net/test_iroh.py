# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the real network only: the repaired binding, sockets, peers that are killed."""

from __future__ import annotations

import asyncio
import inspect
import json
import signal
import sys
from dataclasses import replace

import pytest
from iroh import iroh_ffi

from holofsd.core.errors import BadConfiguration, ConnectionLost, Unreachable
from holofsd.core.ids import DeviceId
from holofsd.net import iroh_endpoint
from holofsd.net.addresses import parse
from holofsd.net.api import SESSION_ALPN, CloseCode
from holofsd.net.iroh_endpoint import bind_iroh, message_of, parse_close
from tests.net.conftest import QUICK, IrohWorld, connected


@pytest.fixture
async def world():
    made = IrohWorld()
    yield made
    await made.close()


# ---- the repair ----
def test_the_generated_binding_still_copies_byte_by_byte():
    """Guard of our repair. If it fails, upstream has changed `write`: measure, and drop our repair if it is no longer
    needed."""
    source = inspect.getsource(iroh_endpoint.GENERATED_WRITE)
    assert "for i, byte in enumerate(value)" in source
    assert iroh_ffi._UniffiRustBufferBuilder.write is iroh_endpoint.fast_write


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000, 1 << 20])
def test_the_repaired_write_makes_the_same_buffer_as_the_generated_one(size):
    value = bytes(i * 7 % 256 for i in range(size))

    def built(write):
        builder = iroh_ffi._UniffiRustBufferBuilder()
        builder.write_i32(size)
        write(builder, value)
        write(builder, b"tail")
        buffer = builder.finalize()
        try:
            return bytes(buffer.data[0 : buffer.len])
        finally:
            buffer.free()

    assert built(iroh_endpoint.fast_write) == built(iroh_endpoint.GENERATED_WRITE)


def test_an_error_of_iroh_says_something_in_one_line():
    with pytest.raises(iroh_ffi.IrohError) as caught:
        iroh_ffi.EndpointId.from_bytes(b"short")
    assert message_of(caught.value).strip()
    assert "\n" not in message_of(caught.value)


@pytest.mark.parametrize(
    ("text", "code", "reason", "by_peer"),
    [
        ("closed by peer: why not (code 7)", 7, "why not", True),
        ("closed by peer: (code 9) (code 7)", 7, "(code 9)", True),
        ("closed by peer: a\nb (code 3)", 3, "a\nb", True),
        ("closed by peer: 0", 0, "", True),
        ("timed out", CloseCode.LOST, "timed out", False),
        ("closed", CloseCode.LOST, "closed", False),
        ("", CloseCode.LOST, "", False),
    ],
)
def test_the_end_of_a_connection_is_understood(text, code, reason, by_peer):
    end = parse_close(text)
    assert (end.code, end.reason, end.by_peer) == (code, reason, by_peer)


# ---- sockets ----
@pytest.mark.parametrize("bind", ["127.0.0.1:0", "[::1]:0"])
async def test_bound_to_loopback_nothing_else_is_open(world, bind):
    world.configure(bind=bind)
    endpoint = await world.endpoint()
    for socket in (*endpoint.sockets(), *endpoint.addresses()):
        ip, port = parse(socket)
        assert ip.is_loopback
        assert port > 0
    version = 6 if bind.startswith("[") else 4
    assert [parse(address)[0].version for address in endpoint.addresses()] == [version]


async def test_a_restarted_device_takes_its_ports_again(world):
    first = await world.endpoint(1)
    sockets = first.sockets()
    await first.close()
    assert first.sockets() == first.addresses() == []
    world.config = replace(world.config, last_sockets=tuple(sockets))
    assert (await world.endpoint(1)).sockets() == sockets


async def test_ports_that_are_taken_by_now_are_replaced_by_others(world):
    first = await world.endpoint()
    world.config = replace(world.config, last_sockets=tuple(first.sockets()))
    second = await world.endpoint()
    assert not set(first.sockets()) & set(second.sockets())
    await connected(first, second)


@pytest.mark.parametrize(
    "changes",
    [{"bind": "192.0.2.77:1"}, {"bind": "here"}, {"relays": ("not a url",)}],
    ids=["foreign", "word", "relay"],
)
async def test_a_network_that_cannot_be_opened_is_a_clear_error(changes):
    with pytest.raises(BadConfiguration) as caught:
        await bind_iroh(b"\1" * 32, replace(QUICK, **changes))
    assert caught.value.message


async def test_a_key_that_is_none_is_unreachable_and_a_relay_that_is_none_is_gone_without(world):
    a, b = await world.endpoint(), await world.endpoint()
    with pytest.raises(Unreachable):
        await a.connect(DeviceId(b"short"), b.addresses(), SESSION_ALPN)
    with pytest.raises(Unreachable) as nowhere:
        await a.connect(b.device, [], SESSION_ALPN, relay_url="no url")
    assert ".rs" not in nowhere.value.message
    assert (await a.connect(b.device, b.addresses(), SESSION_ALPN, relay_url="no url")).peer == b.device


async def test_the_device_is_the_public_key_of_the_seed(world):
    from nacl.signing import SigningKey

    endpoint = await world.endpoint(77)
    assert endpoint.device == bytes(SigningKey((77).to_bytes(32, "big")).verify_key)


async def test_own_addresses_are_no_news_unless_they_change(world):
    endpoint = await world.endpoint()
    news = asyncio.create_task(endpoint.network_changed())
    done, _ = await asyncio.wait({news}, timeout=0.3)
    assert not done
    await endpoint._endpoint.add_external_addr("203.0.113.5:4000")
    async with asyncio.timeout(30):
        await news
    assert "203.0.113.5:4000" in endpoint.addresses()


# ---- a lot of data ----
async def test_thirty_megabytes_pass_in_large_frames(world):
    mine, theirs = await world.pair()
    frames = [bytes([n]) * (1 << 20) for n in range(30)]
    here = await mine.open_stream()

    async def send_all():
        for frame in frames:
            await here.send(frame)
        await here.finish()

    sending = asyncio.create_task(send_all())
    there = await theirs.accept_stream()
    for frame in frames:
        assert await there.receive() == frame
    assert await there.receive() is None
    await sending


async def test_hundreds_of_short_streams_pass_over_one_connection(world):
    mine, theirs = await world.pair()

    async def answer():
        while True:
            stream = await theirs.accept_stream()
            await stream.send(b"re " + (await stream.receive() or b""))
            await stream.finish()

    answering = asyncio.create_task(answer())
    for number in range(300):
        stream = await mine.open_stream()
        await stream.send(str(number).encode())
        await stream.finish()
        assert await stream.receive() == f"re {number}".encode()
        assert await stream.receive() is None
    answering.cancel()


# ---- a peer that dies ----
PEER = """
import asyncio, json, sys
from dataclasses import replace
from holofsd.net.api import Discovery, NetConfig
from holofsd.net.iroh_endpoint import bind_iroh

async def main():
    config = NetConfig(bind="127.0.0.1:0", discovery=Discovery.NONE, beat_interval=0.1, dead_after=1.0)
    endpoint = await bind_iroh((99).to_bytes(32, "big"), config)
    print(json.dumps([endpoint.device.hex(), endpoint.addresses()]), flush=True)
    while True:
        connection = await endpoint.accept()
        stream = await connection.accept_stream()
        await stream.send(await stream.receive())

asyncio.run(main())
"""


@pytest.fixture
async def peer_process():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PEER, stdout=asyncio.subprocess.PIPE)
    device, addresses = json.loads(await process.stdout.readline())
    yield process, DeviceId(bytes.fromhex(device)), addresses
    if process.returncode is None:
        process.kill()
    await process.wait()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
async def test_a_peer_without_a_sign_of_life_is_noticed(world, peer_process, end):
    process, device, addresses = peer_process
    endpoint = await world.endpoint()
    connection = await endpoint.connect(device, addresses, SESSION_ALPN)
    stream = await connection.open_stream()
    await stream.send(b"hello")
    assert await stream.receive() == b"hello"
    waiting = asyncio.create_task(stream.receive())
    process.send_signal(end)
    assert await connection.ping(0.2) is None
    async with asyncio.timeout(30):
        reason = await connection.wait_closed()
        assert reason.code == CloseCode.LOST
        assert not reason.by_peer
        with pytest.raises(ConnectionLost):
            await waiting


# ---- what the protocol does not have, and crowds ----
async def test_a_one_way_stream_ends_the_connection(world):
    mine, theirs = await connected(await world.endpoint(), await world.endpoint())
    stream = await mine._raw._connection.open_uni()
    await stream.write_all(b"x")
    assert (await mine.wait_closed()).code == CloseCode.PROTOCOL
    assert (await theirs.wait_closed()).code == CloseCode.PROTOCOL


async def test_where_many_come_their_addresses_have_to_be_real_and_each_has_its_share(world, monkeypatch):
    monkeypatch.setattr(iroh_endpoint, "CALM_BURST", 1.0)
    monkeypatch.setattr(iroh_endpoint, "CALM_RATE", 0.001)
    monkeypatch.setattr(iroh_endpoint, "SOURCE_RATE", 0.001)
    monkeypatch.setattr(iroh_endpoint, "SOURCE_BURST", 3.0)
    here, there = await world.endpoint(), await world.endpoint()
    seen = []

    async def answered() -> bool:
        try:
            dialled = await there.connect(here.device, here.addresses(), SESSION_ALPN)
        except Unreachable:
            return False
        seen.append((dialled, await here.accept()))
        return True

    results = [await answered() for _ in range(7)]
    # One in peace; three, and one that makes the debt, after they have shown that their address is one.
    assert results[:4] == [True] * 4
    assert results[-1] is False
    for dialled, accepted in seen:
        dialled.close(0)
        accepted.close(0)
