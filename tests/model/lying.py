# SPDX-License-Identifier: GPL-3.0-or-later
"""A world in which one more device lies: what has to hold for the honest ones nevertheless.

Every version that an honest device acknowledged is shown, in a history or in a trash of an honest device; the honest
show one tree; membership can be repaired with the volume's key; what it all costs stays within `model.bounds`; and no
honest device is blamed. A writer may replace and remove what it saw, as any writer: that leaves what it took away in
histories, and lies must not take away more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from holofsd.codec.signing import SigningKey
from holofsd.core.document import Role
from holofsd.core.errors import ConnectionLost, ContentTimeout, ContentUnavailable, HoloError, NoSpace, Refused
from holofsd.core.ids import BlobHash, DeviceId, Ino, NodeId, VolumeId
from holofsd.core.project import base_of_conflict_name
from holofsd.core.state import Blob, Chunks, Inline, Manifest, Pending
from holofsd.net.api import Endpoint
from holofsd.sync.config import SyncConfig
from holofsd.sync.jobs import SELDOM
from holofsd.sync.members import Members
from model import bounds, checks, lies_chunks, lies_members, lies_records, lies_sets, lies_wire
from model.actor import Actor
from model.chance import Processes, SeededLoop
from model.device import ModelDevice
from model.liar import Liar
from model.lies import LIES
from model.program import Program, Step
from model.world import Result, World
from tests.tree.harness import walk

LIE_S = 60.0
"""Virtual seconds that a lie may take; then it is told as far as it was."""
IDLE_S = 20.0
SETTLED_S = 15.0
RARE_S = (SELDOM + 1) * SyncConfig().missing_retry
"""Seconds after which content that nobody has is asked for seldom: before, with growing pauses (`sync.content`)."""
PREFIX = "lie:"
LETS_GO = ("empty_trash", "squeeze", "tidy")
"""Operations after which a device may have forgotten what was removed."""


class DeceivedDevice(ModelDevice):
    """`others`: all honest devices. Content that none of them has is not waited for, and neither is nonsense."""

    others: list[ModelDevice]

    def missing(self) -> int:
        rows = self.store.db.all("SELECT DISTINCT hash FROM wanted WHERE hash NOT IN (SELECT hash FROM content)")
        return sum(is_somewhere(BlobHash(row[0]), self.others) for row in rows)

    def quarantined(self) -> int:
        return 0

    def unsettled(self) -> str:
        """Names what is unsettled, as for any device. A file in an unknown folder is out of sight for a while."""
        waiting, _ = self.store.nodes.strays.waiting(NodeId(b""), 1)
        return super().unsettled() or ("a folder that is waited for" if waiting else "")


def is_somewhere(blob: BlobHash, devices: list[ModelDevice]) -> bool:
    return any(device.is_up and device.store.content.has(blob) for device in devices)


def put_out(members: Members, device: DeviceId) -> None:
    """Removes it, as a person does that reads why it was refused."""
    try:
        members.remove(device)
    except Refused as refused:
        if "--undo" not in refused.message:
            raise
        members.remove(device, undo=True)


@dataclass(frozen=True)
class InTheModel:
    """World of the liar of the model: the fake network, virtual time."""

    world: World

    @property
    def volume(self) -> VolumeId:
        volume = self.world.devices[0].volume_id
        assert volume is not None
        return volume

    @property
    def seed(self) -> int:
        return self.world.program.seed

    def now_ms(self) -> int:
        return self.world.devices[0].now_ms() - self.world.devices[0].clock_off_ms

    async def endpoint(self, key: SigningKey) -> Endpoint:
        return self.world.network.endpoint(DeviceId(key.public))


class LyingWorld(World):
    device_kind = DeceivedDevice

    def __init__(self, program: Program, folder: Path, loop: SeededLoop, processes: Processes, result: Result) -> None:
        super().__init__(program, folder, loop, processes, result)
        for device in self.devices:
            assert isinstance(device, DeceivedDevice)
            device.others = self.devices
        self.liar = Liar(InTheModel(self), self.devices, self.ledger.made)
        self.expelled = False
        """The liar was removed once, or may not write: how much of it counts depends on who heard what."""
        self._read_in_vain: set[str] = set()

    async def begin(self) -> None:
        await super().begin()
        self.loop.on_stuck = self.liar.silence
        await self.liar.begin()
        # In one of five runs it begins as a stranger.
        role = (None, Role.READER, Role.WRITER, Role.WRITER, Role.ADMIN)[self.program.seed % 5]
        if role is not None:
            await self._join(self.devices[0], role)

    async def _join(self, owner: ModelDevice, role: Role) -> None:
        made = owner.hub.inviter.make(owner.sync.id, role, "volume", owner.addresses(), "")
        await self.liar.join(made.ticket)

    async def end(self) -> None:
        await self.liar.end()
        await super().end()

    # ---- steps
    async def trouble(self, step: Step) -> None:
        if step.name in LIAR_STEPS:
            await LIAR_STEPS[step.name](self, step)
        elif step.name.startswith(PREFIX):
            await self._lie(step.name.removeprefix(PREFIX), step)
        else:
            await super().trouble(step)

    async def _lie(self, name: str, step: Step) -> None:
        self.result.lies.append(name)
        with suppress(TimeoutError, ConnectionLost):
            async with asyncio.timeout(LIE_S):
                await LIES[name].tell(self.liar, self.devices[step.device], step.numbers)
        await asyncio.sleep(0.01)
        if self.devices[step.device].is_up:
            self.result.problems += bounds.untellable(self.devices[step.device])

    async def liar_comes(self, step: Step) -> None:
        """An admin lets it in, or gives it another role."""
        admin, role = self.devices[self._admin(step)], (Role.READER, Role.WRITER, Role.ADMIN)[step.numbers[2] % 3]
        if not admin.is_up or admin.sync.role != Role.ADMIN:
            return
        if not admin.sync.members.is_member(self.liar.id):
            await self._join(admin, role)
        else:
            self._note_fall(role)
            with suppress(HoloError):
                admin.sync.set_member(self.liar.id, role)

    async def liar_goes(self, step: Step) -> None:
        """An admin removes it."""
        admin = self.devices[self._admin(step)]
        if admin.is_up and admin.sync.role == Role.ADMIN and admin.sync.members.is_member(self.liar.id):
            self._note_fall(Role.READER)
            with suppress(HoloError):
                put_out(admin.sync.members, self.liar.id)

    def _note_fall(self, role: Role) -> None:
        if role == Role.READER:
            self.former |= set(self.liar.authors)

    async def _operation(self, number: int, step: Step) -> None:
        if step.name in LETS_GO or (step.name == "collect" and step.numbers[0] % 2):
            self._lets_go(step.device)
        await super()._operation(number, step)

    def _lets_go(self, number: int) -> None:
        """A person lets go of what was removed on that device, and of what the liar removed with it."""
        actor = self.actors[number]
        for digest in checks.kept_by(actor).keys() - checks.shown_by(actor):
            self.ledger.supersede(digest, f"{actor.device.name} let go of it")

    # ---- membership
    def may_begin_afresh(self, number: int) -> bool:
        """Whether a device may join with nothing: one that the liar removed has what no other may have, and keeps
        it."""
        return not self.liar.was_member

    def repair(self) -> None:
        """The founder, with the volume's key: an admin again if it was removed, and the liar and its friends go."""
        owner = self.devices[0]
        if not owner.is_up:
            return
        members, key = owner.sync.members, SigningKey(owner.secret)
        members.volume_key = key
        if members.role != Role.ADMIN:
            members.recover(key, owner.name)
        honest = {device.id for device in self.devices}
        if self.program.seed % 3 or members.membership.roles.get(self.liar.id) == Role.ADMIN:
            self._note_fall(Role.READER)
            for other in [device for device in members.others() if device not in honest]:
                if members.is_member(other):  # it may have gone with who let it in
                    put_out(members, other)

    def are_whole(self) -> bool:
        owner = self.devices[0].sync
        if not owner.members.volume_key:
            return False  # `repair` has to look once
        return super().are_whole()

    async def quiet(self) -> None:
        # What it left open stays open; it says no more by itself.
        self.former |= set() if self._counts() else set(self.liar.authors)
        await super().quiet()
        await asyncio.sleep(SETTLED_S)  # what it said while it did not count is asked for when it is let in again
        await self._agree()

    def _counts(self) -> bool:
        return all(
            device.is_up and (device.sync.membership.roles.get(self.liar.id) or Role.READER) >= Role.WRITER
            for device in self.devices
        )

    # ---- what has to hold
    def _shown(self, number: int) -> list[tuple[object, ...]]:
        contested = self._contested()
        return [
            (path, entry.view.kind, entry.view.version)
            for path, entry in walk(self.devices[number].local.tree).items()
            if _slot(path) not in contested
        ]

    def _contested(self) -> set[bytes]:
        """Names at which some device needs content that no honest one has: what it shows instead, it had before."""
        found: set[bytes] = set()
        for actor in self.actors:
            unreadable = self._unreadable(actor)
            found |= {_slot(path) for path, entry in walk(actor.device.local.tree).items() if entry.node in unreadable}
        return found

    def _unreadable(self, actor: Actor) -> frozenset[NodeId]:
        nodes = {entry.node for entry in walk(actor.device.local.tree).values()}
        return frozenset(node for node in nodes if not self._is_readable(actor.device, node))

    def remember(self) -> None:
        """Remember contents that were shown and could be read."""
        for actor in self.actors:
            kept = checks.kept_by(actor)
            for digest in checks.shown_by(actor) & self.ledger.contents.keys():
                body = kept[digest].body if digest in kept else None
                if not isinstance(body, Blob | Manifest) or is_somewhere(body.hash, self.devices):
                    actor.remembers.add(digest)

    def _is_readable(self, device: ModelDevice, node: NodeId) -> bool:
        state = device.local.tree.state(node)
        bodies = [version.body for version in state.versions.values()] if state is not None else []
        return all(
            is_somewhere(body.hash, self.devices) if isinstance(body, Blob | Manifest) else _is_plain(body)
            for body in bodies
        )

    async def _read(self, device: ModelDevice, ino: Ino) -> bytes:
        version = device.local.tree.version(ino)
        body = version.body if version is not None else None
        if body is None or isinstance(body, (Inline, Pending)):
            return await checks.read_file(device, ino)
        if isinstance(body, Blob | Manifest) and is_somewhere(body.hash, self.devices):
            return await checks.read_file(device, ino)
        if device.name not in self._read_in_vain:
            # Each such read ends with a clear error, in bounded time: one of them is enough.
            self._read_in_vain.add(device.name)
            with suppress(ContentUnavailable, ContentTimeout, NoSpace):
                found = await checks.read_file(device, ino)
                raise AssertionError(f"{device.name} read {found[:40]!r} of what nobody has")
        return checks.Unreadable()

    async def check(self) -> None:
        result, names = self.result, [device.name for device in self.devices]
        trees = [await checks.tree_of(device, self._read) for device in self.devices]
        contested = self._contested()
        plain = [{path: shown for path, shown in tree.items() if _slot(path) not in contested} for tree in trees]
        result.problems += checks.same_trees(names, plain)
        result.problems += [
            f"{path!r} shows the attribute {name!r}"
            for path, shown in trees[0].items()
            for name in _attributes(shown)
            if not name.startswith(b"user.")
        ]
        await self._check_contents(trees)
        known: dict[checks.Facts, checks.Projection] = {}
        for actor in self.actors:
            device = actor.device
            result.problems += checks.index_of(device, known, self._unreadable(actor))
            result.problems += await checks.fsck_of(device)
            result.problems += checks.forgotten_by(actor, self.devices)
            result.problems += bounds.blamed(device, self.devices)
            result.problems += bounds.broken_by(device, self.devices, self.network)
        await self._check_turns()

    async def _check_contents(self, trees: list[checks.TreeShown]) -> None:
        kept: set[bytes] = set()
        for actor, tree in zip(self.actors, trees, strict=True):
            shown = checks.contents_of(tree)
            self.result.problems += self.ledger.unknown(shown)
            kept |= shown | actor.device.hidden()
            for digest, version in (await checks.found_by_a_person(actor)).items():
                if not isinstance(version.body, Blob | Manifest) or is_somewhere(version.body.hash, self.devices):
                    kept.add(digest)
        self.result.problems += self.ledger.lost(kept)

    async def _check_turns(self) -> None:
        """Check the turns of the loop, in all; and when no device does anything, whatever hangs on the liar."""
        devices, most = len(self.devices), bounds.TURNS_PER_SECOND
        allowed = bounds.TURNS_PER_STEP * (self.result.steps + 10) + most * devices * self.loop.time()
        if self.loop.turns > allowed:
            self.result.problems.append(f"{self.loop.turns} turns of the loop, {allowed:.0f} are stated")
        await asyncio.sleep(RARE_S)
        before = self.loop.turns
        await asyncio.sleep(IDLE_S)
        if (turns := self.loop.turns - before) > most * devices * IDLE_S:
            self.result.problems.append(f"{turns} turns of the loop in {IDLE_S:.0f} s of idleness")


def _attributes(shown: tuple[object, ...]) -> list[bytes]:
    """Names of extended attributes, as `checks.tree_of` has them."""
    return [name for name, _value in shown[3]] if len(shown) > 3 and isinstance(shown[3], tuple) else []


def _slot(path: bytes) -> bytes:
    """A name without what makes it a conflict copy."""
    folder, _, name = path.rpartition(b"/")
    return folder + b"/" + (base_of_conflict_name(name) or name)


def _is_plain(body: object) -> bool:
    return not isinstance(body, Chunks)


LiarStep = Callable[[LyingWorld, Step], Awaitable[None]]
LIAR_STEPS: dict[str, LiarStep] = {"liar_comes": LyingWorld.liar_comes, "liar_goes": LyingWorld.liar_goes}

GRAMMAR = (lies_records, lies_sets, lies_members, lies_chunks, lies_wire)
"""Where the lies are; importing them registers them."""
