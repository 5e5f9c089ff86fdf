# SPDX-License-Identifier: GPL-3.0-or-later
"""The peer manager: a connection that was lost comes back, soon and not in a hurry."""

from __future__ import annotations

import asyncio
import itertools

from holofsd.net.api import CloseCode, NetConfig
from holofsd.net.fake import FakeNetwork
from holofsd.net.fake_weather import Weather
from holofsd.net.peer import Backoff
from tests.net.peering import HIGH, LOW, devices, now, until, virtual


# ---- coming back ----
@virtual
async def test_a_lost_connection_comes_back():
    network = FakeNetwork()
    async with devices(network, LOW, HIGH) as (a, b):
        a.want(b)
        b.want(a)
        await until(lambda: a.online(b) and b.online(a))
        await asyncio.sleep(60)
        network.drop_connections(LOW)
        await until(lambda: len(a.presence) == 3, limit=1.0)
        await until(lambda: a.online(b) and b.online(a), limit=1.0)
        assert a.presence == [(HIGH, True), (HIGH, False), (HIGH, True)]


@virtual
async def test_a_peer_that_is_away_is_tried_less_and_less_but_not_rarer_than_the_limit():
    network = FakeNetwork()
    attempts = []
    async with devices(network, LOW, HIGH, backoff=Backoff(first=0.2, most=30.0)) as (a, b):
        connect = a.endpoint.connect

        async def noted(*arguments):
            attempts.append(now())
            return await connect(*arguments)

        a.endpoint.connect = noted
        network.partition(LOW, HIGH)
        a.want(b)
        await asyncio.sleep(1200)
        gaps = [later - earlier for earlier, later in itertools.pairwise(attempts)]
        assert gaps[0] <= 0.2
        assert max(gaps) <= 30.0
        assert min(gaps[-10:]) >= 15.0
        assert len({round(gap, 6) for gap in gaps[-10:]}) > 5, "without jitter all devices come back in step"
        assert a.status(b).failures == len(attempts)
        assert a.status(b).last_error
        network.heal(LOW, HIGH)
        await until(lambda: a.online(b), limit=31)
        assert a.status(b).last_error == ""


@virtual
async def test_a_new_address_is_tried_at_once():
    network = FakeNetwork()
    async with devices(network, LOW, HIGH) as (a, b):
        a.manager.want(HIGH, ["10.9.9.9:9"])
        await asyncio.sleep(600)
        assert not a.online(b)
        a.manager.learn(HIGH, b.endpoint.addresses())
        await until(lambda: a.online(b), limit=0.1)


@virtual
async def test_an_address_learned_while_another_is_being_dialled_is_tried_next():
    network = FakeNetwork(weather=Weather(delay=(1.0, 1.0)))
    async with devices(network, LOW, HIGH) as (a, b):
        a.manager.want(HIGH, ["10.9.9.9:9"])
        await asyncio.sleep(300)
        failures = a.status(b).failures
        await until(lambda: a.status(b).failures > failures)
        await asyncio.sleep(15)
        a.manager.network_changed()
        await asyncio.sleep(0.5)  # in the middle of a dial that takes two seconds
        a.manager.learn(HIGH, b.endpoint.addresses())
        await until(lambda: a.online(b), limit=5)


@virtual
async def test_an_address_known_already_is_no_reason_to_try_again():
    network = FakeNetwork()
    async with devices(network, LOW, HIGH) as (a, b):
        network.partition(LOW, HIGH)
        a.want(b)
        await asyncio.sleep(600)
        failures = a.status(b).failures
        for _ in range(100):
            a.want(b)
            await asyncio.sleep(0.001)
        assert a.status(b).failures <= failures + 1


@virtual
async def test_a_device_that_was_just_seen_is_dialled_at_once_at_an_address_known_already():
    network = FakeNetwork()
    async with devices(network, LOW, HIGH) as (a, b):
        network.partition(LOW, HIGH)
        a.want(b)
        await asyncio.sleep(600)
        network.heal(LOW, HIGH)
        assert a.manager.wanted() == [HIGH]
        a.manager.appeared(HIGH, b.endpoint.addresses())
        await until(lambda: a.online(b), limit=0.1)


@virtual
async def test_everybody_missing_is_dialled_at_once_when_the_network_changes():
    network = FakeNetwork()
    async with devices(network, LOW, HIGH) as (a, b):
        network.partition(LOW, HIGH)
        a.want(b)
        await asyncio.sleep(600)
        network.heal(LOW, HIGH)
        network.change_network(LOW)
        await until(lambda: a.online(b), limit=0.1)


@virtual
async def test_after_a_change_of_the_network_dead_connections_are_found_sooner():
    config = NetConfig(beat_interval=60.0, dead_after=600.0)
    network = FakeNetwork(config=config)
    async with devices(network, LOW, HIGH) as (a, b):
        a.want(b)
        await until(lambda: a.online(b))
        network.partition(LOW, HIGH, notice=False)
        network.change_network(LOW)
        await until(lambda: not a.online(b), limit=20)


@virtual
async def test_a_peer_that_refuses_is_left_alone_for_a_while():
    network = FakeNetwork()
    async with devices(network, LOW, HIGH) as (a, b):
        times = []

        async def refuse(connection):
            times.append(now())
            connection.close(CloseCode.REFUSED)

        b.handler = refuse
        a.want(b)
        await asyncio.sleep(60)
        assert 3 <= len(times) <= 12
        assert times[1] - times[0] > 5


@virtual
async def test_connections_that_break_at_once_are_not_rebuilt_in_a_hurry():
    network = FakeNetwork()
    async with devices(network, LOW, HIGH) as (a, b):

        async def break_it(connection):
            network.drop_connections(LOW)

        b.handler = break_it
        a.want(b)
        await asyncio.sleep(300)
        assert len(a.connections) < 30
