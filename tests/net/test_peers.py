# SPDX-License-Identifier: GPL-3.0-or-later
"""The peer manager: one connection to everybody who is wanted, whatever happens to the network."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import asynccontextmanager

import pytest

from holofsd.core.errors import ProtocolViolation
from holofsd.core.ids import DeviceId
from holofsd.net.api import JOIN_ALPN, SESSION_ALPN, CloseCode, NetConfig
from holofsd.net.fake import FakeNetwork, Weather
from holofsd.net.peer import Backoff
from holofsd.net.peers import MAX_STRANGERS, PeerManager
from tests.net.virtual import run_virtual

LOW, HIGH, THIRD = (DeviceId(letter * 32) for letter in (b"a", b"b", b"c"))


class Device:
    """An endpoint with a manager, and notes of what the manager says."""

    def __init__(self, endpoint, **options):
        self.endpoint = endpoint
        self.connections = []
        self.others = []
        self.presence = []
        self.addresses = {}
        self.handler = None
        options.setdefault("chance", random.Random(1))
        self.manager = PeerManager(
            endpoint,
            self._connected,
            on_other=self._other,
            on_presence=lambda device, online: self.presence.append((device, online)),
            on_addresses=lambda device, addresses, relay: self.addresses.__setitem__(device, addresses),
            clock=lambda: 1000.0 + asyncio.get_running_loop().time(),
            **options,
        )
        self.running = asyncio.create_task(self.manager.run())

    @property
    def device(self):
        return self.endpoint.device

    async def _connected(self, connection):
        self.connections.append(connection)
        if self.handler is not None:
            await self.handler(connection)

    async def _other(self, connection):
        self.others.append(connection)

    def online(self, other):
        return self.manager.connection(other.device) is not None

    def status(self, other):
        return next(status for status in self.manager.status() if status.device == other.device)

    def want(self, other):
        self.manager.want(other.device, other.endpoint.addresses())

    async def close(self):
        await self.manager.close()
        await self.endpoint.close()
        await self.running


@asynccontextmanager
async def devices(network, *ids, **options):
    made = [Device(network.endpoint(one), **options) for one in ids]
    yield made
    for device in made:
        await device.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"


async def until(condition, limit=120.0):
    """In virtual time."""
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110 - time is virtual: this costs nothing
            await asyncio.sleep(0.01)


def now():
    return asyncio.get_running_loop().time()


async def same_connection(a, b):
    """Both sides hold ends of one connection, and it carries frames."""
    stream = await a.manager.connection(b.device).open_stream()
    await stream.send(b"from one manager to the other")
    there = await b.manager.connection(a.device).accept_stream()
    return await there.receive() == b"from one manager to the other"


def virtual(test):
    """Runs a coroutine test in virtual time."""

    def run():
        run_virtual(test())

    run.__name__ = test.__name__
    return run


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


@virtual
async def test_a_crowd_of_strangers_is_kept_out_but_members_come_in():
    network = FakeNetwork()
    async with devices(network, LOW, HIGH) as (a, b):
        crowd = [network.endpoint(DeviceId(number.to_bytes(32, "big"))) for number in range(1, MAX_STRANGERS + 11)]
        connections = [await one.connect(LOW, a.endpoint.addresses(), SESSION_ALPN) for one in crowd]
        await asyncio.sleep(1)
        closed = [connection for connection in connections if connection.closed]
        assert len(closed) == 10
        assert {(await connection.wait_closed()).code for connection in closed} == {CloseCode.BUSY}
        a.manager.want(HIGH)
        b.want(a)
        await until(lambda: a.online(b))
        for one in crowd:
            await one.close()
        await until(lambda: len(a.manager.status()) == 1)


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
