# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices on one network find each other by multicast, here on the loopback interface."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from holofsd.core.ids import DeviceId
from holofsd.net import lan
from holofsd.net.lan import SERVICE, LanDiscovery, instance_of

A, B, C = (DeviceId(letter * 32) for letter in (b"a", b"b", b"c"))
LOOPBACK = ["127.0.0.1"]


class Place:
    """Endpoint, as far as discovery looks at it."""

    def __init__(self, device, *addresses):
        self.device = device
        self._addresses = list(addresses)

    def addresses(self):
        return self._addresses

    def move(self, *addresses):
        self._addresses = list(addresses)


class Found:
    def __init__(self):
        self.wanted = set()
        self.calls = []
        self.news = asyncio.Event()

    def appeared(self, device, addresses):
        self.calls.append((device, tuple(addresses)))
        self.news.set()

    async def next(self):
        async with asyncio.timeout(60):
            await self.news.wait()
        self.news.clear()
        return self.calls[-1]


@asynccontextmanager
async def on_the_network(place, *wanted):
    found = Found()
    found.wanted.update(wanted)
    running = asyncio.create_task(LanDiscovery(place, lambda: found.wanted, found.appeared, LOOPBACK).run())
    try:
        yield found
    finally:
        running.cancel()
        await asyncio.wait({running})
        assert running.cancelled()


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(lan, "RENEW", 0.1)


async def test_two_devices_that_want_each_other_find_each_other():
    here, there = Place(A, "127.0.0.1:4001", "[::1]:4002"), Place(B, "127.0.0.1:5001")
    async with on_the_network(here, B) as at_a, on_the_network(there, A) as at_b:
        assert await at_a.next() == (B, ("127.0.0.1:5001",))
        assert await at_b.next() == (A, ("127.0.0.1:4001", "[::1]:4002"))


async def test_who_is_wanted_only_later_is_found_then():
    async with on_the_network(Place(A, "127.0.0.1:4001"), C) as at_a, on_the_network(Place(B, "127.0.0.1:5001")):
        async with on_the_network(Place(C, "127.0.0.1:6001")):
            assert await at_a.next() == (C, ("127.0.0.1:6001",))
        assert len(at_a.calls) == 1
        at_a.wanted.add(B)
        assert await at_a.next() == (B, ("127.0.0.1:5001",))


async def test_a_device_that_moved_is_found_at_its_new_place():
    there = Place(B, "127.0.0.1:5001")
    async with on_the_network(Place(A, "127.0.0.1:4001"), B) as at_a, on_the_network(there):
        assert await at_a.next() == (B, ("127.0.0.1:5001",))
        there.move("127.0.0.1:5999")
        while await at_a.next() != (B, ("127.0.0.1:5999",)):
            pass


async def test_nonsense_and_addresses_elsewhere_are_not_learned():
    liar = AsyncZeroconf(interfaces=LOOPBACK, ip_version=IPVersion.V4Only)
    try:
        async with on_the_network(Place(A, "127.0.0.1:4001"), B, C) as at_a:
            for device, properties in (
                (B, {"a0": "8.8.8.8:53", "a1": "junk", "a2": b"\xff\xfe", "a3": ""}),
                (C, {"a0": "8.8.8.8:53", "a1": "127.0.0.1:7001", "zz": "10.0.0.1:1"}),
            ):
                name = instance_of(device)
                info = AsyncServiceInfo(
                    SERVICE,
                    f"{name}.{SERVICE}",
                    port=1,
                    server=f"{name}.local.",
                    properties=properties,
                    addresses=[b"\x7f\0\0\1"],
                )
                await liar.async_register_service(info, cooperating_responders=True)
            assert await at_a.next() == (C, ("127.0.0.1:7001",))
            assert {device for device, _ in at_a.calls} == {C}
    finally:
        await liar.async_close()


def test_the_key_of_a_device_is_not_announced():
    assert A.hex()[:8] not in instance_of(A)
    assert instance_of(A) != instance_of(B)


async def test_a_machine_without_multicast_goes_without(monkeypatch):
    tried = asyncio.Event()

    def broken(**_):
        tried.set()
        raise OSError("no such device")

    monkeypatch.setattr(lan, "AsyncZeroconf", broken)
    async with on_the_network(Place(A, "127.0.0.1:4001"), B):
        await tried.wait()
