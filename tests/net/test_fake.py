# SPDX-License-Identifier: GPL-3.0-or-later
"""The trouble that the fake network makes is the trouble that was asked for, and the same again from the same seed."""

from __future__ import annotations

import asyncio

import pytest

from holofsd.core.errors import ConnectionLost, Unreachable
from holofsd.core.ids import DeviceId
from holofsd.net.api import SESSION_ALPN, CloseCode
from holofsd.net.fake import FakeNetwork
from holofsd.net.fake_weather import Weather
from tests.net.conftest import connected
from tests.net.virtual import run_virtual

A, B = DeviceId(b"a" * 32), DeviceId(b"b" * 32)


async def opened(network):
    """A stream between two new devices, and the endpoints."""
    a, b = network.endpoint(A), network.endpoint(B)
    mine, theirs = await connected(a, b)
    here = await mine.open_stream()
    await here.send(b"hello")
    there = await theirs.accept_stream()
    assert await there.receive() == b"hello"
    return mine, theirs, here, there


def test_a_partition_with_notice_ends_connections_at_once_and_lets_none_in():
    async def play():
        network = FakeNetwork()
        mine, theirs, _here, there = await opened(network)
        network.partition(A, B)
        assert (await mine.wait_closed()).code == (await theirs.wait_closed()).code == CloseCode.LOST
        with pytest.raises(ConnectionLost):
            await there.receive()
        with pytest.raises(Unreachable):
            await network.at(A).connect(B, network.at(B).addresses(), SESSION_ALPN)
        network.heal_all()
        await connected(network.at(A), network.at(B))

    run_virtual(play())


def test_a_partition_without_notice_is_noticed_by_silence():
    async def play():
        network = FakeNetwork()
        mine, theirs, here, _ = await opened(network)
        network.partition(A, B, notice=False)
        await here.send(b"into the void")
        start = asyncio.get_running_loop().time()
        assert (await mine.wait_closed()).code == CloseCode.LOST
        assert (await theirs.wait_closed()).code == CloseCode.LOST
        assert 15 <= asyncio.get_running_loop().time() - start <= 25

    run_virtual(play())


def test_a_short_partition_only_delays():
    async def play():
        network = FakeNetwork(weather=Weather(delay=(0.01, 0.1), cut=0.3))
        mine, _, here, there = await opened(network)
        network.partition(A, B, notice=False)
        for number in range(20):
            await here.send(bytes([number]) * 100)
        waiting = asyncio.create_task(there.receive())
        await asyncio.sleep(5)
        assert not waiting.done()
        network.heal(A, B)
        assert await waiting == bytes([0]) * 100
        for number in range(1, 20):
            assert await there.receive() == bytes([number]) * 100
        assert not mine.closed

    run_virtual(play())


def test_a_killed_device_says_nothing():
    async def play():
        network = FakeNetwork()
        mine, theirs, here, _there = await opened(network)
        waiting = asyncio.create_task(here.receive())
        network.kill(B)
        await asyncio.sleep(10)
        assert not mine.closed
        assert not waiting.done()
        assert theirs.closed
        assert (await mine.wait_closed()).code == CloseCode.LOST
        with pytest.raises(ConnectionLost):
            await waiting

    run_virtual(play())


def test_a_device_comes_back_at_another_address():
    async def play():
        network = FakeNetwork()
        await opened(network)
        before = network.at(B).addresses()
        again = network.endpoint(B)
        with pytest.raises(Unreachable):
            await network.at(A).connect(B, before, SESSION_ALPN)
        await connected(network.at(A), again)

    run_virtual(play())


def test_streams_overtake_each_other_but_frames_of_one_do_not():
    async def play():
        network = FakeNetwork(3, weather=Weather(delay=(0.0, 1.0), cut=0.5))
        mine, theirs, *_ = await opened(network)
        for number in range(10):
            stream = await mine.open_stream()
            for part in range(5):
                await stream.send(bytes([number, part]))
        order = []
        for _ in range(10):
            stream = await theirs.accept_stream()
            frames = [await stream.receive() for _ in range(5)]
            assert [frame[1] for frame in frames] == [0, 1, 2, 3, 4]
            order.append(frames[0][0])
        assert sorted(order) == list(range(10))
        assert order != sorted(order)

    run_virtual(play())


def test_connections_are_lost_in_the_middle_of_a_frame():
    async def play():
        network = FakeNetwork(5, weather=Weather(delay=(0.0, 0.1)))
        mine, _, here, there = await opened(network)
        network.weather.cut, network.weather.loss_of_connection = 0.5, 0.05
        with pytest.raises(ConnectionLost):
            while True:
                await here.send(bytes(1000))
        with pytest.raises(ConnectionLost):
            while True:
                assert await there.receive() == bytes(1000)
        assert mine.closed

    run_virtual(play())


def test_a_connect_may_fail_and_may_show_up_twice():
    async def play():
        network = FakeNetwork(1, weather=Weather(ghost=1.0))
        a, b = network.endpoint(A), network.endpoint(B)
        await a.connect(B, b.addresses(), SESSION_ALPN)
        ghost, real = await b.accept(), await b.accept()
        assert (await ghost.wait_closed()).by_peer
        assert not real.closed
        network.weather.failed_connect = 1.0
        with pytest.raises(Unreachable):
            await a.connect(B, b.addresses(), SESSION_ALPN)

    run_virtual(play())


def test_one_seed_gives_one_history():
    async def play(seed):
        network = FakeNetwork(seed, weather=Weather(delay=(0.0, 1.0), cut=0.5))
        mine, theirs, *_ = await opened(network)
        history = []
        for number in range(8):
            stream = await mine.open_stream()
            await stream.send(bytes([number]))
        for _ in range(8):
            stream = await theirs.accept_stream()
            history.append((await stream.receive(), asyncio.get_running_loop().time()))
        return history

    assert run_virtual(play(1)) == run_virtual(play(1))
    assert run_virtual(play(1)) != run_virtual(play(2))


def test_with_discovery_a_key_is_enough():
    async def play():
        network = FakeNetwork(discovery=True)
        a, b = network.endpoint(A), network.endpoint(B)
        mine = await a.connect(b.device, (), SESSION_ALPN)
        assert mine.peer == B

    run_virtual(play())


def test_a_device_that_moves_learns_it_and_keeps_its_connections():
    async def play():
        network = FakeNetwork()
        mine, *_ = await opened(network)
        before = network.at(A).addresses()
        network.change_network(A)
        await network.at(A).network_changed()
        assert network.at(A).addresses() != before
        assert not mine.closed

    run_virtual(play())
