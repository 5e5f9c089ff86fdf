# SPDX-License-Identifier: GPL-3.0-or-later
"""Garbage collection of content: what nothing needs any more goes, after a grace period.

Needed is content that any of these name: a version in the state of a node, live or removed (unless the trash was
emptied of that node), a version that is shown though superseded, one that an open file keeps, one in the history, and
any record that is not merged into a state yet. A pass reads all of them in slices and lets others run in between. What
they write meanwhile cannot be missed: nodes that change are read again in the very transaction that decides.

docs/crash-windows.md has its crash windows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holofsd.codec.content import hash_bytes, named_in
from holofsd.codec.records import decode_local_state
from holofsd.core.ids import BlobHash, NodeId
from holofsd.core.node import is_alive
from holofsd.core.state import Version
from holofsd.store import faults
from holofsd.store.bodies import BodyChange
from holofsd.tree.changes import TreeChange
from holofsd.tree.facts import blobs_of
from holofsd.tree.local import LocalVolume
from holofsd.tree.states import decode_version

_SLICE: Final = 200
_LARGE_SLICE: Final = 2000
"""Of rows that need no decoding."""
_HISTORY_SLICE: Final = 500
"""Of rows of which the small ones need it."""
_SEARCHED: Final = 128 << 10
"""Bytes of records that are searched in a slice."""
GRACE_MS: Final = 24 * 3600 * 1000
ORPHAN_S: Final = 3600.0
"""A file without a row may be one that is just arriving; after an hour it is not."""
PART_S: Final = 7 * 24 * 3600.0
"""A part that nobody went on with for so long, and that nothing wants."""


@dataclass(slots=True)
class Collected:
    """Result of a pass. `waiting`: not needed, but still in the grace period."""

    files: int = 0
    bytes: int = 0
    waiting: int = 0
    waiting_bytes: int = 0


class GarbageCollector:
    """One pass at a time. `steps` does it; whoever drives it lets others run between two steps."""

    def __init__(self, volume: LocalVolume, orphan_s: float = ORPHAN_S, part_s: float = PART_S) -> None:
        self._volume = volume
        self._store = volume.store
        self._db = volume.store.db
        self._rows = volume.store.garbage
        self._orphan_s = orphan_s
        self._part_s = part_s
        self.also_needed: Callable[[], Iterable[Version]] = tuple
        """Versions that somebody reads who has no inode of the tree."""
        self.busy = False
        self._suspects: dict[BlobHash, int] = {}
        """Content that nothing was found to need so far, with its size."""
        self._only: frozenset[BlobHash] | None = None
        """Set while a pass looks at nothing but this content."""
        self._changed: set[NodeId] = set()
        self._last_history = 0
        self._doomed: list[BlobHash] = []
        self._left_over: list[BodyChange] = []
        """Files of bodies whose rows went."""
        self._searched: set[BlobHash] = set()
        """Hashes of the unmerged records that this pass has searched."""

    def steps(self, collected: Collected, grace_ms: int = GRACE_MS) -> Iterator[bool]:
        """A pass, a slice at each step. A step that yields True asks for `db.sync` before the next one."""
        self.busy = True
        unsubscribe = self._volume.subscribe(self._note)
        try:
            self._changed.clear()
            for _ in self._suspect_all():
                yield False
            for _ in self._mark():
                yield False
            for _ in self._search_records():
                yield False
            self._write_down()
            faults.reach("collecting.marked", self._store)
            yield False
            for _ in self._forget(collected, self._volume.now_ms() - grace_ms):
                yield False
            faults.reach("collecting.forgotten", self._store)
            if self._doomed or self._left_over:
                yield True
            for _ in self._unlink():
                yield False
            faults.reach("collecting.unlinked", self._store)
            for _ in self._sweep(collected) if self._only is None else ():
                yield False
        finally:
            unsubscribe()
            self._suspects, self._doomed, self._left_over, self._searched = {}, [], [], set()
            self.busy = False

    def steps_for(self, blobs: Iterable[BlobHash], collected: Collected) -> Iterator[bool]:
        """A pass for this content alone, which was let go to make room: without the grace period. Steps as those of
        `steps`."""
        self._only = frozenset(blobs)
        try:
            yield from self.steps(collected, 0)
        finally:
            self._only = None

    def _note(self, change: TreeChange, _origin: object) -> None:
        self._changed.update(change.nodes)

    # ---- what is needed
    def _suspect_all(self) -> Iterator[None]:
        if self._only is not None:
            for number, blob in enumerate(self._only, 1):
                size = self._store.content.size(blob)
                if size is not None:
                    self._suspects[blob] = size
                if number % _SLICE == 0:
                    yield
            return
        after = b""
        while rows := self._store.content.after(after, _LARGE_SLICE):
            after = rows[-1][0]
            self._suspects.update(rows)
            yield
        self._suspects.update(self._store.bodies.partial())

    def _mark(self) -> Iterator[None]:
        after = b""
        while self._suspects and (rows := self._rows.states_after(after, _SLICE)):
            after = rows[-1][0]
            for node, state, held in rows:
                self._node_needs(node, state, held)
            yield
        self._last_history = 0
        while self._suspects and self._history_needs(_HISTORY_SLICE):
            yield

    def _history_needs(self, limit: int) -> bool:
        """The next versions of the history. False if there was none."""
        rows = self._rows.history_after(self._last_history, limit)
        for self._last_history, blob, version in rows:
            if version is not None:
                self._version_needs(decode_version(version))
            elif blob is not None:
                self._suspects.pop(blob, None)
        return bool(rows)

    def _node_needs(self, node: NodeId, state: bytes, held: bytes | None) -> None:
        if held is not None:
            self._version_needs(decode_version(held))
        if not state:
            return
        decoded = decode_local_state(state)
        if not is_alive(decoded) and self._store.history.is_purged(node):
            return
        for version in decoded.versions.values():
            self._version_needs(version)

    def _version_needs(self, version: Version) -> None:
        for blob, _size in blobs_of(version.body, version.size):
            self._suspects.pop(blob, None)

    def _needed_meanwhile(self) -> None:
        """Strikes out suspects that are needed after all: by what changed since it was read, and by what is small
        enough to read now. Runs inside the transaction that decides."""
        for node in self._changed:
            row = self._store.nodes.get(node)
            if row is not None:
                self._node_needs(node, row.state, row.earlier)
        self._changed.clear()
        # A version that came and went since its node was read is in the history only.
        while self._suspects and self._history_needs(_LARGE_SLICE):
            pass
        for version in self._rows.detached_versions():
            self._version_needs(decode_version(version))
        for kept in self.also_needed():
            self._version_needs(kept)
        for blob in self._rows.wanted():
            self._suspects.pop(blob, None)

    def _needed_by_records(self) -> None:
        """Strikes out suspects that a record names which came since records were searched, and is not merged yet."""
        for _ in self._search_records():
            pass

    def _search_records(self) -> Iterator[None]:
        """Strikes out suspects that a record names which is not merged yet. Records are searched for hashes, not
        understood, and each once in a pass: suspects are never added to."""
        searched = 0
        for payload in self._rows.unmerged_payloads() if self._suspects else ():
            record = hash_bytes(payload)
            if record in self._searched:
                continue
            self._searched.add(record)
            for blob in named_in(payload, self._suspects):
                self._suspects.pop(blob, None)
            searched += len(payload)
            if searched >= _SEARCHED:
                searched = 0
                yield

    def _write_down(self) -> None:
        """Writes down since when each suspect is one. What was needed in between starts again."""
        with self._db.transaction():
            self._needed_meanwhile()
            self._needed_by_records()
            if self._only is not None:
                return
            known = self._rows.all()
            self._rows.remove([blob for blob in known if blob not in self._suspects])
            now_ms = self._volume.now_ms()
            self._rows.begin_again(now_ms)
            self._rows.add([blob for blob in self._suspects if blob not in known], now_ms)
            self._store.history.lives_again(self._revived())

    def _revived(self) -> list[NodeId]:
        """Nodes that the trash was emptied of, and that live again."""
        states = self._rows.states_of_purged()
        return [node for node, state in states if state and is_alive(decode_local_state(state))]

    # ---- what goes
    def _forget(self, collected: Collected, before_ms: int) -> Iterator[None]:
        """Rows go first. What a record brought since the last look, or a hasher is about to name, stays."""
        if self._only is not None:
            due = list(self._suspects)
        else:
            due = self._rows.due(before_ms)
        for start in range(0, len(due), _SLICE):
            with self._db.transaction():
                self._needed_meanwhile()
                if self._only is not None:
                    self._needed_by_records()  # no day of grace stands between the look and the end
                for blob in due[start : start + _SLICE]:
                    size = self._suspects.pop(blob, None)
                    if size is not None and self._forget_content(blob):
                        collected.files += 1
                        collected.bytes += size
                        self._rows.remove([blob])
            yield
        collected.waiting = len(self._suspects)
        collected.waiting_bytes = sum(self._suspects.values())

    def _forget_content(self, blob: BlobHash) -> bool:
        if self._store.bodies.is_body(blob):
            self._left_over.append(self._store.bodies.forget(blob))
            return True
        if not self._store.content.forget(blob):
            return False
        self._doomed.append(blob)
        return True

    def _unlink(self) -> Iterator[None]:
        for number, blob in enumerate(self._doomed, 1):
            self._store.content.unlink_forgotten(blob)
            if number % _SLICE == 0:
                yield
        for change in self._left_over:
            self._store.bodies.unlink(change)
            yield

    # ---- files without rows
    def _sweep(self, collected: Collected) -> Iterator[None]:
        """Deletes what a crash left behind: content files that no row names, and parts that nothing wants."""
        content, now = self._store.content, time.time()
        for size in self._store.bodies.sweep(now - self._orphan_s):
            collected.files += 1
            collected.bytes += size
            yield
        for folder in content.folders():
            for path in _files(folder):
                blob = _hash_of(path)
                if blob is None or content.has(blob) or not _is_older(path, now - self._orphan_s):
                    continue
                size = path.stat().st_size
                if content.unlink_forgotten(blob):
                    collected.files += 1
                    collected.bytes += size
            yield
        wanted = self._rows.wanted()
        for path in content.parts():
            blob = _hash_of(path.with_suffix(""))
            if blob not in wanted and _is_older(path, now - self._part_s):
                path.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    with os.scandir(folder) as found:
        return [Path(entry.path) for entry in found]


def _hash_of(path: Path) -> BlobHash | None:
    try:
        found = bytes.fromhex(path.name)
    except ValueError:
        return None
    return BlobHash(found) if len(found) == 32 else None


def _is_older(path: Path, than: float) -> bool:
    try:
        return path.stat().st_ctime < than
    except FileNotFoundError:
        return False
