# SPDX-License-Identifier: GPL-3.0-or-later
"""The rogue of `scripts/soak hostile`, a process of its own: tells lies of the model's grammar to real daemons.

One line of JSON on standard input says who the honest are, what the rogue is, and what it may tell (`Orders`). It
prints each lie as it begins, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass

from holofsd.codec.content import hash_bytes
from holofsd.codec.signing import SigningKey
from holofsd.core.errors import HoloError
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.net.api import Endpoint
from holofsd.net.iroh_endpoint import bind_iroh
from model.liar import Liar
from model.lies import LIES
from model.lying import GRAMMAR
from support.rogue import CONFIG

LIE_S = 8.0
STRANGERS = 24
"""So many endpoints of strangers at a time; the oldest goes."""
PAUSES_S = (0.0, 0.0, 0.02, 0.2, 1.0)


@dataclass(frozen=True)
class Orders:
    seed: int
    volume: str
    targets: list[tuple[str, str, list[str]]]
    """Id, name, addresses."""
    ticket: str
    """Empty for a stranger."""
    lies: list[str]

    def encode(self) -> str:
        return json.dumps(asdict(self))


@dataclass
class Target:
    id: DeviceId
    name: str
    where: list[str]
    is_up: bool = True

    def addresses(self) -> list[str]:
        return self.where


class OnIroh:
    """The place of a liar among real daemons."""

    def __init__(self, orders: Orders) -> None:
        self.seed = orders.seed
        self.volume = VolumeId(bytes.fromhex(orders.volume))
        self._own: dict[bytes, Endpoint] = {}
        self._strangers: deque[bytes] = deque()

    def now_ms(self) -> int:
        return int(time.time() * 1000)

    async def endpoint(self, key: SigningKey) -> Endpoint:
        if (former := self._own.pop(key.public, None)) is not None:
            await former.close()
        if self._own:  # the first one is the liar's own
            self._strangers.append(key.public)
        while len(self._strangers) > STRANGERS:
            if (oldest := self._own.pop(self._strangers.popleft(), None)) is not None:
                await oldest.close()
        made = self._own[key.public] = await bind_iroh(key.seed, CONFIG)
        return made


async def lie_until_told(orders: Orders) -> None:
    targets = [Target(DeviceId(bytes.fromhex(id)), name, where) for id, name, where in orders.targets]
    liar = Liar(OnIroh(orders), targets, hash_bytes)
    await liar.begin()
    chance = random.Random(f"rogue {orders.seed}")
    over = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    try:
        if orders.ticket:
            await liar.join(orders.ticket)
        while not over.done():
            await _tell_one(liar, orders, chance)
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LIE_S):
                await liar.end()


async def _tell_one(liar: Liar, orders: Orders, chance: random.Random) -> None:
    name = chance.choice(orders.lies)
    target = chance.choice(liar.devices)
    numbers = tuple(chance.randrange(1 << 16) for _ in range(3))
    print(f"{name} to {target.name} {numbers}", flush=True)
    with contextlib.suppress(TimeoutError, HoloError):
        async with asyncio.timeout(LIE_S):
            await LIES[name].tell(liar, target, numbers)
    await asyncio.sleep(chance.choice(PAUSES_S))


def main() -> int:
    assert GRAMMAR
    given = json.loads(sys.stdin.readline())
    given["targets"] = [tuple(target) for target in given["targets"]]
    asyncio.run(lie_until_told(Orders(**given)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
