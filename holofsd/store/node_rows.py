# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of the tree, as `nodes` reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass

from holofsd.core.ids import Ino, LinkId, NodeId


@dataclass(slots=True)
class NodeRow:
    """A row of `nodes`; see volume_formats for each column. Once read or put it is shared: change a copy."""

    node: NodeId
    kind: int
    state: bytes
    shown: bytes
    earlier: bytes | None
    """Column `held`: the earlier version that is shown until the content of the newest is here."""
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int
    nlink: int
    xattrs: int
    remote: int
    versions: int
    visible: int


@dataclass(frozen=True, slots=True)
class PlacementRow:
    """`parent` is the directory that shows the name; `real` the one that the link names, where that is an alias."""

    node: NodeId
    link: LinkId
    parent: NodeId
    name: bytes
    stamp: bytes
    real: NodeId | None = None

    @property
    def under(self) -> NodeId:
        """The directory that the link names."""
        return self.real or self.parent


@dataclass(frozen=True, slots=True)
class EntryRow:
    parent: NodeId
    name: bytes
    node: NodeId
    dot: bytes
    slot: bytes


@dataclass(frozen=True, slots=True)
class InodeRow:
    ino: Ino
    node: NodeId
    dot: bytes
    detached: bytes | None
