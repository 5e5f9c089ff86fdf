# SPDX-License-Identifier: GPL-3.0-or-later
"""The peer manager: two devices that want each other get one connection, whoever dials and however often."""

from __future__ import annotations

import asyncio

import pytest

from holofsd.net.api import SESSION_ALPN, CloseCode
from holofsd.net.fake import FakeNetwork
from holofsd.net.fake_weather import Weather
from tests.net.peering import HIGH, LOW, Device, devices, now, same_connection, until, virtual
from tests.net.virtual import run_virtual


# ---- coming together ----
@virtual
async def test_two_devices_that_want_each_other_share_one_connection():
    async with devices(FakeNetwork(), HIGH, LOW) as (a, b):
        a.want(b)
        b.want(a)
        await until(lambda: a.online(b) and b.online(a))
        await asyncio.sleep(60)
        assert await same_connection(a, b)
        assert len(a.connections) == len(b.connections) == 1
        assert a.presence == [(LOW, True)]
        assert a.status(b).online
        assert a.status(b).address == b.endpoint.addresses()[0]


@virtual
async def test_it_is_enough_that_one_of_them_can_dial():
    async with devices(FakeNetwork(), LOW, HIGH) as (a, b):
        b.manager.want(a.device, ())
        await asyncio.sleep(5)
        assert not b.online(a)
        a.want(b)
        await until(lambda: a.online(b) and b.online(a))
        # What the connection came from is an address to try later.
        assert b.addresses[LOW] == tuple(a.endpoint.addresses())


@virtual
async def test_nobody_is_dialled_who_is_not_wanted():
    async with devices(FakeNetwork(), LOW, HIGH) as (a, b):
        a.manager.learn(b.device, b.endpoint.addresses())
        await asyncio.sleep(60)
        assert a.connections == []
        assert a.manager.status() == []


@virtual
async def test_a_device_does_not_dial_itself():
    async with devices(FakeNetwork(), LOW) as (a,):
        a.want(a)
        assert a.manager.status() == []


@virtual
async def test_what_was_wanted_before_the_start_is_dialled_after_it():
    network = FakeNetwork()
    async with devices(network, LOW, HIGH) as (a, b):
        a.want(b)  # the task that runs the manager has not had its turn yet
        await until(lambda: a.online(b))


# ---- two connections ----
@pytest.mark.parametrize("order", ["lower first", "higher first"])
@pytest.mark.parametrize("seed", range(5))
def test_of_two_connections_both_sides_keep_the_one_dialled_by_the_lower_key(order, seed):
    async def play():
        network = FakeNetwork(seed, weather=Weather(delay=(0.0, 0.2)))
        async with devices(network, LOW, HIGH) as (low, high):
            ways = [(low, high), (high, low)] if order == "lower first" else [(high, low), (low, high)]
            await asyncio.gather(*(dial(*way) for way in ways))
            await asyncio.sleep(10)
            assert low.manager.connection(HIGH).dialled
            assert not high.manager.connection(LOW).dialled
            assert await same_connection(low, high)
            opened = [c for c in (*low.connections, *high.connections) if not c.closed]
            assert len(opened) == 2, "one connection, seen from both sides"

    async def dial(here, there):
        connection = await here.endpoint.connect(there.device, there.endpoint.addresses(), SESSION_ALPN)
        here.manager.want(there.device)
        await here.manager._arrived(connection)

    run_virtual(play())


@virtual
async def test_a_connection_that_goes_as_a_duplicate_says_so():
    async with devices(FakeNetwork(), LOW, HIGH) as (low, high):
        high.want(low)
        await until(lambda: high.online(low))
        first = high.manager.connection(LOW)
        connection = await low.endpoint.connect(HIGH, high.endpoint.addresses(), SESSION_ALPN)
        low.manager.want(HIGH)
        await low.manager._arrived(connection)
        assert (await first.wait_closed()).code == CloseCode.DUPLICATE
        await until(lambda: not high.manager.connection(LOW).dialled)
        assert (LOW, False) not in high.presence, "replacing a connection is no absence"


@virtual
async def test_a_device_that_was_killed_and_is_back_does_not_wait_for_its_dead_connection():
    network = FakeNetwork()
    async with devices(network, LOW, HIGH) as (low, high):
        low.want(high)
        high.want(low)
        await until(lambda: low.online(high) and high.online(low))
        network.kill(HIGH)
        await high.manager.close()
        await high.running
        back = Device(network.endpoint(HIGH))
        start = now()
        back.want(low)
        await until(lambda: back.online(low) and low.manager.connection(HIGH) is low.connections[-1])
        await until(lambda: len(low.connections) == 2)
        assert now() - start < 5, "silence would have been noticed only after 15 s"
        assert await same_connection(back, low)
        await back.close()


@virtual
async def test_of_two_connections_from_one_dialler_the_newer_stays_at_once():
    network = FakeNetwork()
    async with devices(network, LOW, HIGH) as (low, high):
        high.want(low)
        await until(lambda: low.online(high))
        network.kill(HIGH)
        await high.manager.close()
        await high.running
        back = Device(network.endpoint(HIGH))
        start = now()
        back.want(low)
        await until(lambda: len(low.connections) == 2)
        assert now() - start < 0.5, "its dialler has lost the former one: there is nothing to ask"
        assert await same_connection(back, low)
        await back.close()


@virtual
async def test_a_ghost_of_an_abandoned_dial_does_no_lasting_harm():
    network = FakeNetwork(2, weather=Weather(ghost=1.0, delay=(0.0, 0.1)))
    async with devices(network, LOW, HIGH) as (low, high):
        low.want(high)
        high.want(low)
        await until(lambda: low.online(high) and high.online(low))
        network.weather.ghost = 0.0
        await asyncio.sleep(60)
        assert await same_connection(low, high)
