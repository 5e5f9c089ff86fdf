# SPDX-License-Identifier: GPL-3.0-or-later
"""The brake on removals from elsewhere: more of them than a person set as the limit wait for that person's word.

A held removal is part of the document like every other record: it is counted, vouched for and passed on. Only its
effect on the tree of this device waits. What is done here meanwhile is done to nodes that live, and an edit beats the
removal as always; to accept is to merge the held records, to refuse is to say once more what lives here.

What never counts: removals by this device, a name that is taken over by another node, and nodes that this device has
heard of only while it was catching up (nobody could have seen them here).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

import structlog

from holofsd.core.brake import WINDOW_MS, BrakeLimit, check_limit, decode_limit, exceeds, kept, removes, restored
from holofsd.core.document import Envelope
from holofsd.core.errors import HoloError, RoleTooLow
from holofsd.core.ids import AuthorId, NodeId
from holofsd.core.join import join
from holofsd.core.node import is_alive, live_links
from holofsd.core.state import Kind, NodeState, Place, Version
from holofsd.store import faults
from holofsd.store.removals import HeldRow
from holofsd.sync.members import Members
from holofsd.tree.changes import TreeChange
from holofsd.tree.local import LocalVolume

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
class Said:
    """A record that counts, and what of it counts now."""

    envelope: Envelope
    state: NodeState

    @property
    def author(self) -> AuthorId:
        return self.envelope.author


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
    """`decode` reads a held record as it counts now, None if it does not count any more."""

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
        self._young: set[NodeId] = set()
        self._known_held: set[NodeId] | None = None
        self._wake = asyncio.Event()
        self._wake.set()
        self._decided = asyncio.Event()
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
        if not self._held and all(is_alive(item.state) for item in said):
            self._join(item.state for item in said)
            return
        passing, removals = self._divide(said)
        if removals and self._has_to_wait(removals):
            self._hold(removals)
        else:
            passing += [item.state for item in removals]
            self._note(removals)
        self._join(passing)
        if self._held:
            self._release_replaced(passing)

    def _join(self, states: Iterable[NodeState]) -> None:
        change = self._volume.merge(list(states))
        self._grow_up(change)

    def _grow_up(self, change: TreeChange) -> None:
        if change.new and len(self._young) < MOST_YOUNG:
            self._young.update(change.new)

    def _divide(self, said: Sequence[Said]) -> tuple[list[NodeState], list[Said]]:
        """What is merged in any case, and the removals of nodes that are alive here."""
        passing: list[NodeState] = []
        removals: list[Said] = []
        about: dict[NodeId, list[Said]] = {}
        for item in said:
            about.setdefault(item.state.id, []).append(item)
        for node, items in about.items():
            if all(is_alive(item.state) for item in items) and node not in self._held:
                passing += [item.state for item in items]
                continue
            held = self._held_states(node) if node in self._held else []
            if self._is_followed(node, [*held, *(item.state for item in items)], items):
                passing += [*held, *(item.state for item in items)]
                self._release(node)
                continue
            passing += [item.state for item in items if is_alive(item.state)]
            removals += [item for item in items if not is_alive(item.state)]
        places = {place for state in passing if is_alive(state) for place in _places(state)}
        dying = {item.state.id for item in removals} | self._held
        replaced = [item for item in removals if self._is_replaced(item.state.id, places, dying)]
        for item in replaced:
            removals.remove(item)
            passing += [item.state, *self._held_states(item.state.id)]
            self._release(item.state.id)
        return passing, removals

    def _is_followed(self, node: NodeId, states: Sequence[NodeState], items: Sequence[Said]) -> bool:
        stored = self._volume.tree.state(node)
        if stored is None or not self._armed or node in self._young:
            return True
        if any(not is_alive(item.state) and self._is_ours(item.author) for item in items):
            return True
        return not removes(stored, reduce(join, states, stored))

    def _is_ours(self, author: AuthorId) -> bool:
        return self._members.membership.authors.get(author) == self._members.device

    def _is_replaced(self, node: NodeId, places: set[Place], dying: set[NodeId]) -> bool:
        """A node that stays has every name that this one has here: it was replaced, not removed."""
        stored = self._volume.tree.state(node)
        mine = _places(stored) if stored is not None else []
        return bool(mine) and all(place in places or self._is_taken(place, dying) for place in mine)

    def _is_taken(self, place: Place, dying: set[NodeId]) -> bool:
        return any(row.node not in dying for row in self._store.nodes.slot(place.parent, place.name))

    def _has_to_wait(self, removals: Sequence[Said]) -> bool:
        if self._limit.off or self._store.meta(VERDICT) == ACCEPT:
            return False
        if self._held:
            return True
        files = len({item.state.id for item in removals if item.state.kind is not Kind.DIRECTORY})
        now = self._now_ms()
        self._removals.forget_recent(now - WINDOW_MS, now + WINDOW_MS)
        before = self._removals.recent_files()
        if before + files <= self._limit.files:
            return False
        return exceeds(self._limit, before + files, before + self._removals.shown_files())

    def _hold(self, removals: Sequence[Said]) -> None:
        if not self._held:
            log.info("the brake holds removals", records=len(removals), volume=self._store.volume.hex()[:8])
        for item in removals:
            envelope = item.envelope
            row = HeldRow(item.state.id, envelope.author, envelope.seq, envelope.payload)
            self._removals.hold(row, self._now_ms())
            self._held.add(row.node)
        self._store.db.after_commit(lambda: faults.reach("brake.held", self._store))

    def _note(self, removals: Sequence[Said]) -> None:
        if removals and not self._limit.off:
            rows = [(item.state.id, item.author, item.state.kind is not Kind.DIRECTORY) for item in removals]
            self._removals.note(rows, self._now_ms())

    def _release(self, node: NodeId) -> None:
        if node in self._held:
            self._removals.release(node)
            self._held.discard(node)

    def _release_replaced(self, passing: Sequence[NodeState]) -> None:
        """A new node has taken the name of one whose removal is held: that was no removal after all."""
        slots = {place for state in passing for place in _places(state)}
        rows = [row for place in slots for row in self._store.nodes.slot(place.parent, place.name)]
        candidates = dict.fromkeys(row.node for row in rows if row.node in self._held)
        taken = [node for node in candidates if self._is_replaced(node, set(), self._held)]
        states = [state for node in taken for state in self._held_states(node)]
        for node in taken:
            self._release(node)
        if states:
            self._join(states)

    def _held_states(self, node: NodeId) -> list[NodeState]:
        found = (self._decode(row) for row in self._removals.held_about(node))
        return [state for state in found if state is not None]

    # ---- what a person says
    @property
    def limit(self) -> BrakeLimit:
        return self._limit

    def set_limit(self, limit: BrakeLimit) -> None:
        """What is held already stays held. Raises BadArgument."""
        check_limit(limit)
        with self._store.db.transaction():
            self._store.set_meta(LIMIT, limit.encode())
        self._limit = limit

    async def accept(self) -> int:
        """The held removals take place; how many nodes that were."""
        return await self._carry_out(ACCEPT)

    async def refuse(self) -> int:
        """Everything whose removal is held lives on, here and everywhere. Raises RoleTooLow for a reader."""
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
        return (self._members.name_of(device) or device.hex()[:8]) if device is not None else "a former member"

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
                self._let_happen(nodes)
            elif nodes:
                self._keep(nodes)
            elif verdict == ACCEPT or not self._bring_back(verdict[len(REFUSE) :]):
                self._finish()
        return True

    def _let_happen(self, nodes: Sequence[NodeId]) -> None:
        self._join([state for node in nodes for state in self._held_states(node)])
        for node in nodes:
            self._release(node)

    def _keep(self, nodes: Sequence[NodeId]) -> None:
        said_again, merely_joined = [], []
        for node in nodes:
            stored = self._volume.tree.state(node)
            held = self._held_states(node)
            self._release(node)
            joined = reduce(join, held, stored) if stored is not None else None
            if stored is not None and joined is not None and removes(stored, joined):
                said_again.append(kept(stored, joined, self._anew, self._volume.stamp()))
            else:
                merely_joined += held
        self._join(merely_joined)
        self._volume.write(said_again)

    def _bring_back(self, authors: bytes) -> bool:
        """What the same devices removed just before the limit was reached belongs to it. False if nothing is left."""
        said_by = [AuthorId(authors[at : at + 32]) for at in range(0, len(authors), 32)]
        nodes = self._removals.recent_by(said_by, SLICE) if said_by else []
        states = []
        for node in nodes:
            state = self._volume.tree.state(node)
            if state is not None and not is_alive(state) and state.versions:
                states.append(restored(state, self._anew, self._volume.stamp()))
        self._removals.drop_recent(nodes)
        if states:
            self._volume.write(states)
        return bool(nodes)

    def _finish(self) -> None:
        self._store.db.run("DELETE FROM meta WHERE name=?", (VERDICT,))
        self._removals.drop_all_recent()
        self._store.db.after_commit(self._decided.set)

    def _anew(self, version: Version) -> Version:
        """The same content, as a version that no removal has seen."""
        stamp = self._volume.stamp(version.stamp)
        dot = self._volume.next_dot()
        return Version(dot, stamp, version.body, version.size, version.mtime, version.device_name)


def _places(state: NodeState) -> list[Place]:
    return [link.place for link in live_links(state).values() if link.place is not None]
