# SPDX-License-Identifier: GPL-3.0-or-later
"""Tickets on their way to being redeemed: tried until the issuer answers, over restarts, whoever watches.

A join begins with a row in the device's database and ends with the volume ready or the ticket refused. Crash windows:
redeemed but not stored here, the ticket is redeemed again and the issuer answers the same grant.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from holofsd.codec.ticket import Invite, decode_ticket
from holofsd.core.document import Credentials
from holofsd.core.errors import ConnectionLost, HoloError, TicketInvalid, TicketRefused, Unreachable
from holofsd.core.ids import VolumeId
from holofsd.rpc.device_api import JoinProgress, VolumeSummary
from holofsd.store import faults
from holofsd.store.device import DeviceStore, JoinRow
from holofsd.sync.invites import LastingRefusal

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 60.0
_BUSY_PAUSE_S: Final = 15.0

Redeem = Callable[[Invite], Awaitable[Credentials]]
Enter = Callable[[Invite, str, Credentials], Awaitable[VolumeSummary]]


@dataclass(eq=False, slots=True)
class Join:
    """One ticket being redeemed, and what there is to tell about it."""

    invite: Invite
    name: str
    step: JoinProgress
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    failure: HoloError | None = None
    task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        return self.failure is not None or self.step.stage == "ready"

    def tell(self, stage: str, message: str, volume: VolumeSummary | None = None) -> None:
        self.step = JoinProgress(stage, message, volume)
        self.wake()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Joiner:
    """Joins of this device that are under way: one task for each.

    `redeem` asks the issuer; `enter` opens the volume with what was granted, and removes the row of the join.
    """

    def __init__(self, store: DeviceStore, redeem: Redeem, enter: Enter) -> None:
        self._store = store
        self._redeem = redeem
        self._enter = enter
        self._joins: dict[VolumeId, Join] = {}

    def start(self) -> None:
        """Goes on with what was begun before the daemon stopped."""
        for row in self._store.joins():
            try:
                if not row.refused:
                    self._begin(decode_ticket(row.ticket), row.name)
            except TicketInvalid as error:  # made by a newer program, which has been taken away since
                self._refused(row.volume, error.message)

    async def close(self) -> None:
        tasks = [join.task for join in self._joins.values() if join.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def note(self, invite: Invite, ticket: str, name: str) -> None:
        """Remembers the ticket; inside a transaction, before `begin`."""
        self._store.put_join(JoinRow(invite.volume, ticket, name, ""))

    def begin(self, invite: Invite, name: str) -> Join:
        """Begins to redeem a ticket that is noted; one join a volume, the newest ticket counts."""
        self.drop(invite.volume)
        faults.reach("joining.noted")
        return self._begin(invite, name)

    def resume(self, volume: VolumeId) -> None:
        """Goes on with a join that was dropped, and is noted still."""
        for row in self._store.joins():
            if row.volume == volume and not row.refused:
                self._begin(decode_ticket(row.ticket), row.name)

    def drop(self, volume: VolumeId) -> None:
        join = self._joins.pop(volume, None)
        if join is not None and join.task is not None:
            join.task.cancel()

    def explanation(self, volume: VolumeId) -> str:
        """Reason why the volume is not there yet."""
        join = self._joins.get(volume)
        if join is not None:
            return join.failure.message if join.failure is not None else join.step.message
        return next((row.refused for row in self._store.joins() if row.volume == volume), "")

    async def follow(self, join: Join, no_wait: bool) -> AsyncIterator[JoinProgress]:
        """Every step from now on; with `no_wait`, until the issuer could not be reached at once. Raises its failure."""
        told: JoinProgress | None = None
        while True:
            changed = join.changed
            if join.failure is not None:
                raise join.failure
            if join.step is not told:
                told = join.step
                yield told
            if join.over or (no_wait and told.stage == "waiting"):
                return
            if join.step is told:
                await changed.wait()

    def _begin(self, invite: Invite, name: str) -> Join:
        join = Join(invite, name, JoinProgress("connecting", "Looking for the device that made the invite."))
        self._joins[invite.volume] = join
        join.task = asyncio.create_task(self._run(join))
        return join

    async def _run(self, join: Join) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                credentials = await self._redeem(join.invite)
                join.tell("redeemed", "The invite was accepted.")
                volume = await self._enter(join.invite, join.name, credentials)
                self._joins.pop(join.invite.volume, None)
                join.tell("ready", f"{volume.name} is here; its files arrive in the background.", volume)
                return
            except (Unreachable, ConnectionLost) as error:
                _log.info("the issuer of an invite cannot be reached", why=error.message)
                join.tell("waiting", "The device that made the invite cannot be reached yet; HoloFS keeps trying.")
            except TicketRefused as error:
                if isinstance(error, LastingRefusal):
                    self._give_up(join, error)
                    return
                # Others have guessed from an address like ours: the issuer listens to nobody there for a minute.
                join.tell("waiting", "The device that made the invite is being asked too often; HoloFS keeps trying.")
                pause = max(pause, _BUSY_PAUSE_S)
            except HoloError as error:
                self._give_up(join, error)
                return
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _give_up(self, join: Join, error: HoloError) -> None:
        self._refused(join.invite.volume, error.message)
        join.failure = error
        join.wake()

    def _refused(self, volume: VolumeId, why: str) -> None:
        with self._store.db.transaction():
            for row in self._store.joins():
                if row.volume == volume:
                    self._store.put_join(JoinRow(row.volume, row.ticket, row.name, why))
