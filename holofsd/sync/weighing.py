# SPDX-License-Identifier: GPL-3.0-or-later
"""Weighing removals from elsewhere: which of them have to wait for a person, and what is remembered of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from holofsd.core.brake import WINDOW_MS, BrakeLimit, exceeds
from holofsd.core.document import Envelope
from holofsd.core.ids import AuthorId, NodeId
from holofsd.core.losses import Missed, most_at_once
from holofsd.core.state import Kind, NodeState
from holofsd.store.removals import RecentRemoval
from holofsd.sync.losses import IndexCache, Loss, Losses
from holofsd.tree.local import LocalVolume

SKIP: Final = "brake-skip"


@dataclass(frozen=True, slots=True)
class Said:
    """A record that counts, and what of it counts now."""

    envelope: Envelope
    state: NodeState

    @property
    def author(self) -> AuthorId:
        return self.envelope.author


@dataclass(slots=True)
class Weighed:
    """`follow`: removals that happen, each with what is to be remembered of it; `hold`: those that wait,
    each with the time since when the node stood here."""

    follow: list[Said]
    hold: list[tuple[Said, int]]
    notes: list[RecentRemoval]


class Weighing:
    """All methods belong inside a transaction."""

    def __init__(self, volume: LocalVolume, now_ms: Callable[[], int]) -> None:
        self._volume = volume
        self._store = volume.store
        self._removals = volume.store.removals
        self._now_ms = now_ms
        self._indexes = IndexCache(volume.store.content)

    # ---- births
    def born(self, nodes: Iterable[NodeId], holds: bool) -> None:
        """Notes nodes that were not known here before."""
        self._removals.born(nodes, self._now_ms(), holds)

    def forget_old(self) -> None:
        now = self._now_ms()
        self._removals.forget_recent(now - WINDOW_MS, now + WINDOW_MS)
        self._removals.forget_births(now - WINDOW_MS, now + WINDOW_MS)

    # ---- skipped folders
    @property
    def skip(self) -> tuple[bytes, ...]:
        """Names of folders whose content a person does not miss, beside those that are known to everybody."""
        return tuple(filter(None, (self._store.meta(SKIP) or b"").split(b"\0")))

    def set_skip(self, names: Iterable[bytes]) -> None:
        self._store.set_meta(SKIP, b"".join(name + b"\0" for name in dict.fromkeys(names)))

    # ---- removals
    def weigh(self, removals: Sequence[Said], held: frozenset[NodeId], limit: BrakeLimit) -> Weighed:
        """`held`: nodes whose removal waits already."""
        self.forget_old()
        look = self._look(removals, held)
        losses = {node: look.of(node, stored) for node, stored in self._stored(removals)}
        files = {item.state.id for item in removals if item.state.kind is not Kind.DIRECTORY}
        counted = {
            node for node in files & losses.keys() if losses[node].counts and not (held and losses[node].in_hold)
        }
        copied = self._copied(counted, look, limit)
        counted -= copied
        waiting = counted if held or self._is_too_much(counted, losses, look, limit) else set()
        waiting |= self._directories_around(waiting, removals)
        follow = [item for item in removals if item.state.id not in waiting]
        return Weighed(
            follow,
            [(item, _born_ms(losses.get(item.state.id))) for item in removals if item.state.id in waiting],
            [_note(item, losses.get(item.state.id), counted, copied) for item in follow],
        )

    def find_what_went_before(self) -> None:
        """Makes exactly those recent removals count from here on that belong to what is held."""
        look = self._look((), frozenset())
        self._removals.count_what_was_in(r for r in self._removals.recent_repositories() if look.is_gone(r))
        self._removals.count_only_what_stood_with_the_held()

    def _look(self, removals: Sequence[Said], held: frozenset[NodeId]) -> Losses:
        dying = held.union(item.state.id for item in removals)
        return Losses(self._volume, self._store.own_authors(), dying, self.skip, self._now_ms(), self._indexes)

    def _stored(self, removals: Sequence[Said]) -> list[tuple[NodeId, NodeState]]:
        """Returns the stored states of the nodes that are removed."""
        nodes = dict.fromkeys(item.state.id for item in removals)
        states = [(node, self._volume.tree.state(node)) for node in nodes]
        return [(node, state) for node, state in states if state is not None]

    def _copied(self, counted: set[NodeId], look: Losses, limit: BrakeLimit) -> set[NodeId]:
        """Files whose content came under another name lately. Looked for only where there are many."""
        if self._removals.recent_files(()) + len(counted) <= limit.files:
            return set()
        states = ((node, self._volume.tree.state(node)) for node in counted)
        return {node for node, state in states if state is not None and look.is_copied(state)}

    def _is_too_much(self, counted: set[NodeId], losses: dict[NodeId, Loss], look: Losses, limit: BrakeLimit) -> bool:
        """Whether with these too many files are gone that stood here at one time."""
        gone = [node for node in self._removals.recent_repositories() if look.is_gone(node)]
        if self._removals.recent_files(gone) + len(counted) <= limit.files:
            return False
        now = self._now_ms()
        lives = self._removals.recent_lives(gone) + [(losses[node].born_ms, now) for node in counted]
        most = most_at_once(lives)
        return exceeds(limit, most, max(most - len(counted), 0) + self._removals.shown_files())

    def _directories_around(self, waiting: set[NodeId], removals: Sequence[Said]) -> set[NodeId]:
        """A directory is removed with the last of what is in it."""
        going = {item.state.id for item in removals if item.state.kind is Kind.DIRECTORY}
        found: set[NodeId] = {node for node in going if self._removals.is_any_held_in(node)}
        todo = [*waiting, *found]
        while todo:
            for row in self._store.nodes.placements(todo.pop()):
                if row.under in going and row.under not in found:
                    found.add(row.under)
                    todo.append(row.under)
        return found


def _born_ms(loss: Loss | None) -> int:
    return loss.born_ms if loss is not None else 0


def _note(item: Said, loss: Loss | None, counted: set[NodeId], copied: set[NodeId]) -> RecentRemoval:
    is_file, node = item.state.kind is not Kind.DIRECTORY, item.state.id
    if loss is None:
        return RecentRemoval(node, item.author, is_file, 0, Missed.NO, None)
    missed = node in counted if is_file else loss.counts and not loss.in_hold
    counts = Missed.COPIED if node in copied else Missed.YES if missed else Missed.NO
    return RecentRemoval(node, item.author, is_file, loss.born_ms, counts, loss.repository)
