# SPDX-License-Identifier: GPL-3.0-or-later
"""Members that name addresses of others: how often those are dialled, and which relays are used."""

from __future__ import annotations

import asyncio

import pytest

from holofsd.core.errors import Unreachable
from holofsd.core.ids import DeviceId
from holofsd.daemon.config import read_config
from holofsd.net import dialling
from holofsd.net.api import SESSION_ALPN, Discovery, NetConfig
from holofsd.net.dialling import BURST, EVERY_S, DialBudget
from holofsd.net.fake import FakeNetwork
from holofsd.net.iroh_endpoint import relays_of
from holofsd.net.peers import FEW, NEVER_MET_S
from holofsd.net.relays import KnownRelays
from tests.net.peering import HIGH, LOW, devices, until
from tests.net.virtual import run_virtual

VICTIM = "203.0.113.7"


def test_a_machine_is_dialled_a_bounded_number_of_times_whichever_ports_are_named():
    budget = DialBudget()
    dialled = sum(len(budget.affordable([f"{VICTIM}:{port}"], [], 0.0)) for port in range(2000, 4000))
    assert dialled == BURST
    assert budget.affordable([f"{VICTIM}:5000"], [], EVERY_S * 0.9) == []
    assert budget.affordable([f"{VICTIM}:5000", f"{VICTIM}:5001"], [], EVERY_S * 1.1) == [f"{VICTIM}:5000"]
    assert budget.affordable(["203.0.113.8:5000"], [], 0.0) != []


def test_where_a_device_proved_itself_and_on_this_machine_nothing_is_counted():
    budget = DialBudget()
    for _ in range(BURST * 3):
        assert budget.affordable([f"{VICTIM}:5000"], [VICTIM], 0.0) != []
        assert budget.affordable(["127.0.0.1:5000", "[::1]:5000"], [], 0.0) == ["127.0.0.1:5000", "[::1]:5000"]


def test_machines_without_end_take_no_memory_without_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dialling, "MAX_NETWORKS", 8)
    budget = DialBudget()
    for number in range(256):
        budget.affordable([f"10.0.0.{number}:5000"], [], 0.0)
    assert len(budget._buckets) == 8


class Counting:
    """An endpoint that notes what is dialled, and when; nobody is there."""

    def __init__(self, endpoint):
        self._endpoint = endpoint
        self.dialled = []

    def __getattr__(self, name):
        return getattr(self._endpoint, name)

    async def connect(self, peer, addresses, alpn, relay_url=""):
        self.dialled += [(asyncio.get_running_loop().time(), address) for address in addresses]
        await asyncio.sleep(0.01)
        raise Unreachable("No answer.")


@pytest.mark.parametrize("devices_of_the_liar", [1, 20])
def test_a_member_with_ever_new_addresses_of_a_victim_does_not_make_us_flood_it(devices_of_the_liar):
    async def scenario():
        network = FakeNetwork(1)
        async with devices(network, LOW) as (a,):
            a.manager._endpoint = counting = Counting(a.endpoint)
            liars = [DeviceId(bytes([number + 1]) * 32) for number in range(devices_of_the_liar)]
            for liar in liars:
                a.manager.want(liar, [f"{VICTIM}:1999"])
            for turn in range(600):
                for liar in liars:
                    a.manager.learn(liar, [f"{VICTIM}:{2000 + turn * 16 + number}" for number in range(16)])
                await asyncio.sleep(1.0)
            assert len([at for at, _ in counting.dialled if at < EVERY_S]) <= BURST + 1
            assert len(counting.dialled) <= BURST + 600 / EVERY_S + 1

    run_virtual(scenario())


def test_a_new_address_of_an_honest_device_is_tried_at_once_though_another_one_lies():
    async def scenario():
        network = FakeNetwork(1)
        async with devices(network, LOW, HIGH) as (a, b):
            liar = DeviceId(b"z" * 32)
            a.manager.want(liar)
            a.manager.want(HIGH, [f"{VICTIM}:9"])
            for turn in range(100):
                a.manager.learn(liar, [f"{VICTIM}:{2000 + turn}"])
                await asyncio.sleep(0.5)
            before = asyncio.get_running_loop().time()
            a.manager.learn(HIGH, b.endpoint.addresses())
            await until(lambda: a.online(b))
            assert asyncio.get_running_loop().time() < before + 2

    run_virtual(scenario())


def test_members_made_up_by_the_thousand_are_dialled_seldom_and_an_honest_one_is_met():
    async def scenario():
        network = FakeNetwork(1)
        async with devices(network, LOW, HIGH) as (a, b):
            dialled = []
            connect = a.endpoint.connect

            async def counted(peer, addresses, alpn, relay_url=""):
                dialled.append(asyncio.get_running_loop().time())
                return await connect(peer, addresses, alpn, relay_url)

            a.endpoint.connect = counted
            for number in range(1000):
                a.manager.want(DeviceId(number.to_bytes(32, "big")))
            a.manager.want(HIGH)
            await asyncio.sleep(1000)
            a.manager.network_changed()
            await asyncio.sleep(1000)
            assert len(dialled) <= FEW + 2000 / NEVER_MET_S * 2
            assert len([at for at in dialled if at < 10]) <= FEW + 10 / NEVER_MET_S * 2
            before = asyncio.get_running_loop().time()
            a.manager.learn(HIGH, b.endpoint.addresses())
            await until(lambda: a.online(b))
            assert asyncio.get_running_loop().time() < before + 2

    run_virtual(scenario())


# ---- relays
def test_only_relays_that_a_person_configured_are_used():
    own = relays_of(NetConfig(discovery=Discovery.NONE, relays=("https://relay.example.org",)))
    for same in ("https://relay.example.org", "https://RELAY.example.org:443/", "https://relay.example.org./"):
        assert own.may_be_used(same)
    for other in (
        "https://evil.example.org",
        "http://relay.example.org",
        "https://relay.example.org:444",
        "https://relay.example.org@evil.example.org",
        "https://user@relay.example.org",
        "https://relay.example.org.evil.example.org",
        "https://relay.example.org/elsewhere",
        "https://[",
        "https://relay.example.org:99999",
        "",
        "any",
    ):
        assert not own.may_be_used(other), other


def test_without_relays_of_ones_own_the_public_ones_are_used_and_none_without_discovery():
    public = relays_of(NetConfig())
    assert public.may_be_used("https://use1-1.relay.n0.iroh.link./")
    assert not public.may_be_used("https://relay.example.org")
    none = relays_of(NetConfig(discovery=Discovery.NONE))
    assert not none.may_be_used("https://use1-1.relay.n0.iroh.link./")


def test_relays_of_others_are_used_where_a_person_allowed_them(tmp_path, monkeypatch):
    allowed = KnownRelays([], ["https://theirs.example.org"])
    assert allowed.may_be_used("https://theirs.example.org/")
    assert not allowed.may_be_used("https://others.example.org/")
    assert KnownRelays([], ["any"]).may_be_used("https://others.example.org/")
    said = {"HOLOFS_ALLOWED_RELAYS": "https://theirs.example.org, any"}
    assert read_config(str(tmp_path), False, said).net.allowed_relays == ("https://theirs.example.org", "any")


async def test_a_device_behind_a_relay_that_is_not_ours_is_said_to_be_so():
    from tests.net.conftest import IrohWorld

    world = IrohWorld()
    try:
        endpoint = await world.endpoint()
        with pytest.raises(Unreachable, match="HOLOFS_ALLOWED_RELAYS"):
            await endpoint.connect(endpoint.device, [], SESSION_ALPN, "https://relay.example.org")
        endpoint.allow_relays(["https://relay.example.org"])
        assert endpoint._relays.may_be_used("https://relay.example.org")
    finally:
        await world.close()
