# SPDX-License-Identifier: GPL-3.0-or-later
"""Rescue of a damaged index: the rows that can be read go into one restored from its backup, so that none is lost.

Records count if their signatures do. States count where they hold what was not published yet; the others are in the
records. All of it is said again by this device's new author, for others may not have heard it. Ignored files stay so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from holofsd.codec.plausible import objection
from holofsd.codec.records import decode_local_state, decode_state
from holofsd.codec.signing import verify_envelopes, verify_head
from holofsd.core.context import clip_state
from holofsd.core.document import Envelope, Head
from holofsd.core.errors import HoloError, Refused
from holofsd.core.ids import ROOT_ID, AuthorId, NodeId
from holofsd.core.join import join
from holofsd.core.state import NodeState
from holofsd.store.copies import rows_of
from holofsd.store.volume import VolumeStore
from holofsd.sync.config import NODE_KEY_LENGTH
from holofsd.sync.vetting import Vetting
from holofsd.tree.local import LocalVolume

_PAGE: Final = 200
COPIED: Final = {
    "credentials": ("kind", "digest", "message"),
    "authors": ("author", "seed", "counter", "0"),
    "staging": ("id", "ino", "node", "base", "mount_id", "sealed", "made_ms"),
    "pending_bodies": ("staging", "node"),
    "history": ("NULL", "node", "dot", "began_ms", "ended_ms", "size", "blob", "version"),
    "past_places": ("NULL", "node", "parent", "name", "from_ms", "until_ms"),
    "lies": ("who", "what", "number", "first_ms", "last_ms", "example"),
    "past_settings": ("NULL", "node", "until_ms", "settings", "dot", "mtime_ns"),
}
"""Tables whose rows are taken where the backup lacks them, and what of them: an author of ours is not active again."""


def join_salvaged(store: VolumeStore, damaged: Path) -> None:
    """`store`: the restored index. `damaged`: the database that it is to replace, as far as it can be read."""
    for table, columns in COPIED.items():
        rows, _ = rows_of(damaged, table, columns)
        with store.db.transaction():
            store.db.run_many(f"INSERT OR IGNORE INTO {table} VALUES ({','.join('?' * len(columns))})", rows)
    journals, _ = rows_of(damaged, "journals", ("name", "applied"))
    with store.db.transaction():  # the damaged index was further, and what was done there is joined below
        store.db.run_many("INSERT OR REPLACE INTO journals VALUES (?,?)", journals)
    volume = LocalVolume(store, "", lambda: time.time_ns() // 1_000_000)
    for states in _pages(_states_in(damaged, "outbox")):
        _join(volume, states)
    for states in _pages(_published(store, damaged)):
        _join(volume, states)
    for states in _pages(_states_in(damaged, "ignored")):
        _join_ignored(volume, states)


def _join(volume: LocalVolume, states: list[NodeState]) -> None:
    store = volume.store
    with store.db.transaction():
        news = []
        for state in states:
            known = volume.tree.state(state.id)
            if known is None or (known.kind is state.kind and join(known, state) is not known):
                news.append(state)
        volume.merge(news)
        for state in news:
            store.outbox.add(state.id, volume.now_ms())


def _join_ignored(volume: LocalVolume, states: list[NodeState]) -> None:
    """Takes over ignored nodes, of which no record can be: they are as this device had them last."""
    store = volume.store
    with store.db.transaction():
        for state in states:
            if not store.documents.is_known(state.id) and not store.outbox.has_row(state.id):
                store.outbox.keep_back(state.id)
                known = volume.tree.state(state.id)
                volume.restate([state if known is None else join(known, state)])


def _states_in(damaged: Path, table: str) -> Iterator[NodeState]:
    """States of nodes that have a row in `outbox`, or in `ignored`."""
    waiting = {row[0] for row in rows_of(damaged, table, ("node",))[0]}
    for node, payload in rows_of(damaged, "nodes", ("node", "state"))[0]:
        if node in waiting and node != ROOT_ID:
            try:
                yield decode_local_state(payload)
            except HoloError:
                continue


def _published(store: VolumeStore, damaged: Path) -> Iterator[NodeState]:
    heads = [Head(*row) for row in rows_of(damaged, "heads", ("author", "seq", "dots", "set_hash", "signature"))[0]]
    limits: dict[AuthorId, int] = store.documents.dot_limits()
    vetting = Vetting(store)
    for head in heads:
        if verify_head(store.volume, head):
            limits[head.author] = max(limits.get(head.author, 0), head.dots)
    rows = rows_of(damaged, "envelopes", ("author", "seq", "key", "payload", "signature"))[0]
    envelopes = [Envelope(*row) for row in rows if isinstance(row[2], bytes) and len(row[2]) == NODE_KEY_LENGTH]
    for page in [envelopes[start : start + _PAGE] for start in range(0, len(envelopes), _PAGE)]:
        fresh = [envelope for envelope in page if not _has(store, envelope)]
        for envelope, good in zip(fresh, verify_envelopes(store.volume, fresh), strict=True):
            state = _state(store, envelope) if good else None
            if state is not None:
                clipped, _ = clip_state(state, envelope.author, limits)
                yield vetting.vet(clipped, envelope.author, partial(_known, store, state.id)).state


def _known(store: VolumeStore, node: NodeId) -> NodeState | None:
    payload = store.nodes.state(node)
    return decode_local_state(payload) if payload else None


def _has(store: VolumeStore, envelope: Envelope) -> bool:
    known = store.documents.envelope(envelope.author, envelope.key)
    return known is not None and known.seq >= envelope.seq


def _state(store: VolumeStore, envelope: Envelope) -> NodeState | None:
    try:
        state = decode_state(envelope.payload)
    except Refused:
        return None
    plausible = not objection(state, partial(_known, store, state.id), time.time_ns() // 1_000_000)
    return state if plausible and state.id == NodeId(envelope.key) else None


def _pages(states: Iterator[NodeState]) -> Iterator[list[NodeState]]:
    page: list[NodeState] = []
    for state in states:
        page.append(state)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page
