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


class States:
    """A cache in front of the `state` column. Emptied when a transaction fails, for it is written inside of them."""

    def __init__(self, store: VolumeStore) -> None:
        self._nodes = store.nodes
        self._cache: OrderedDict[NodeId, NodeState] = OrderedDict()
        store.db.on_rollback.append(self._cache.clear)

    def get(self, node: NodeId) -> NodeState | None:
        cached = self._cache.get(node)
        if cached is not None:
            self._cache.move_to_end(node)
            return cached
        payload = self._nodes.state(node)
        return self.decoded(node, payload) if payload else None

    def decoded(self, node: NodeId, payload: bytes) -> NodeState:
        """The state of a row that was read already."""
        cached = self._cache.get(node)
        if cached is None:
            cached = decode_local_state(payload)
            self.put(cached)
        return cached

    def put(self, state: NodeState) -> None:
        self._cache[state.id] = state
        if len(self._cache) > _KEPT:
            self._cache.popitem(last=False)

    def forget(self, node: NodeId) -> None:
        self._cache.pop(node, None)


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
