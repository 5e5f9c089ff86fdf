# SPDX-License-Identifier: GPL-3.0-or-later
"""Troubles: the network, power, clocks, disks. Each trouble is a step of a program, like an operation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from holofsd.net.fake import FakeNetwork
from holofsd.net.fake_weather import Weather
from holofsd.store import faults
from model.actor import Actor
from model.chance import Fault
from model.device import ModelDevice
from model.ledger import Ledger
from model.program import Program, Step
from model.scenes import point_of, scene_of

SKEWS_MS = (0, 0, 500, -500, 90_000, -90_000, 3_600_000, -7_200_000, 40 * 86_400_000)
ELSEWHERE = (
    *("starting.", "rekeying.", "mounting.", "creating.", "joining.", "leaving.", "damage.", "backup.", "repairing."),
    *("syncing.", "importing.", "cutting.", "spans."),
)
"""Crash windows of what these programs do not do. `tests/campaigns/crash.py` reaches them."""
POINTS = sorted(point for point in faults.POINTS if not point.startswith(ELSEWHERE))
OPERATION_S = 900.0
"""Virtual seconds after which an operation hangs."""


class Troubles:
    program: Program
    network: FakeNetwork
    ledger: Ledger
    devices: list[ModelDevice]
    actors: list[Actor]
    busy: list[list[asyncio.Task[None]]]
    """The operations of each device that have not been waited for."""
    since_backup: dict[int, set[bytes]]
    """What was acknowledged when a device's backup was made."""
    died_at: list[str]
    """Fault points where devices crashed."""

    # ---- the network
    def _pair(self, step: Step) -> tuple[ModelDevice, ModelDevice] | None:
        one = self.devices[step.device]
        other = self.devices[step.numbers[0] % len(self.devices)]
        return (one, other) if one is not other else None

    async def partition(self, step: Step) -> None:
        if step.numbers[1] % 3 == 0:
            for other in self.devices:
                if other is not self.devices[step.device]:
                    self.network.partition(self.devices[step.device].id, other.id, notice=step.numbers[2] % 2 == 0)
        elif (pair := self._pair(step)) is not None:
            self.network.partition(pair[0].id, pair[1].id, notice=step.numbers[2] % 2 == 0)

    async def islands(self, step: Step) -> None:
        for device in self.devices:
            for other in self.devices:
                if device is not other:
                    self.network.partition(device.id, other.id, notice=step.numbers[0] % 2 == 0)

    async def meet(self, _step: Step) -> None:
        self.network.heal_all()
        await asyncio.sleep(3.0)

    async def heal(self, step: Step) -> None:
        if step.numbers[1] % 2:
            self.network.heal_all()
        elif (pair := self._pair(step)) is not None:
            self.network.heal(pair[0].id, pair[1].id)

    async def drop(self, step: Step) -> None:
        self.network.drop_connections(self.devices[step.device].id)

    async def move(self, step: Step) -> None:
        """Move to another network, with another address."""
        if self.devices[step.device].is_up:
            self.network.change_network(self.devices[step.device].id)

    async def weather(self, step: Step) -> None:
        """Delay (streams overtake each other), loss, connections that show up twice, data in pieces."""
        delays = ((0.0, 0.0), (0.0, 0.05), (0.01, 0.4), (0.5, 3.0))
        self.network.weather = Weather(
            delay=delays[step.numbers[0] % 4],
            loss_of_connection=(0.0, 0.0, 0.01, 0.1)[step.numbers[1] % 4],
            failed_connect=(0.0, 0.3)[step.numbers[2] % 2],
            ghost=(0.0, 0.0, 0.2)[step.numbers[2] % 3],
            cut=(0.0, 0.2)[step.numbers[1] % 2],
        )

    # ---- power
    async def restart(self, step: Step) -> None:
        if await self._stop(step.device):
            self.start(step.device, mount_lives=step.numbers[0] % 2 == 0)

    async def down(self, step: Step) -> None:
        """Off, or on again."""
        if not self.devices[step.device].is_up:
            self.start(step.device, mount_lives=step.numbers[0] % 2 == 0)
        else:
            await self._stop(step.device)

    async def crash(self, step: Step) -> None:
        """Crash between two turns of the loop."""
        if self.devices[step.device].is_up:
            self.devices[step.device].die()
            await self.bury(step.numbers[0] % 3 == 0)

    async def fault(self, step: Step) -> None:
        """Crash at a fault point, when it is reached the next time or some time later; half of the time any one will
        do."""
        point, times = POINTS[step.numbers[0] % len(POINTS)], 1 + step.numbers[1] % 3
        anywhere = step.numbers[0] >= 1 << 15
        if self.devices[step.device].is_up:
            self.devices[step.device].life.fault = Fault("", 2 * times) if anywhere else Fault(point, times)

    async def step(self, step: Step) -> None:
        """One step of a program."""
        raise NotImplementedError

    async def fault_at(self, step: Step) -> None:
        """Crash at a fault point, each as often as the others, with what leads there."""
        number = step.device
        other = (number + 1) % len(self.devices)
        point = point_of(step.numbers, POINTS, self.program.quick)
        scene = scene_of(point, number, other, step.numbers[1])
        self.network.heal_all()
        for device in (number, other):
            if not self.devices[device].is_up:
                self.start(device, mount_lives=False)
        for part in scene.before:
            await self.step(part)
        died = len(self.died_at)
        if self.devices[number].is_up:
            self.devices[number].life.fault = Fault(point, 1)
        for part in scene.after:
            if len(self.died_at) == died:
                await self.step(part)

    async def bury(self, mount_lives: bool = True) -> None:
        """Start the devices again that crashed."""
        for number, device in enumerate(self.devices):
            if device.is_dead:
                if point := device.died.result():
                    self.died_at.append(point)
                for task in self.busy[number]:
                    task.cancel()
                self.busy[number] = []
                await device.bury()
                self.start(number, mount_lives=mount_lives)

    async def _stop(self, number: int) -> bool:
        """Stop in order. False if it is down, or crashed before it was."""
        if self.devices[number].is_up:
            await self.idle(number)
        if not self.devices[number].is_up:
            return False
        await self.devices[number].down()
        return True

    async def idle(self, number: int) -> None:
        """Wait until its operations have ended: a person stops no device that waits for a fetch."""
        tasks, self.busy[number] = self.busy[number], []
        for task in tasks:
            await self.ended(number, task)

    async def ended(self, number: int, task: asyncio.Task[None]) -> None:
        """Or its device has crashed."""
        died = self.devices[number].died
        either: set[asyncio.Future[Any]] = {task, died}
        await asyncio.wait(either, timeout=OPERATION_S, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            assert died.done(), f"an operation hangs: {task!r}"
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def start(self, number: int, *, mount_lives: bool, copied: bool = False) -> None:
        device, actor = self.devices[number], self.actors[number]
        handles = actor.known_handles() if mount_lives else ()
        if not handles:
            device.processes.kill(device.pid)
            actor.forget_mount()
        lost = device.up(handles, copied=copied)
        actor.held = [held for held in actor.held if held.handle not in lost]

    async def mount_dies(self, step: Step) -> None:
        device = self.devices[step.device]
        if not device.is_up:
            return
        await self.idle(step.device)
        if device.is_up:
            device.unmount()
            self.actors[step.device].forget_mount()
            device.mount()

    # ---- clocks
    async def skew(self, step: Step) -> None:
        """A step, forwards or back."""
        device = self.devices[step.device]
        device.clock_off_ms = SKEWS_MS[step.numbers[0] % len(SKEWS_MS)]
        if abs(device.clock_off_ms) > 86_400_000:
            # History may rightly be thinned now.
            for actor in self.actors:
                actor.thins = True

    # ---- disks
    async def backup(self, step: Step) -> None:
        device = self.devices[step.device]
        if device.is_up:
            device.back_up()
            self.since_backup[step.device] = set(self.ledger.acknowledged)

    async def restore(self, step: Step) -> None:
        """The disk is what it was; what was written since may be gone, unless others have it."""
        number, device = step.device, self.devices[step.device]
        if number not in self.since_backup or (device.is_up and not await self._stop(number)) or device.is_dead:
            return
        self.network.drop_connections(device.id)
        others = [other for other in self.devices if other is not device]
        if all(other.is_up and other.store.content.missing() == (0, 0) for other in others):
            self._restored(number)
        self.start(number, mount_lives=False, copied=step.numbers[0] % 2 == 0)

    def _restored(self, number: int) -> None:
        """Only if no content is on the way: what only this disk had would be missing for ever, and rightly so."""
        device = self.devices[number]
        # A device that was removed meanwhile gives nothing back.
        lost = {device.name} | {other.name for other in self.devices if other.is_up and other.sync.role is None}
        device.restore()
        self.actors[number].remembers.clear()
        for digest, where in self.ledger.acknowledged.items():
            if digest not in self.since_backup[number] and where.split()[0] in lost:
                self.ledger.supersede(digest, f"{device.name} was restored from a backup")


Trouble = Callable[[Troubles, Step], Awaitable[None]]

TROUBLES: dict[str, Trouble] = {
    "partition": Troubles.partition,
    "islands": Troubles.islands,
    "meet": Troubles.meet,
    "heal": Troubles.heal,
    "drop": Troubles.drop,
    "move": Troubles.move,
    "weather": Troubles.weather,
    "restart": Troubles.restart,
    "down": Troubles.down,
    "crash": Troubles.crash,
    "fault": Troubles.fault,
    "fault_at": Troubles.fault_at,
    "mount_dies": Troubles.mount_dies,
    "skew": Troubles.skew,
    "backup": Troubles.backup,
    "restore": Troubles.restore,
}
