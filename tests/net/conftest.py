# SPDX-License-Identifier: GPL-3.0-or-later
"""Two worlds with the same rules: the fake network, and the real Iroh on loopback."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from holofsd.core.ids import DeviceId
from holofsd.net.api import SESSION_ALPN, Connection, Discovery, Endpoint, NetConfig
from holofsd.net.fake import FakeNetwork
from holofsd.net.fake_weather import Weather
from holofsd.net.iroh_endpoint import bind_iroh

QUICK = NetConfig(
    bind="127.0.0.1:0",
    discovery=Discovery.NONE,
    connect_timeout=10.0,
    beat_interval=0.1,
    dead_after=3.0,
    max_frame=2 << 20,
)


class World:
    """Makes endpoints, and closes them all in the end."""

    def __init__(self, config: NetConfig = QUICK) -> None:
        self.config = config
        self._numbers = itertools.count(1)
        self._endpoints: list[Endpoint] = []

    def configure(self, **changes: float) -> None:
        """Set options of endpoints still to come."""
        self.config = replace(self.config, **changes)  # type: ignore[arg-type]

    async def endpoint(self, number: int | None = None) -> Endpoint:
        """A device; the same number is the same key."""
        made = await self._make(next(self._numbers) if number is None else number)
        self._endpoints.append(made)
        return made

    async def _make(self, number: int) -> Endpoint:
        raise NotImplementedError

    async def pair(self) -> tuple[Connection, Connection]:
        """A connection as its dialler and as its acceptor see it."""
        return await connected(await self.endpoint(), await self.endpoint())

    async def close(self) -> None:
        for endpoint in self._endpoints:
            await endpoint.close()


class FakeWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.network = FakeNetwork(1, self.config, Weather(delay=(0.0, 0.002), cut=0.5))

    async def _make(self, number: int) -> Endpoint:
        self.network.config = self.config
        return self.network.endpoint(DeviceId(number.to_bytes(32, "big")))


class IrohWorld(World):
    async def _make(self, number: int) -> Endpoint:
        return await bind_iroh(number.to_bytes(32, "big"), self.config)


async def connected(a: Endpoint, b: Endpoint) -> tuple[Connection, Connection]:
    mine, theirs = await asyncio.gather(a.connect(b.device, b.addresses(), SESSION_ALPN), b.accept())
    return mine, theirs


@pytest.fixture(params=["fake", "iroh"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    made = FakeWorld() if request.param == "fake" else IrohWorld()
    yield made
    await made.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not {task for task in left if "holofsd" in repr(task.get_coro())}, "tasks outlived their endpoint"


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    async def wait(condition: Callable[[], bool], limit: float = 30.0) -> None:
        async with asyncio.timeout(limit):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
                await asyncio.sleep(0.005)

    return wait
