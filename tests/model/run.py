# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a program on whole devices and says what is wrong afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from holofsd.core.errors import HoloError
from holofsd.net.fake import FakeNetwork, Weather
from model import checks
from model.actor import OPERATIONS, Actor
from model.chance import Processes, SeededLoop, run_seeded
from model.device import CONFIGS, ModelDevice
from model.ledger import Ledger
from model.program import Program, Step

QUIET_S = 900.0
"""Virtual seconds within which everything has to agree."""
SKEWS_MS = (0, 0, 500, -500, 90_000, -90_000, 3_600_000, -7_200_000, 40 * 86_400_000)
NAMES = ("ada", "bob", "cyd", "dan")


@dataclass
class Result:
    problems: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    conflicts: int = 0
    acknowledged: int = 0
    refused: int = 0


def memory_folder() -> Path:
    fast = Path("/dev/shm")
    parent = fast if fast.is_dir() and os.access(fast, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="hfs-model-", dir=parent))


def run(program: Program) -> Result:
    folder = memory_folder()
    result = Result()

    async def main(loop: SeededLoop, processes: Processes) -> None:
        await World(program, folder, loop, processes, result).go()

    try:
        run_seeded(program.seed, main)
    except Exception:  # noqa: BLE001 (whatever goes wrong in a run is what it found)
        result.problems.append(traceback.format_exc())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result


class World:
    def __init__(self, program: Program, folder: Path, loop: SeededLoop, processes: Processes, result: Result) -> None:
        self.program, self.loop, self.result = program, loop, result
        self.network = FakeNetwork(program.seed, discovery=True)
        self.ledger = Ledger()
        config = CONFIGS[program.quick]
        self.devices = [
            ModelDevice(loop, processes, self.network, folder / name, name, config) for name in NAMES[: program.devices]
        ]
        self.actors = [Actor(device, self.ledger) for device in self.devices]
        self.since_backup: dict[int, set[bytes]] = {}
        """What was acknowledged when a device's backup was made."""
        self.busy: dict[int, list[asyncio.Task[None]]] = {i: [] for i in range(program.devices)}

    async def go(self) -> None:
        try:
            await self._begin()
            for number, step in enumerate(self.program.steps):
                await self._step(number, step)
                if self.result.problems:
                    return
            await self._quiet()
            await self._check()
        finally:
            self.result.problems += self.loop.problems
            self.loop.problems.clear()
            self.result.acknowledged = len(self.ledger.acknowledged)
            await self._end()

    async def _begin(self) -> None:
        for device in self.devices:
            device.up()
        self.devices[0].create()
        for device in self.devices[1:]:
            await device.join(self.devices[0])
        await self._agree()

    async def _end(self) -> None:
        for tasks in self.busy.values():
            for task in tasks:
                task.cancel()
        for device in self.devices:
            if device.is_up:
                await device.down()

    # ---- steps
    async def _step(self, number: int, step: Step) -> None:
        self.result.log.append(f"{self.loop.time():8.3f} {number}: {step}")
        if step.name in OPERATIONS:
            await self._operate(number, step)
        else:
            await getattr(self, f"_{step.name}")(step)
        if self.program.sequential:
            await self._agree()
        elif step.pause:
            await asyncio.sleep(step.pause)

    async def _operate(self, number: int, step: Step) -> None:
        device = self.devices[step.device]
        if not device.is_up:
            return
        context = device.context.copy()
        task = asyncio.create_task(self._operation(number, step), context=context)
        self.busy[step.device].append(task)
        if step.turns < 0:
            with suppress(asyncio.CancelledError):
                await task
        else:
            for _ in range(step.turns):
                await asyncio.sleep(0)

    async def _operation(self, number: int, step: Step) -> None:
        actor = self.actors[step.device]
        actor.where = f"{actor.device.name} at step {number} ({step.name})"
        try:
            await OPERATIONS[step.name][0](actor, step.numbers)
        except HoloError as error:
            self.result.refused += 1
            self.result.log.append(f"    {error.code}: {error.message}")
        except OSError as error:
            if actor.device.is_up:
                self.result.problems.append(f"step {number} {step}: {traceback.format_exc()} {error}")
        except Exception:  # noqa: BLE001
            self.result.problems.append(f"step {number} {step}: {traceback.format_exc()}")

    async def _idle(self, device: int) -> None:
        """Until its operations have ended: nobody stops a device that waits for a fetch."""
        tasks, self.busy[device] = self.busy[device], []
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    # ---- events
    def _pair(self, step: Step) -> tuple[ModelDevice, ModelDevice] | None:
        one = self.devices[step.device]
        other = self.devices[step.numbers[0] % len(self.devices)]
        return (one, other) if one is not other else None

    async def _partition(self, step: Step) -> None:
        if step.numbers[1] % 3 == 0:
            for other in self.devices:
                if other is not self.devices[step.device]:
                    self.network.partition(self.devices[step.device].id, other.id, notice=step.numbers[2] % 2 == 0)
        elif (pair := self._pair(step)) is not None:
            self.network.partition(pair[0].id, pair[1].id, notice=step.numbers[2] % 2 == 0)

    async def _islands(self, step: Step) -> None:
        for device in self.devices:
            for other in self.devices:
                if device is not other:
                    self.network.partition(device.id, other.id, notice=step.numbers[0] % 2 == 0)

    async def _meet(self, _step: Step) -> None:
        self.network.heal_all()
        await asyncio.sleep(3.0)

    async def _heal(self, step: Step) -> None:
        if step.numbers[1] % 2:
            self.network.heal_all()
        elif (pair := self._pair(step)) is not None:
            self.network.heal(pair[0].id, pair[1].id)

    async def _drop(self, step: Step) -> None:
        self.network.drop_connections(self.devices[step.device].id)

    async def _weather(self, step: Step) -> None:
        delays = ((0.0, 0.0), (0.0, 0.05), (0.01, 0.4), (0.5, 3.0))
        self.network.weather = Weather(
            delay=delays[step.numbers[0] % 4],
            loss_of_connection=(0.0, 0.0, 0.01, 0.1)[step.numbers[1] % 4],
            failed_connect=(0.0, 0.3)[step.numbers[2] % 2],
            ghost=(0.0, 0.0, 0.2)[step.numbers[2] % 3],
            cut=(0.0, 0.2)[step.numbers[1] % 2],
        )

    async def _restart(self, step: Step) -> None:
        if not self.devices[step.device].is_up:
            return
        await self._idle(step.device)
        await self.devices[step.device].down()
        self._start(step.device, mount_lives=step.numbers[0] % 2 == 0)

    async def _crash(self, step: Step) -> None:
        device = self.devices[step.device]
        if not device.is_up:
            return
        for task in self.busy[step.device]:
            task.cancel()
        # Cancelling runs what a killed process would not: the copy of the disk is made first, all in one go.
        await device.crash(notice=step.numbers[1] % 2 == 0)
        self.busy[step.device] = []
        self._start(step.device, mount_lives=step.numbers[0] % 3 == 0)

    async def _down(self, step: Step) -> None:
        """Off, or on again."""
        if self.devices[step.device].is_up:
            await self._idle(step.device)
            await self.devices[step.device].down()
        else:
            self._start(step.device, mount_lives=step.numbers[0] % 2 == 0)

    async def _backup(self, step: Step) -> None:
        device = self.devices[step.device]
        if device.is_up:
            device.back_up()
            self.since_backup[step.device] = set(self.ledger.acknowledged)

    async def _restore(self, step: Step) -> None:
        """The disk is what it was; what was written since may be gone, unless others have it."""
        number, device = step.device, self.devices[step.device]
        if number not in self.since_backup:
            return
        if device.is_up:
            await self._idle(number)
            await device.down()
        self.network.drop_connections(device.id)
        others = [other for other in self.devices if other is not device]
        if all(other.is_up and other.store.content.missing() == (0, 0) for other in others):
            self._restored(number)
        self._start(number, mount_lives=False, copied=step.numbers[0] % 2 == 0)

    def _restored(self, number: int) -> None:
        """Only if no content is on the way: what only this disk had would be missing for ever, and rightly so."""
        device = self.devices[number]
        device.restore()
        for digest, where in self.ledger.acknowledged.items():
            if digest not in self.since_backup[number] and where.startswith(device.name + " "):
                self.ledger.supersede(digest, f"{device.name} was restored from a backup")

    def _start(self, number: int, *, mount_lives: bool, copied: bool = False) -> None:
        device, actor = self.devices[number], self.actors[number]
        handles = actor.known_handles() if mount_lives else ()
        if not handles:
            device.processes.kill(device.pid)
            actor.forget_mount()
        lost = device.up(handles, copied=copied)
        actor.held = [held for held in actor.held if held.handle not in lost]

    async def _skew(self, step: Step) -> None:
        self.devices[step.device].clock_off_ms = SKEWS_MS[step.numbers[0] % len(SKEWS_MS)]

    async def _mount_dies(self, step: Step) -> None:
        device = self.devices[step.device]
        if device.is_up:
            await self._idle(step.device)
            device.unmount()
            self.actors[step.device].forget_mount()
            device.mount()

    async def _quiet(self, _step: Step | None = None) -> None:
        """Whatever was wrong is right again, and everybody has time."""
        self.network.heal_all()
        self.network.weather = Weather()
        for number, device in enumerate(self.devices):
            if not device.is_up:
                self._start(number, mount_lives=True)
        for number, actor in enumerate(self.actors):
            await self._idle(number)
            for held in list(actor.held):
                actor.where = f"{actor.device.name} at the end"
                await actor.let_go(held)
        await self._agree()

    async def _agree(self) -> None:
        ends = self.loop.time() + QUIET_S
        while reason := self._disagreement():
            if self.loop.time() > ends:
                raise AssertionError(f"{QUIET_S:.0f} s after the last trouble: {reason}")
            await asyncio.sleep(0.25 if self.loop.time() < ends - QUIET_S + 20 else 5.0)

    def _disagreement(self) -> str:
        for device in self.devices:
            if why := device.unsettled():
                return f"{device.name} has {why}"
        heads = [device.heads() for device in self.devices]
        return "" if all(other == heads[0] for other in heads) else f"heads differ: {heads}"

    async def _check(self) -> None:
        trees = [await checks.tree_of(device) for device in self.devices]
        self.result.problems += checks.same_trees([device.name for device in self.devices], trees)
        shown = checks.contents_of(trees[0])
        self.result.problems += self.ledger.lost(shown | self.devices[0].hidden())
        self.result.problems += self.ledger.unknown(shown)
        self.result.conflicts = checks.count_conflicts(trees[0])
        if self.program.sequential and self.result.conflicts:
            self.result.problems.append(f"a conflict that nobody made: {sorted(trees[0])}")
        known: dict[checks.Facts, checks.Projection] = {}
        for device in self.devices:
            self.result.problems += checks.index_of(device, known)
            self.result.problems += checks.fsck_of(device)
