# SPDX-License-Identifier: GPL-3.0-or-later
"""The devices of one run, the network between them, and what has to hold when all is quiet."""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from holofsd.core.errors import HoloError
from holofsd.core.ids import AuthorId
from holofsd.net.fake import FakeNetwork
from holofsd.net.fake_weather import Weather
from holofsd.sync.ingest import UNLIMITED
from model import checks
from model.actor import OPERATIONS, Actor
from model.chance import Processes, SeededLoop
from model.device import CONFIGS, ModelDevice
from model.ledger import Ledger
from model.members import TROUBLES, Membership
from model.program import Program, Step

QUIET_S = 900.0
"""Virtual seconds within which everything has to agree."""
VERDICTS = 5
"""Rounds of verdicts on held removals after which none is held."""
NAMES = ("ada", "bob", "cyd", "dan", "eve")


@dataclass
class Result:
    problems: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    conflicts: int = 0
    acknowledged: int = 0
    refused: int = 0
    steps: int = 0
    died_at: list[str] = field(default_factory=list)
    lies: list[str] = field(default_factory=list)
    """What the liar told, by name."""


class World(Membership):
    device_kind = ModelDevice

    def __init__(self, program: Program, folder: Path, loop: SeededLoop, processes: Processes, result: Result) -> None:
        self.program, self.loop, self.result = program, loop, result
        self.network = FakeNetwork(program.seed, discovery=True)
        self.ledger = Ledger()
        config = CONFIGS[program.quick]
        self.devices: list[ModelDevice] = [
            self.device_kind(loop, processes, self.network, folder / name, name, config)
            for name in NAMES[: program.devices]
        ]
        self.ledger.devices = self.devices
        self.actors = [Actor(device, self.ledger) for device in self.devices]
        self.busy = [[] for _ in self.devices]
        self.since_backup = {}
        self.former = set()
        self.died_at = result.died_at

    async def begin(self) -> None:
        for device in self.devices:
            device.up()
        self.devices[0].create()
        for device in self.devices[1:]:
            await device.join(self.devices[0])
        await self._agree()

    async def end(self) -> None:
        for tasks in self.busy:
            for task in tasks:
                task.cancel()
        for device in self.devices:
            if device.is_up:
                await device.down()
            elif device.is_dead:
                await device.bury()

    # ---- steps
    async def step(self, step: Step) -> None:
        number = self.result.steps
        self.result.steps += 1
        self.result.log.append(f"{self.loop.time():8.3f} {number}: {step}")
        if step.name in OPERATIONS:
            await self._operate(number, step)
        elif step.name == "quiet":
            await self.quiet()
        else:
            await self.trouble(step)
        if self.program.sequential:
            await self._agree()
        elif step.pause:
            await asyncio.sleep(step.pause)
        await self.bury()

    async def trouble(self, step: Step) -> None:
        await TROUBLES[step.name](self, step)

    async def _operate(self, number: int, step: Step) -> None:
        device = self.devices[step.device]
        if not device.is_up:
            return
        context = device.context.copy()
        task = asyncio.create_task(self._operation(number, step), context=context)
        self.busy[step.device].append(task)
        if step.turns < 0:
            await self.ended(step.device, task)
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

    # ---- quiet
    async def quiet(self) -> None:
        """Put right what was wrong, and give all devices time."""
        self.network.heal_all()
        self.network.weather = Weather()
        for number, device in enumerate(self.devices):
            if device.is_up:
                device.life.fault = None
            elif not device.is_dead:
                self.start(number, mount_lives=True)
        await self.bury()
        for number, actor in enumerate(self.actors):
            await self.idle(number)
            for held in list(actor.held):
                actor.where = f"{actor.device.name} at the end"
                await actor.let_go(held)
        await self.make_whole()
        await self._agree()
        await self._decide()
        for actor in self.actors:
            actor.muted = False
        self.remember()

    def remember(self) -> None:
        for actor in self.actors:
            actor.remembers |= checks.shown_by(actor)

    async def _decide(self) -> None:
        """Decide for each device whose brake holds something. A refusal may make a conflict, which no program of
        one device after the other has otherwise."""
        for _ in range(VERDICTS):
            holding = [number for number, device in enumerate(self.devices) if device.sync.brake.holds]
            if not holding:
                return
            for number in holding:
                brake = self.devices[number].sync.brake
                accepts = self.program.sequential or (self.program.seed + number) % 2
                verdict = brake.accept if accepts else brake.refuse
                await asyncio.wait_for(asyncio.create_task(verdict(), context=self.devices[number].run()), QUIET_S)
            await self._agree()
        raise AssertionError("removals are held again and again")

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
        every = [device.heads() for device in self.devices]
        # Its own device keeps an author that others have folded, while it could not write, and may go on with it.
        gone = {a: head.seq for device in self.devices for a, head in device.store.documents.folded().items()}
        every = [{a: head for a, head in held.items() if head[0] > gone.get(AuthorId(a), 0)} for held in every]
        # An author that gave way is said again by those who have its records; nobody else takes them.
        surplus = {author for device in self.devices for author in device.sync.membership.surplus}
        apart = {author for author in self.former | surplus if not self._counts_everywhere(AuthorId(author))}
        heads = [{a: head for a, head in held.items() if a not in apart} for held in every]
        if any(other != heads[0] for other in heads):
            return f"heads differ: {heads}"
        # Of those nobody holds more than counts, and not everybody that. What a brake holds is decided later.
        holds = any(device.sync.brake.holds for device in self.devices)
        if (
            not holds
            and any(other != every[0] for other in every)
            and any(tree != self._shown(0) for tree in self._all_shown())
        ):
            return "what is shown differs"
        return ""

    def _counts_everywhere(self, author: AuthorId) -> bool:
        """Returns whether an author may go on, as one whose device was removed and let in again."""
        return all(device.sync.members.counts(author, UNLIMITED) for device in self.devices)

    def _all_shown(self) -> list[list[tuple[object, ...]]]:
        return [self._shown(number) for number in range(len(self.devices))]

    def _shown(self, number: int) -> list[tuple[object, ...]]:
        return [(path, entry.view.kind, entry.view.version) for path, entry in self.actors[number].entries()]

    async def check(self) -> None:
        result, names = self.result, [device.name for device in self.devices]
        trees = [await checks.tree_of(device) for device in self.devices]
        result.problems += checks.same_trees(names, trees)
        shown = checks.contents_of(trees[0])
        result.problems += self.ledger.lost(shown | self.devices[0].hidden())
        result.problems += self.ledger.unknown(shown)
        result.problems += checks.folders_apart(trees[0])
        result.conflicts = checks.count_conflicts(trees[0])
        if self.program.sequential and result.conflicts and not self.ledger.taken_back:
            result.problems.append(f"a conflict that nobody made: {sorted(trees[0])}")
        known: dict[checks.Facts, checks.Projection] = {}
        for actor in self.actors:
            result.problems += checks.index_of(actor.device, known)
            result.problems += await checks.fsck_of(actor.device)
            result.problems += checks.forgotten_by(actor, self.devices)
