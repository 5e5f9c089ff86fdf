# SPDX-License-Identifier: GPL-3.0-or-later
"""States of nodes as objects: decoded from the index when needed, the most recent ones kept."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from holofsd.codec.records import decode_local_state, encode_state
from holofsd.core.ids import Dot, NodeId
from holofsd.core.node import fits
from holofsd.core.state import Kind, NodeState, Version
from holofsd.store.volume import VolumeStore

_KEPT: Final = 2048
_KEPT_BYTES: Final = 4 << 20
"""Encoded. A record of another device may have a megabyte."""


class States:
    """A cache in front of the `state` column. Emptied when a transaction fails, for it is written inside of them."""

    def __init__(self, store: VolumeStore) -> None:
        self._nodes = store.nodes
        self._cache: OrderedDict[NodeId, tuple[NodeState, int]] = OrderedDict()
        self._bytes = 0
        store.db.on_rollback.append(self._clear)

    def get(self, node: NodeId) -> NodeState | None:
        cached = self._cache.get(node)
        if cached is not None:
            self._cache.move_to_end(node)
            return cached[0]
        payload = self._nodes.state(node)
        return self.decoded(node, payload) if payload else None

    def decoded(self, node: NodeId, payload: bytes) -> NodeState:
        """The state of a row that was read already."""
        cached = self._cache.get(node)
        if cached is not None:
            return cached[0]
        state = decode_local_state(payload)
        self.put(state, len(payload))
        return state

    def put(self, state: NodeState, size: int) -> None:
        """`size`: bytes of the encoded state."""
        self.forget(state.id)
        self._cache[state.id] = state, size
        self._bytes += size
        while len(self._cache) > _KEPT or self._bytes > _KEPT_BYTES:
            self._bytes -= self._cache.popitem(last=False)[1][1]

    def forget(self, node: NodeId) -> None:
        if (cached := self._cache.pop(node, None)) is not None:
            self._bytes -= cached[1]

    def _clear(self) -> None:
        self._cache.clear()
        self._bytes = 0


def encode_version(node: NodeId, kind: Kind, version: Version) -> bytes:
    """A version kept outside its state, as the state of a node that has nothing else: of a kind that it fits."""
    if not fits(kind, version.body):
        kind = next(other for other in Kind if fits(other, version.body))
    context = {version.dot.author: version.dot.counter}
    return encode_state(NodeState(node, kind, 0, context=context, versions={version.dot: version}))


def decode_version(payload: bytes) -> Version:
    versions: dict[Dot, Version] = dict(decode_local_state(payload).versions)
    return next(iter(versions.values()))


def encode_settings(state: NodeState) -> bytes:
    """Encodes what a node has besides content and names, as the state of a node that has nothing else."""
    return encode_state(NodeState(state.id, state.kind, 0, mode=state.mode, xattrs=state.xattrs, times=state.times))
