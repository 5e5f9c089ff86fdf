# SPDX-License-Identifier: GPL-3.0-or-later
"""Forged versions for tests, and looks at what devices make of them."""

from __future__ import annotations

from dataclasses import replace

from holofsd.codec.records import decode_state
from holofsd.codec.signing import SigningKey, sign_version
from holofsd.core.ids import Dot, NodeId
from holofsd.core.state import Inline, NodeState, Version
from support.states import shown_version
from tests.sync.devices import Device

SEAL = 64


def shown(device: Device, node: NodeId) -> Version:
    state = device.volume.tree.state(node)
    assert state is not None
    version = shown_version(state)
    assert version is not None
    return version


def said(device: Device, node: NodeId) -> NodeState:
    """State that the device's own record says."""
    envelope = device.store.documents.envelope(device.volume.author, node)
    assert envelope is not None
    return decode_state(envelope.payload)


def lies(device: Device) -> dict[tuple[str, str], int]:
    return {(lie.name, lie.what): lie.count for lie in device.sync.status().lies}


def forged(state: NodeState, dot: Dot, data: bytes, **more: object) -> NodeState:
    """The same version, a moment later, with other content."""
    version = state.versions[dot]
    stamp = replace(version.stamp, wall_ms=version.stamp.wall_ms + 1)
    changed = replace(version, body=Inline(data), size=len(data), stamp=stamp, **more)  # type: ignore[arg-type]
    return replace(state, versions={**state.versions, dot: changed})


def resealed(state: NodeState, dot: Dot, key: SigningKey, device: Device) -> NodeState:
    """State with a seal of another than the author."""
    seal = sign_version(key, device.sync.id, state.id, state.kind, state.versions[dot])
    return replace(state, versions={**state.versions, dot: replace(state.versions[dot], seal=seal)})
