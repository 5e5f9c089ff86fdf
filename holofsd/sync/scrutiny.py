# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials of devices that are not known as members: what is looked at, in which order, and how much that may cost.

Whoever knows a volume's id can show thousands of credentials with false signatures. So only the chain of the one device
that is asked about is looked at, of bounded length; signatures are verified from the volume's key downwards, in a
thread, and the first false one ends it; what hangs on no verified link is never verified; and only what is verified is
added up. All of that together has a share of one processor, and each source a share of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from holofsd.codec.signing import verify_grant, verify_removed
from holofsd.core import members as rules
from holofsd.core.allowance import Allowance, Recent
from holofsd.core.document import Credentials, Grant, Removed, Role
from holofsd.core.errors import Refused
from holofsd.core.ids import DeviceId, VolumeId
from holofsd.store.threads import Pool, in_thread
from holofsd.sync.config import HELLO_CREDENTIALS

T = TypeVar("T")

SOURCES = 1024
"""Sources of hellos that are told apart."""
BURST = 1.0
"""Seconds of a processor that may be spent at once."""
PER_SOURCE = 4
"""A source has this part of the whole share."""
COST = 0.0005
COST_SHOWN = 0.0002
COST_KNOWN = 0.00002
COST_BYTE = 0.0000003
"""Seconds for a hello, for each credential in it (read, put in order, verified), for each that is known, and for each
byte that is parsed: two can be a field, which is looked at first."""


def cost_of(*, size: int = 0, shown: int = 0, known: int = 0) -> float:
    """Seconds of a processor: for a hello of so many bytes, with so many credentials, that are added to known ones."""
    return COST + size * COST_BYTE + shown * COST_SHOWN + known * COST_KNOWN


class Scrutiny:
    """A queue of one for what devices show that are not known as members."""

    def __init__(self, share: float) -> None:
        self._all = Allowance(share, BURST)
        self._sources: Recent[str, Allowance] = Recent(
            lambda: Allowance(share / PER_SOURCE, BURST / PER_SOURCE), SOURCES
        )
        self._turn = asyncio.Lock()

    async def spend(self, source: str, cost: float, work: Callable[[], Awaitable[T]]) -> T:
        """Runs `work` when its source and all together have spent less than their share. Waits as long as it takes: the
        caller has a deadline.

        The cost is told in seconds beforehand (`cost_of`), so that it does not depend on what else the machine does.
        """
        mine, clock = self._sources.of(source), asyncio.get_running_loop().time
        while (wait := mine.wait(clock())) > 0:  # noqa: ASYNC110 - an allowance comes back with time
            await asyncio.sleep(wait)
        mine.take(cost, clock())  # now, for others of that source wait too and would go on together
        async with self._turn:
            while (wait := self._all.wait(clock())) > 0:  # noqa: ASYNC110
                await asyncio.sleep(wait)
            self._all.take(cost, clock())
            return await work()


def chain_shown(volume: VolumeId, offered: Credentials, device: DeviceId, known: Credentials) -> Credentials:
    """Grants and removals, of those offered and not known yet, that bear on whether this device is a member.

    Those of the device, of whoever issued one of them, offered or known, and so on up to the volume's key. Certificates
    say nothing about that. Raises Refused for more than a hello may show.
    """
    if offered.size() > HELLO_CREDENTIALS:
        raise Refused("A device showed more credentials than a hello has room for.")
    about: dict[bytes, list[bytes]] = {}
    statements: list[Grant | Removed] = [*known.grants, *known.removals, *offered.grants, *offered.removals]
    for statement in statements:
        about.setdefault(statement.device, []).append(statement.issuer)
    chain: dict[bytes, None] = {device: None}
    edge: list[bytes] = [device]
    for who in edge:  # grows while it is walked
        for issuer in about.get(who, ()):
            if issuer not in chain and issuer != volume:
                chain[issuer] = None
                edge.append(issuer)
    grants, removals = frozenset(known.grants), frozenset(known.removals)
    return Credentials(
        tuple(grant for grant in dict.fromkeys(offered.grants) if grant.device in chain and grant not in grants),
        tuple(one for one in dict.fromkeys(offered.removals) if one.device in chain and one not in removals),
    )


async def verified(volume: VolumeId, fresh: Credentials, known: Credentials) -> Credentials:
    """The part of `fresh` that leads back to the volume's key, signatures verified. Raises Refused for a false one."""
    issuers = {volume, *(grant.device for grant in known.grants if grant.role is Role.ADMIN)}
    return await in_thread(Pool.BACKGROUND, _verified, volume, fresh, issuers)


def _verified(volume: VolumeId, fresh: Credentials, issuers: Collection[bytes]) -> Credentials:
    rooted = {*issuers}
    grants: list[Grant] = []
    removals: list[Removed] = []
    waiting = list(fresh.grants)
    while ready := [grant for grant in waiting if grant.issuer in rooted]:
        waiting = [grant for grant in waiting if grant.issuer not in rooted]
        for grant in ready:
            if not verify_grant(volume, grant):
                raise Refused("A device showed a grant with a false signature.")
            grants.append(grant)
            if grant.role is Role.ADMIN:
                rooted.add(grant.device)
    for removal in fresh.removals:
        if removal.issuer in rooted:
            if not verify_removed(volume, removal):
                raise Refused("A device showed a removal with a false signature.")
            removals.append(removal)
    return Credentials(tuple(grants), tuple(removals))


async def is_proven_member(volume: VolumeId, device: DeviceId, offered: Credentials) -> bool:
    """Whether what a device shows proves by itself that it is a member. Nothing is kept. Raises Refused."""
    nothing = Credentials()
    proven = await verified(volume, chain_shown(volume, offered, device, nothing), nothing)
    return device in rules.resolve(volume, proven).roles
