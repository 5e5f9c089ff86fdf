# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes that an update of the tree made, for those that cache it."""

from __future__ import annotations

from dataclasses import dataclass, field

from holofsd.core.ids import Ino, NodeId


@dataclass(frozen=True, slots=True)
class EntryUpdate:
    """A name that now leads elsewhere, or nowhere (`gone`). Its directory's times and link count changed with it.

    `parent_ino` is None if nobody ever saw the directory, `ino` is None if the name is gone or nobody saw the node.
    """

    parent: NodeId
    parent_ino: Ino | None
    name: bytes
    ino: Ino | None
    gone: bool


@dataclass(frozen=True, slots=True)
class InodeUpdate:
    """Attributes of an inode changed; with `content` its bytes too. Tokens are b"" where no version is shown.

    With `content` False the tokens may differ all the same: another version with equal bytes.
    """

    ino: Ino
    content: bool
    previous: bytes
    now: bytes
    elsewhere: bool


@dataclass(slots=True)
class TreeChange:
    """Changes of the tree by one transaction, for subscribers."""

    entries: list[EntryUpdate] = field(default_factory=list)
    beside: list[EntryUpdate] = field(default_factory=list)
    """The same names for numbers that are shown as part of another directory, or no longer: `parent_ino` is that
    number, `parent` the directory that it shows."""
    inodes: list[InodeUpdate] = field(default_factory=list)
    nodes: list[NodeId] = field(default_factory=list)
    """Every node whose row was written."""
    new: list[NodeId] = field(default_factory=list)
    """Those of them that were not known before."""
    wants_content: bool = False
    """Content became wanted that was not before."""

    def __bool__(self) -> bool:
        return bool(self.entries or self.beside or self.inodes or self.nodes)

    def merge(self, later: TreeChange) -> None:
        self.entries += later.entries
        self.beside += later.beside
        self.inodes += later.inodes
        self.nodes += later.nodes
        self.new += later.new
        self.wants_content |= later.wants_content
