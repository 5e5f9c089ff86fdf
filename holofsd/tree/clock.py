# SPDX-License-Identifier: GPL-3.0-or-later
"""The active author's clock and dot counter, saved with the transaction that uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from holofsd.core.clock import MAX_WALL_MS, HybridClock
from holofsd.core.errors import DamagedIndex
from holofsd.core.ids import AuthorId, Dot, Hlc
from holofsd.core.state import NodeState
from holofsd.store.volume import VolumeStore

_CLOCK = "hlc"
_AHEAD_MS: Final = 1000
"""The saved clock runs so far ahead, so that it is written once a second and not with every operation."""


class VolumeClock:
    """Counters and stamps given in a transaction that fails are skipped, never given again."""

    def __init__(self, store: VolumeStore, now_ms: Callable[[], int]) -> None:
        active = store.active_author()
        if active is None:
            raise DamagedIndex("The volume has no author of this device: create or join it again.")
        self.author: AuthorId = active[0]
        self._store = store
        self._now_ms = now_ms
        self._counter = active[2]
        self._clock = HybridClock(self.author, _decode(store.meta(_CLOCK), self.author))
        self._saved_ms = 0
        self._saved_counter = self._counter
        self._unsaved = False
        store.db.on_rollback.append(self._start_over)

    @property
    def dots_given(self) -> int:
        return self._counter

    def next_dot(self) -> Dot:
        self._counter += 1
        self._save_later()
        return Dot(self.author, self._counter)

    def stamp(self, above: Hlc | None = None) -> Hlc:
        stamp = self._clock.tick(self._now_ms(), above)
        self._save_later()
        return stamp

    def observe(self, stamp: Hlc) -> None:
        last = self._clock.last
        if last is None or stamp > last:
            self._clock.observe(stamp, self._now_ms())
            self._save_later()

    def observe_state(self, state: NodeState) -> None:
        self.observe(max(_stamps(state), default=Hlc(0, 0, self.author)))

    def _save_later(self) -> None:
        if self._unsaved:
            return
        if self._store.db.in_transaction:
            self._unsaved = True
            self._store.db.before_commit(self._save)
        else:
            self._save()

    def _save(self) -> None:
        self._unsaved = False
        if self._counter != self._saved_counter:
            self._saved_counter = self._counter
            self._store.set_counter(self.author, self._counter)
        last = self._clock.last
        if last is not None and last.wall_ms >= self._saved_ms:
            self._saved_ms = min(last.wall_ms + _AHEAD_MS, MAX_WALL_MS)
            counter = 0 if self._saved_ms > last.wall_ms else last.counter
            self._store.set_meta(_CLOCK, self._saved_ms.to_bytes(8, "big") + counter.to_bytes(4, "big"))

    def _start_over(self) -> None:
        self._saved_ms = 0
        self._saved_counter = -1
        self._unsaved = False


def _decode(saved: bytes | None, author: AuthorId) -> Hlc | None:
    if saved is None:
        return None
    return Hlc(int.from_bytes(saved[:8], "big"), int.from_bytes(saved[8:12], "big"), author)


def _stamps(state: NodeState) -> Iterator[Hlc]:
    for version in state.versions.values():
        yield version.stamp
        yield version.mtime.stamp
    for link in state.links.values():
        yield link.stamp
    yield from state.removed.at.values()
    for register in (state.mode, state.owner, state.times, *state.xattrs.values()):
        if register is not None:
            yield register.stamp
