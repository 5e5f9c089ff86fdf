# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes down what goes: versions that leave the state of their node, places that nodes leave, settings that change.

Called where the tree replaces what is stored, and written with the same transaction, at its end: what is made and ends
in one transaction costs nothing, and a creation writes nothing at all.

Versions whose body is `Chunks` leave no trace: no program ever wrote one, and a row of history has one content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from holofsd.codec.records import decode_local_state
from holofsd.core.edit import split_id
from holofsd.core.ids import AuthorId, BlobHash, Dot, NodeId
from holofsd.core.node import is_alive, is_emptied, outlived
from holofsd.core.project import token
from holofsd.core.state import Chunks, Kind, Marker, NodeState, Pending, Version
from holofsd.store.history import HistoryRow, PastPlaceRow, SettingsRow
from holofsd.store.nodes import PlacementRow
from holofsd.store.past_sizes import INLINE
from holofsd.store.volume import VolumeStore
from holofsd.tree.facts import blobs_of, id_of
from holofsd.tree.states import decode_version, encode_settings, encode_version

STOOD_MS: Final = 60_000
"""A version that nobody else has heard of leaves a trace only if it stood so long: saving is several writes. So do
modes, attributes and times, whoever has heard of them: copying sets them one by one."""

_UNTRACED: Final = 100_000
"""Beyond so many the regular garbage collection finds them."""


class Recorder:
    """Writer of history: notes what leaves a state, in the transaction that replaces it."""

    def __init__(self, store: VolumeStore, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms
        self._versions: list[HistoryRow] = []
        self._places: list[PastPlaceRow] = []
        self._settings: list[SettingsRow] = []
        self._removed: dict[NodeId, NodeState] = {}
        self._newly_removed: set[NodeId] = set()
        """Those of them that no removal had seen before this transaction: nothing of them counts as trash yet."""
        self.untraced: dict[BlobHash, int] = {}
        """Content, with its size, of versions that left no trace: nothing needs it, unless others have it too."""
        self._maybe_split: dict[tuple[NodeId, bytes], HistoryRow] = {}
        """Versions that may go on as nodes of their own: then they are not replaced, or it is there that they were."""
        self._ours: dict[AuthorId, bool] = {}
        self._due = False
        self.on_overwritten: Callable[[AuthorId], None] = lambda author: None
        """Told, inside the transaction, of each file in which this author replaced what another one wrote."""
        self.keeps_all = False
        """While a person restores: what that replaces leaves a trace, however short it stood."""
        store.db.on_rollback.append(self._clear)

    # ---- what goes
    def replaced(self, before: NodeState, now: NodeState) -> None:
        """The stored state of a node becomes another one."""
        if (before.removed.context or not before.versions) and not is_alive(before) and is_alive(now):
            # If the trash was emptied of it: when it is removed again, it is in the trash again.
            self._store.history.lives_again((now.id,))
        if self._store.ignored.has(before.id):
            for version in before.versions.values():
                if version.dot not in now.versions:
                    self.leaves_no_trace(version)
            return
        if before.mode is not now.mode or before.xattrs is not now.xattrs or before.times is not now.times:
            self._changed(before, _settings_since(before, now))
        if before.versions is now.versions or before.kind is Kind.DIRECTORY:
            return
        for dot, version in before.versions.items():
            same = now.versions.get(dot)
            if same is not None and same.mtime.value != version.mtime.value:
                self._changed(before, iter((version.mtime.stamp.wall_ms,)), version)
        # The same write under another dot (a new author of ours, or a removed one taken over) goes on.
        stay = {(version.stamp, version.body) for version in now.versions.values()}
        gone = [v for dot, v in before.versions.items() if dot not in now.versions and (v.stamp, v.body) not in stay]
        if gone:
            self._versions_gone(before, gone)
            self._overwritten(now, before, gone)

    def _changed(self, before: NodeState, since_ms: Iterator[int], version: Version | None = None) -> None:
        """Notes a change of something besides the content. `since_ms`: since when each of what changed was as
        before."""
        now_ms = self._now_ms()
        if any(since + STOOD_MS <= now_ms for since in since_ms):
            dot, mtime_ns = (token(version.dot), version.mtime.value) if version else (b"", 0)
            self._settings.append(SettingsRow(before.id, now_ms, encode_settings(before), dot, mtime_ns))
            self._write_at_the_end()

    def _versions_gone(self, before: NodeState, gone: Sequence[Version]) -> None:
        now_ms = self._now_ms()
        removed = {version.dot for version in outlived(before)}
        # Those of a removed node ended with its removal, not with what brings it back.
        gone_ms = now_ms if is_alive(before) else removed_ms(self._store, before.id)
        for version in gone:
            if isinstance(version.body, Pending):
                continue  # never published, as it has no hash yet
            if isinstance(version.body, Chunks):
                self.leaves_no_trace(version)
                continue
            stood = self.keeps_all or version.stamp.wall_ms + STOOD_MS <= now_ms
            if not stood and self._is_only_ours(version):
                self.leaves_no_trace(version)
                continue
            ended_ms = removed_ms(self._store, before.id, version) if version.dot in removed else gone_ms
            self._versions.append(_row(before.id, before.kind, version, ended_ms))
            if len(before.versions) > 1:
                copy = split_id(before.id, version.dot)
                self._maybe_split[(before.id, token(version.dot))] = _row(copy, before.kind, version, ended_ms)
            self._write_at_the_end()

    def _overwritten(self, now: NodeState, before: NodeState, gone: Sequence[Version]) -> None:
        came = [version for dot, version in now.versions.items() if dot not in before.versions]
        if came:
            by = max(came, key=lambda v: (v.stamp, v.dot)).dot.author
            if any(version.dot.author != by for version in gone):
                self.on_overwritten(by)

    def never_lived(self, record: NodeState, now: NodeState) -> None:
        """Versions of a record that the state of their node covers, while no version is in their place: they are all
        that there is to bring back of it."""
        now_ms = self._now_ms()
        for dot, version in record.versions.items():
            if dot not in now.versions and not isinstance(version.body, Chunks | Pending):
                self._versions.append(_row(record.id, record.kind, version, now_ms))
                self._write_at_the_end()

    def _is_only_ours(self, version: Version) -> bool:
        """Whether the version was made here and is not published, so that no other device has seen it.

        Such a version may leave no trace: docs/history.md#what-is-kept.
        """
        author = version.dot.author
        ours = self._ours.get(author)
        if ours is None:
            # An author that is not ours never becomes it: new ones are made from new keys.
            ours = self._ours[author] = author in self._store.own_authors()
        return ours and version.dot.counter > self._store.documents.dots_of(author)

    def leaves_no_trace(self, version: Version) -> None:
        for blob, size in blobs_of(version.body, version.size):
            if len(self.untraced) < _UNTRACED:
                self._store.db.after_commit(partial(self.untraced.__setitem__, blob, size))

    def left(self, before: Sequence[PlacementRow], now: Sequence[PlacementRow]) -> None:
        """A node has other places than before."""
        if before and self._store.ignored.has(before[0].node):
            return
        now_ms = self._now_ms()
        there = {(row.under, row.name) for row in now}
        for row in before:
            if (row.under, row.name) not in there:
                since = int.from_bytes(row.stamp[:8], "big")
                self._places.append(PastPlaceRow(row.node, row.under, row.name, min(since, now_ms), now_ms))
                self._write_at_the_end()

    def arrived_removed(self, state: NodeState, seen: Sequence[PlacementRow] = ()) -> None:
        """A node that was removed before this device heard of it, or of the move to its last place.

        `seen`: the places that this device knew.
        """
        now_ms = self._now_ms()
        placed = [link for link in state.links.values() if link.place is not None]
        if placed and state.versions:
            last = max(placed, key=lambda link: link.stamp)
            assert last.place is not None
            if (last.place.parent, last.place.name) in {(row.under, row.name) for row in seen}:
                return
            since = now_ms if seen else min(last.stamp.wall_ms, now_ms)
            self._places.append(PastPlaceRow(state.id, last.place.parent, last.place.name, since, now_ms))
            self._write_at_the_end()

    def removed(self, before: NodeState | None, state: NodeState) -> None:
        """The state of a node that is removed, or was: what it contains counts as trash while it is."""
        if before is not None and not before.removed.context:
            self._newly_removed.add(state.id)
        self._removed[state.id] = state
        self._write_at_the_end()

    def forget(self, node: NodeId, state: NodeState | None) -> None:
        """Drops all notes about a node that no other device ever heard of."""
        for version in state.versions.values() if state is not None else ():
            self.leaves_no_trace(version)
        self._removed.pop(node, None)
        self._newly_removed.discard(node)
        self._store.past_sizes.set_trash(node, {}, 0)
        self._versions = [row for row in self._versions if row.node != node]
        self._places = [row for row in self._places if row.node != node]
        self._settings = [row for row in self._settings if row.node != node]

    # ---- writing
    def _write_at_the_end(self) -> None:
        if not self._due:
            self._due = True
            self._store.db.before_commit(self._write)

    def _write(self) -> None:
        versions = [row for row in map(self._as_it_went, self._versions) if row is not None]
        places, settings, removed, new = self._places, self._settings, self._removed, self._newly_removed
        self._clear()
        self._store.history.add(versions, places, settings)
        now_ms = self._now_ms()
        self._store.past_sizes.add_trash([(n, _trashed(removed[n])) for n in removed if n in new], now_ms)
        for node, state in removed.items():
            if node not in new:
                note_trash(self._store, state, now_ms)

    def _as_it_went(self, row: HistoryRow) -> HistoryRow | None:
        """None for a version that goes on. One that became a node elsewhere may have been replaced there already."""
        copy = self._maybe_split.get((row.node, row.dot))
        found = self._store.nodes.get(copy.node) if copy is not None else None
        if found is None:
            return row
        state = decode_local_state(found.state) if found.state else None
        if state is None or not any(token(dot) == row.dot for dot in state.versions):
            return copy
        # A copy that ended with it, as where a conflict is settled, is in the trash under a name that nobody looks for.
        return None if is_alive(state) else row

    def _clear(self) -> None:
        self._versions, self._places, self._settings, self._due = [], [], [], False
        self._removed, self._newly_removed = {}, set()
        self._maybe_split.clear()


def removed_ms(store: VolumeStore, node: NodeId, version: Version | None = None) -> int:
    """Returns when a node was removed last, as far as this device knows. For a version it is not before it was
    written."""
    places = store.history.places_of(node)
    row = None if places else store.nodes.get(node)
    ended_ms = places[0].until_ms if places else row.ctime_ns // 1_000_000 if row is not None else 0
    return ended_ms if version is None else max(ended_ms, version.stamp.wall_ms)


def last_versions(store: VolumeStore, state: NodeState) -> dict[Dot, Version]:
    """Returns the versions that a removed node had last: in its state, or in the history where nothing is left
    there."""
    if state.versions or not is_emptied(state):
        return dict(state.versions)
    rows = [(row.ended_ms, decode_version(row.version)) for row in store.history.of_node(state.id)]
    if not rows:
        return {}
    # Not what ended last here: an older version may have been heard of after the newest one had gone.
    ended_ms, _newest = max(rows, key=lambda row: (row[1].stamp, row[1].dot))
    return {version.dot: version for until_ms, version in rows if until_ms == ended_ms}


def note_trash(store: VolumeStore, state: NodeState, now_ms: int) -> None:
    """Writes down what a removed node contains, or strikes it out where the node lives or is not kept."""
    content = _trashed(state)
    store.past_sizes.set_trash(state.id, {} if content and store.history.is_purged(state.id) else content, now_ms)


def _trashed(state: NodeState) -> dict[BlobHash, int]:
    """Returns the contents of a removed file with their sizes; nothing for a node that lives."""
    content: dict[BlobHash, int] = {}
    if state.kind is Kind.FILE and not is_alive(state):
        for version in state.versions.values():
            blobs = blobs_of(version.body, version.size)
            for blob, size in blobs:
                content[blob] = size
            if not blobs:
                content[INLINE] = content.get(INLINE, 0) + version.size
    return content


def _row(node: NodeId, kind: Kind, version: Version, ended_ms: int) -> HistoryRow:
    encoded = encode_version(node, kind, version)
    began_ms = version.stamp.wall_ms
    blob = id_of(version.body)
    return HistoryRow(node, token(version.dot), began_ms, ended_ms, _size_of(version), blob, encoded)


def _size_of(version: Version) -> int:
    """Size that counts for a row. Nothing in a directory bears out what its version says."""
    return 0 if isinstance(version.body, Marker) else version.size


def name_content_anew(store: VolumeStore) -> None:
    """Gives rows of history that an earlier program wrote the id of their content, and the size that a record of their
    kind can have. Deletes those of `Chunks`."""
    for row in store.history.without_content():
        version = decode_version(row.version)
        store.history.drop_version(row.node, row.dot)
        if not isinstance(version.body, Chunks):
            store.history.add([replace(row, size=_size_of(version), blob=id_of(version.body))], ())


def _settings_since(before: NodeState, now: NodeState) -> Iterator[int]:
    """Yields since when the mode, each extended attribute and a directory's time had been as they were, for those that
    changed."""
    created_ms = before.created_ns // 1_000_000
    if before.mode is not None and (now.mode is None or now.mode.value != before.mode.value):
        yield before.mode.stamp.wall_ms
    if before.times != now.times:
        yield before.times.stamp.wall_ms if before.times is not None else created_ms
    if before.xattrs is not now.xattrs:
        for name in before.xattrs.keys() | now.xattrs.keys():
            was, becomes = before.xattrs.get(name), now.xattrs.get(name)
            if (was.value if was else None) != (becomes.value if becomes else None):
                yield was.stamp.wall_ms if was is not None else created_ms
