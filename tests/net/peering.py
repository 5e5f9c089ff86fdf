# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices with a peer manager on a fake network, in virtual time."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager

from holofsd.core.ids import DeviceId
from holofsd.net.peers import PeerManager
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
    """Wait for a condition, in virtual time."""
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
