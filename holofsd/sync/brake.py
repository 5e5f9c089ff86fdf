# SPDX-License-Identifier: GPL-3.0-or-later
"""The brake on removals from elsewhere: more of them than a person set as the limit wait for that person's word.

A held removal is part of the document like every other record: it is counted, vouched for and passed on. Only its
effect on the tree of this device waits. What is done here meanwhile is done to nodes that live, and an edit beats the
removal as always; to accept is to merge the held records, to refuse is to say once more what lives here.

What never counts: removals by this device, a name that is taken over by another node, nodes that this device has heard
of only while it was catching up (nobody could have seen them here), and what nobody would miss (`sync.losses`). While
removals are held, only those that count wait, and none of what came to be after the hold began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final

import structlog

from holofsd.core.brake import (
    BrakeLimit,
    check_limit,
    decode_limit,
    kept,
    placed_again,
    removed_from,
    removes,
    restored,
    surely_stays,
)
from holofsd.core.errors import BadArgument, HoloError, RoleTooLow
from holofsd.core.ids import AuthorId, NodeId
from holofsd.core.join import join
from holofsd.core.lost import is_placed
from holofsd.core.node import is_alive
from holofsd.core.state import NodeState, Place
from holofsd.store import faults
from holofsd.store.removals import HeldRow
from holofsd.sync.members import Members
from holofsd.sync.replacing import Replacing
from holofsd.sync.weighing import Said, Weighing
from holofsd.tree.changes import TreeChange
from holofsd.tree.local import LocalVolume
from holofsd.tree.recording import last_versions

log = structlog.get_logger(__name__)

LIMIT: Final = "brake-limit"
ARMED: Final = "brake-armed"
VERDICT: Final = "brake-verdict"
ACCEPT: Final = b"accept"
REFUSE: Final = b"refuse"
SLICE: Final = 100
MOST_YOUNG: Final = 500_000
"""So many nodes heard of while catching up are remembered; those beyond count as if they had been here."""
RETRY: Final = 1.0
PATHS: Final = 1000
"""So many names of held nodes are told at most."""


@dataclass(frozen=True, slots=True)
class BrakeReport:
    """`since_ms`: when the first held removal came, 0 if none is held. `devices`: who said so."""

    limit: BrakeLimit
    files: int
    directories: int
    since_ms: int
    devices: tuple[str, ...]
    deciding: str
    """"accept" or "refuse" while that is being carried out, else empty."""


class Brake:
    """Gate between received records and the tree: merges them, and holds back removals beyond the limit.

    `decode` reads a held record as it counts now, None if it does not count any more.
    """

    def __init__(
        self,
        volume: LocalVolume,
        members: Members,
        now_ms: Callable[[], int],
        decode: Callable[[HeldRow], NodeState | None],
    ) -> None:
        self._volume = volume
        self._store = volume.store
        self._removals = volume.store.removals
        self._members = members
        self._now_ms = now_ms
        self._decode = decode
        self._weighing = Weighing(volume, now_ms)
        self._young: set[NodeId] = set()
        self._known_held: set[NodeId] | None = None
        self._wake = asyncio.Event()
        self._wake.set()
        self._decided = asyncio.Event()
        self.on_joined: Callable[[Sequence[NodeId]], None] = lambda nodes: None
        """Called, inside the transaction, with nodes of which held records were joined: their authors may keep those no
        more, and what no record says has to be said again."""
        self.on_released: Callable[[], None] = lambda: None
        """Called after a slice of held removals was accepted or refused."""
        self._limit = decode_limit(self._store.meta(LIMIT))
        self._armed = self._store.meta(ARMED) is not None
        self._store.db.on_rollback.append(self._forget)

    def _forget(self) -> None:
        self._known_held = None

    @property
    def _held(self) -> set[NodeId]:
        if self._known_held is None:
            self._known_held = self._removals.held_nodes()
        return self._known_held

    @property
    def holds(self) -> bool:
        return bool(self._held)

    # ---- catching up
    @property
    def catching_up(self) -> bool:
        return bool(self._young) or not self._armed

    def caught_up(self) -> None:
        """This device holds all that the others have shown: from now on what it shows may have been seen."""
        self._young.clear()
        if not self._armed:
            with self._store.db.transaction():
                self._store.set_meta(ARMED, b"\x01")
            self._armed = True

    # ---- records from elsewhere, inside a transaction
    def merge(self, said: Sequence[Said]) -> None:
        """Joins these into the tree, but for removals that have to wait."""
        known: dict[NodeId, NodeState | None] = {}
        if not self._held and self._ends_nothing(said, known):
            self._join((item.state for item in said), known)
            return
        held = frozenset(self._held)
        passing, removals = self._divide(said)
        passing += [item.state for item in self._weigh(removals)]
        self._join(passing)
        if released := held - self._held:
            self.on_joined([*released])
        if self._held:
            self._release_replaced(passing)
            self._release_empty()

    def _ends_nothing(self, said: Sequence[Said], known: dict[NodeId, NodeState | None]) -> bool:
        """Whether no node that is here ends, or loses its last name. Fills `known` with what is here of these nodes."""
        before: dict[NodeId, NodeState] = {}
        for item in said:
            node = item.state.id
            if node not in known:
                known[node] = self._volume.tree.state(node)
            stored = known[node]
            if stored is None or (node not in before and surely_stays(stored, item.state)):
                if stored is not None:
                    before[node] = item.state
                continue
            joined = join(stored, item.state) if node not in before else join(join(stored, before[node]), item.state)
            if removes(stored, joined):
                return False
            before[node] = joined
        return True

    def _join(self, states: Iterable[NodeState], known: Mapping[NodeId, NodeState | None] | None = None) -> None:
        change = self._volume.merge(list(states), known)
        self._grow_up(change)

    def _grow_up(self, change: TreeChange) -> None:
        if change.new and len(self._young) < MOST_YOUNG:
            self._young.update(change.new)
        if change.new and self._armed:
            self._weighing.born(change.new, self.holds)

    def _divide(self, said: Sequence[Said]) -> tuple[list[NodeState], list[Said]]:
        """Divides records into those that are merged in any case, and those that would end nodes that are alive here,
        or take their last names."""
        passing: list[NodeState] = []
        removals: list[Said] = []
        about: dict[NodeId, list[Said]] = {}
        for item in said:
            about.setdefault(item.state.id, []).append(item)
        for node, items in about.items():
            stored = self._volume.tree.state(node)
            held = self._held_states(node) if node in self._held else []
            if stored is None or self._is_followed(stored, [*held, *(item.state for item in items)], items):
                passing += [*held, *(item.state for item in items)]
                self._release(node)
                continue
            known = stored
            for item in items:
                joined = join(known, item.state)
                if removes(stored, joined):
                    removals.append(item)
                else:
                    passing.append(item.state)
                    known = joined
        replacing = Replacing(self._volume, {item.state.id for item in removals} | self._held, passing)
        replaced = [item for item in removals if replacing.is_replaced(item.state.id)]
        for item in replaced:
            removals.remove(item)
            passing += [item.state, *self._held_states(item.state.id)]
            self._release(item.state.id)
        return passing, removals

    def _is_followed(self, stored: NodeState, states: Sequence[NodeState], items: Sequence[Said]) -> bool:
        if not self._armed or stored.id in self._young:
            return True
        if not removes(stored, reduce(join, states, stored)):
            return True
        return any(self._is_ours(item.author) and removes(stored, join(stored, item.state)) for item in items)

    def _is_ours(self, author: AuthorId) -> bool:
        return self._members.membership.authors.get(author) == self._members.device

    def _weigh(self, removals: Sequence[Said]) -> list[Said]:
        """Weighs removals and returns those that are followed. The others are held from now on."""
        if not removals or self._limit.off or self._store.meta(VERDICT) == ACCEPT:
            return list(removals)
        weighed = self._weighing.weigh(removals, frozenset(self._held), self._limit)
        self._hold(weighed.hold)
        self._removals.note(weighed.notes, self._now_ms())
        return weighed.follow

    def _hold(self, removals: Sequence[tuple[Said, int]]) -> None:
        if not removals:
            return
        if not self._held:
            log.info("the brake holds removals", records=len(removals), volume=self._store.volume.hex()[:8])
        for item, born_ms in removals:
            envelope = item.envelope
            row = HeldRow(item.state.id, envelope.author, envelope.seq, envelope.payload)
            self._removals.hold(row, self._now_ms(), born_ms)
            self._held.add(row.node)
        self._store.db.after_commit(lambda: faults.reach("brake.held", self._store))

    def _release(self, node: NodeId) -> None:
        if node in self._held:
            self._removals.release(node)
            self._held.discard(node)
            if not self._held:
                self._removals.hold_is_over()

    def _release_replaced(self, passing: Sequence[NodeState]) -> None:
        """A new node has taken the name of one whose removal is held: that was no removal after all."""
        replacing = Replacing(self._volume, self._held)
        self._happen([node for node in replacing.met_by(passing) if replacing.is_replaced(node)])

    def _release_empty(self) -> None:
        """Folders wait for the files in them, and without any there is nothing to decide."""
        if self._held and not self._removals.is_any_file_held():
            self._happen(list(self._held))

    def _happen(self, nodes: Sequence[NodeId]) -> None:
        states = [state for node in nodes for state in self._held_states(node)]
        for node in nodes:
            self._release(node)
        if states:
            self._join(states)
            self.on_joined(nodes)

    def _held_states(self, node: NodeId) -> list[NodeState]:
        found = (self._decode(row) for row in self._removals.held_about(node))
        return [state for state in found if state is not None]

    # ---- what a person says
    @property
    def skip(self) -> tuple[bytes, ...]:
        return self._weighing.skip

    def set_skip(self, names: Sequence[bytes]) -> None:
        """Names of folders whose content is made by tools, beside those that are known. Raises BadArgument."""
        if any(b"/" in name or b"\0" in name or not name for name in names):
            raise BadArgument("A folder to skip is given by its name alone, without a slash.")
        with self._store.db.transaction():
            self._weighing.set_skip(names)

    @property
    def limit(self) -> BrakeLimit:
        return self._limit

    def set_limit(self, limit: BrakeLimit) -> None:
        """Sets the limit. What is held already stays held. Raises BadArgument."""
        check_limit(limit)
        with self._store.db.transaction():
            self._store.set_meta(LIMIT, limit.encode())
        self._limit = limit

    async def accept(self) -> int:
        """The held removals take place; how many nodes that were."""
        return await self._carry_out(ACCEPT)

    async def refuse(self) -> int:
        """Refuses all held removals: their nodes live on, here and on all devices. Raises RoleTooLow for a reader."""
        if not self._members.can_write:
            raise RoleTooLow(
                "This device may only read the volume, so it cannot bring files back: a device that may write can,"
                " or accept the removals here."
            )
        return await self._carry_out(REFUSE)

    async def _carry_out(self, verdict: bytes) -> int:
        """Goes on in `run` even if nobody waits, and after a restart."""
        if not self._removals.any_held():
            return 0
        counts = self._removals.counts()
        with self._store.db.transaction():
            said_by = b"".join(self._removals.authors()) if verdict == REFUSE else b""
            if verdict == REFUSE:
                self._weighing.find_what_went_before()
            self._store.set_meta(VERDICT, verdict + said_by)
        faults.reach("brake.decided", self._store)
        self._decided.clear()
        self._wake.set()
        await self._decided.wait()
        return counts.files + counts.directories

    def report(self) -> BrakeReport:
        if not self._held:
            return BrakeReport(self._limit, 0, 0, 0, (), "")
        counts = self._removals.counts()
        devices = {self._name(author) for author in self._removals.authors()}
        deciding = (self._store.meta(VERDICT) or b"")[:6].decode()
        return BrakeReport(
            self._limit, counts.files, counts.directories, counts.since_ms, tuple(sorted(devices)), deciding
        )

    def _name(self, author: AuthorId) -> str:
        device = self._members.membership.authors.get(author)
        return self._members.told(device) if device is not None else "a former member"

    def paths(self) -> list[bytes]:
        """Names of what is held, in order; not more than a thousand."""
        found = (self._volume.tree.path_of(node) for node in self._removals.first_held(PATHS))
        return sorted(path for path in found if path is not None)

    # ---- carrying it out
    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while self._slice():
                    faults.reach("brake.carried", self._store)
                    self.on_released()
                    await asyncio.sleep(0)
            except HoloError as error:
                log.warning("held removals have to wait", why=error.message)
                await asyncio.sleep(RETRY)
                self._wake.set()

    def _slice(self) -> bool:
        """False when there is nothing (more) to carry out."""
        verdict = self._store.meta(VERDICT)
        if verdict is None:
            return False
        with self._store.db.transaction():
            nodes = self._removals.first_held(SLICE)
            if nodes and verdict == ACCEPT:
                self._happen(nodes)
            elif nodes:
                self._keep(nodes)
            elif verdict == ACCEPT or not self._bring_back(verdict[len(REFUSE) :]):
                self._finish()
        return True

    def _keep(self, nodes: Sequence[NodeId]) -> None:
        said_again, merely_joined = [], []
        for node in nodes:
            stored = self._volume.tree.state(node)
            held = self._held_states(node)
            self._release(node)
            joined = reduce(join, held, stored) if stored is not None else None
            if stored is not None and joined is not None and removes(stored, joined):
                said_again.append(kept(stored, joined, self._volume.anew, self._volume.stamp()))
            else:
                merely_joined += held
        self._join(merely_joined)
        self._volume.write(said_again)
        self.on_joined(nodes)

    def _bring_back(self, authors: bytes) -> bool:
        """Undoes what the same devices removed just before the limit was reached, but for what was replaced since.
        False if nothing is left."""
        said_by = [AuthorId(authors[at : at + 32]) for at in range(0, len(authors), 32)]
        nodes = self._removals.recent_by(said_by, SLICE) if said_by else []
        replacing = Replacing(self._volume, ())
        states = []
        for node in nodes:
            state = self._volume.tree.state(node)
            again = self._as_it_was(state, replacing) if state is not None else None
            if again is not None:
                states.append(again)
        self._removals.drop_recent(nodes)
        if states:
            self._volume.write(states)
        return bool(nodes)

    def _as_it_was(self, state: NodeState, replacing: Replacing) -> NodeState | None:
        """Alive, and at a place of its own: the last that this device knows of.
        None if it is, if nothing is kept, or if it was replaced since."""
        made, places = state, []
        if not is_alive(state):
            made = replace(state, versions=last_versions(self._store, state))
            if not made.versions:
                return None
            places = [placement.place for placement in removed_from(made)]
        elif is_placed(state):
            return None
        last = [] if places else [Place(p.parent, p.name) for p in self._store.history.places_of(state.id)[:1]]
        if replacing.were_taken([*places, *last]):
            return None
        if not is_alive(state):
            made = restored(made, self._volume.anew, self._volume.stamp())
        if last and not is_placed(made):
            made = placed_again(made, last[0], self._volume.stamp())
        return made if made is not state else None

    def _finish(self) -> None:
        self._store.delete_meta(VERDICT)
        self._removals.drop_all_recent()
        self._store.db.after_commit(self._decided.set)
