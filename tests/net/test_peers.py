# SPDX-License-Identifier: GPL-3.0-or-later
"""The peer manager: letting go, strangers, other protocols, and any weather."""

from __future__ import annotations

import asyncio
import random

import pytest

from holofsd.core.errors import ProtocolViolation
from holofsd.core.ids import DeviceId
from holofsd.net.api import JOIN_ALPN, SESSION_ALPN, CloseCode
from holofsd.net.fake import FakeNetwork
from holofsd.net.fake_weather import Weather
from holofsd.net.peer import Backoff
from holofsd.net.strangers import MOST_OF_A_SOURCE
from tests.net.peering import HIGH, LOW, THIRD, devices, same_connection, until, virtual
from tests.net.virtual import run_virtual


# ---- letting go ----
@virtual
async def test_who_is_no_longer_wanted_is_told_and_forgotten():
    async with devices(FakeNetwork(), LOW, HIGH) as (a, b):
        a.want(b)
        await until(lambda: a.online(b) and b.online(a))
        end = asyncio.create_task(b.manager.connection(LOW).wait_closed())
        a.manager.unwant(HIGH)
        assert (await end).code == CloseCode.UNWANTED
        await asyncio.sleep(60)
        assert len(a.connections) == 1
        assert a.manager.status() == []
        a.want(b)
        await until(lambda: a.online(b))


@virtual
async def test_a_dial_that_finishes_after_one_changed_ones_mind_leaves_nothing_open():
    network = FakeNetwork(weather=Weather(delay=(0.5, 0.5)))
    async with devices(network, LOW, HIGH) as (a, b):
        for wait in (0.1, 0.9, 0.99, 1.0, 1.01, 1.2):
            a.want(b)
            await asyncio.sleep(wait)
            a.manager.unwant(HIGH)
        await asyncio.sleep(30)
        assert not a.online(b)
        assert not b.online(a)
        assert all(connection.closed for connection in (*a.connections, *b.connections))


@virtual
async def test_a_connection_dialled_for_somebody_who_is_unwanted_by_now_is_closed():
    async with devices(FakeNetwork(), LOW, HIGH) as (a, b):
        connection = await a.endpoint.connect(HIGH, b.endpoint.addresses(), SESSION_ALPN)
        await a.manager._arrived(connection)
        assert (await connection.wait_closed()).code == CloseCode.UNWANTED
        assert a.manager.status() == []


@virtual
async def test_closing_says_goodbye_and_ends_the_handlers():
    network = FakeNetwork()
    async with devices(network, LOW, HIGH) as (a, b):
        ended = []

        async def serve(connection):
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(connection)

        a.handler = serve
        a.want(b)
        await until(lambda: a.online(b) and b.online(a))
        end = asyncio.create_task(b.manager.connection(LOW).wait_closed())
        await a.manager.close()
        await a.manager.close()
        assert ended == a.connections
        assert (await end).code == CloseCode.GOING_AWAY
        late = await b.endpoint.connect(LOW, a.endpoint.addresses(), SESSION_ALPN)
        assert (await late.wait_closed()).code == CloseCode.GOING_AWAY


# ---- strangers and other protocols ----
@virtual
async def test_a_stranger_is_let_in_to_say_who_it_is_and_forgotten_when_it_leaves():
    async with devices(FakeNetwork(), LOW, HIGH) as (a, b):
        b.want(a)
        await until(lambda: a.online(b))
        assert not a.status(b).wanted
        b.manager.unwant(LOW)
        await until(lambda: a.manager.status() == [])


@pytest.mark.parametrize("alpn", [SESSION_ALPN, JOIN_ALPN])
def test_of_a_crowd_of_strangers_the_oldest_go_and_members_come_in(alpn):
    async def play():
        network = FakeNetwork()
        async with devices(network, LOW, HIGH) as (a, b):
            b.want(a)
            a.manager.want(HIGH)
            await until(lambda: a.online(b))
            crowd = [
                network.endpoint(DeviceId(number.to_bytes(32, "big"))) for number in range(1, MOST_OF_A_SOURCE + 11)
            ]
            connections = [await one.connect(LOW, a.endpoint.addresses(), alpn) for one in crowd]
            await asyncio.sleep(1)
            assert [connection.closed for connection in connections] == [True] * 10 + [False] * MOST_OF_A_SOURCE
            assert {(await connection.wait_closed()).code for connection in connections[:10]} == {CloseCode.BUSY}
            assert a.manager.turned_away == 10
            assert a.online(b)
            network.drop_connections(LOW, HIGH)
            await until(lambda: not a.online(b))
            await until(lambda: a.online(b))
            for one in crowd:
                await one.close()
            await until(lambda: len(a.manager.status()) == 1)

    run_virtual(play())


@virtual
async def test_other_protocols_go_to_their_own_handler():
    async with devices(FakeNetwork(), LOW, HIGH) as (a, b):
        connection = await b.endpoint.connect(LOW, a.endpoint.addresses(), JOIN_ALPN)
        await until(lambda: a.others)
        assert a.others[0].alpn == JOIN_ALPN
        assert a.connections == []
        assert not a.online(b)
        assert not connection.closed


@pytest.mark.parametrize(
    ("error", "code"), [(ProtocolViolation("nonsense"), CloseCode.PROTOCOL), (KeyError("defect"), CloseCode.INTERNAL)]
)
def test_a_handler_that_fails_costs_its_connection_and_nothing_else(error, code):
    async def play():
        async with devices(FakeNetwork(), LOW, HIGH, THIRD) as (a, b, c):

            async def fail(connection):
                if connection.peer == HIGH:
                    raise error

            a.handler = fail
            a.want(c)
            connection = await b.endpoint.connect(LOW, a.endpoint.addresses(), SESSION_ALPN)
            assert (await connection.wait_closed()).code == code
            await until(lambda: a.online(c))

    run_virtual(play())


# ---- weather ----
@pytest.mark.parametrize("seed", range(20))
def test_whatever_happened_all_are_connected_once_the_weather_is_good(seed):
    async def play():
        network = FakeNetwork(seed, weather=Weather(delay=(0.0, 0.3), failed_connect=0.3, ghost=0.3, cut=0.3))
        chance = random.Random(seed)
        ids = (LOW, HIGH, THIRD)
        async with devices(network, *ids) as made:
            for one in made:
                for other in made:
                    one.want(other)
            for _ in range(30):
                await asyncio.sleep(chance.uniform(0, 10))
                a, b = chance.sample(ids, 2)
                match chance.randrange(4):
                    case 0:
                        network.partition(a, b, notice=chance.random() < 0.5)
                    case 1:
                        network.heal(a, b)
                    case 2:
                        network.drop_connections(a)
                    case 3:
                        network.change_network(a)
            network.heal_all()
            network.weather = Weather(delay=(0.0, 0.3))
            for one in made:
                for other in made:
                    one.manager.learn(other.device, other.endpoint.addresses())
            await asyncio.sleep(90)
            for one in made:
                for other in made:
                    if one is not other:
                        assert one.online(other)
                        assert await same_connection(one, other)

    run_virtual(play())


# ---- backoff ----
def test_the_wait_grows_with_failures_up_to_its_limit():
    backoff, chance = Backoff(first=0.5, most=8.0), random.Random(0)
    assert backoff.delay(0, chance) == 0.0
    for failures, longest in ((1, 0.5), (2, 1.0), (5, 8.0), (6, 8.0), (10**6, 8.0)):
        delays = [backoff.delay(failures, chance) for _ in range(200)]
        assert longest / 2 <= min(delays) < max(delays) <= longest
