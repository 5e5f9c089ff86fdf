# SPDX-License-Identifier: GPL-3.0-or-later
"""Views of names and inodes: attributes as a filesystem gives them."""

from __future__ import annotations

from dataclasses import dataclass

from holofsd.core.ids import Ino, NodeId
from holofsd.core.state import Kind


@dataclass(frozen=True, slots=True)
class NodeView:
    """Attributes of what an inode shows. `mode` is permission bits; `version` the token of the content shown.

    `dot` is b"" for a node's normal inode, else the token of the conflict copy. `detached`: the inode keeps a version
    for open handles and no name leads to it any more; its nlink is 0.
    """

    ino: Ino
    node: NodeId
    dot: bytes
    kind: Kind
    mode: int
    size: int
    nlink: int
    mtime_ns: int
    ctime_ns: int
    version: bytes
    xattrs: int
    remote: bool
    detached: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A name a person sees. `slot` is the name it was made from: another one for conflict copies."""

    parent: NodeId
    name: bytes
    slot: bytes
    view: NodeView

    @property
    def node(self) -> NodeId:
        return self.view.node

    @property
    def ino(self) -> Ino:
        return self.view.ino

    @property
    def dot(self) -> bytes:
        return self.view.dot

    @property
    def is_copy(self) -> bool:
        """A conflict copy: a version beside the one shown, or a node that lost its name to another."""
        return self.name != self.slot


@dataclass(frozen=True, slots=True)
class TreeCensus:
    """`files` counts regular files, `bytes` their sizes; `pending` nodes whose ancestors have not all arrived."""

    files: int
    bytes: int
    conflicts: int
    pending: int
    bad_names: int
