# SPDX-License-Identifier: GPL-3.0-or-later
"""Meaning and attributes of inode numbers."""

from __future__ import annotations

from dataclasses import dataclass

from holofs_api import PAST_INO
from holofsd.core.errors import NoSuchName, NotADirectory, ReadOnly, StaleHandle
from holofsd.core.ids import Ino, NodeId
from holofsd.core.node import live_xattrs
from holofsd.core.state import Kind, Version
from holofsd.fs.shared.scope import Scope
from holofsd.fs.shared.staged import StagedFiles
from holofsd.fs.types import Attr
from holofsd.tree.views import NodeView


@dataclass(slots=True)
class OrphanAttrs:
    """Attributes of a file that lost its node while it is open: removed or replaced, here or elsewhere."""

    mode: int
    ctime_ns: int
    xattrs: dict[bytes, bytes]


class Attributes:
    """Attributes of inode numbers as mounts see them, with what is being written."""

    def __init__(self, scope: Scope, staged: StagedFiles) -> None:
        self._scope = scope
        self._staged = staged
        self.orphans: dict[Ino, OrphanAttrs] = {}

    # ---- resolving
    def resolve(self, ino: Ino) -> NodeView:
        """Raises StaleHandle for a number that means nothing (any more)."""
        view = self._scope.tree.view(ino)
        if view is None:
            if ino >= PAST_INO:
                raise ReadOnly("What was cannot be changed: restoring it brings it back.")
            raise StaleHandle("This file is not there any more.")
        return view

    def directory(self, ino: Ino) -> NodeId:
        """The node of a directory. Raises NotADirectory."""
        view = self.resolve(ino)
        if view.kind is not Kind.DIRECTORY:
            raise NotADirectory("This is not a directory.")
        if view.detached:
            raise NoSuchName("This directory was removed.")
        return view.node

    def is_orphan(self, view: NodeView) -> bool:
        """Whether the file was unlinked or replaced here while open: what is written to it belongs to no node."""
        return view.detached and not self._scope.nodes.exists(view.node)

    def version(self, ino: Ino) -> Version:
        """The content that the inode shows, staging files apart."""
        version = self._scope.tree.version(ino)
        if version is None:
            raise StaleHandle("This file has no content any more.")
        return version

    # ---- attributes
    def xattrs(self, view: NodeView) -> dict[bytes, bytes]:
        """Returns the extended attributes of an inode, by name. The caller may change the result."""
        if view.detached and (orphan := self.orphans.get(view.ino)) is not None:
            return dict(orphan.xattrs)
        state = self._scope.tree.settings_of(view.node) if view.xattrs else None
        if state is None:
            return {}
        return live_xattrs(state)

    def orphan(self, view: NodeView) -> OrphanAttrs:
        """Returns the attributes that a detached inode has from now on, whatever becomes of the node that it showed."""
        found = self.orphans.get(view.ino)
        if found is None:
            found = self.orphans[view.ino] = OrphanAttrs(view.mode, view.ctime_ns, self.xattrs(view))
        return found

    def get(self, ino: Ino) -> Attr:
        return self.of(self.resolve(ino))

    def of(self, view: NodeView) -> Attr:
        """Returns the attributes of an inode. While the file is being written, size and time are those of its staging
        file, for every reader."""
        size, mtime_ns, ctime_ns, mode, remote = view.size, view.mtime_ns, view.ctime_ns, view.mode, view.remote
        has_xattrs = bool(view.xattrs)
        if view.detached and (orphan := self.orphans.get(view.ino)) is not None:
            mode, ctime_ns, has_xattrs = orphan.mode, orphan.ctime_ns, bool(orphan.xattrs)
        staged = self._staged.of(view.ino)
        if staged is not None:
            found = staged.stat()
            size, mtime_ns, remote = found.st_size, found.st_mtime_ns, False
            ctime_ns = max(ctime_ns, min(mtime_ns, found.st_ctime_ns))
        return Attr(
            view.ino,
            view.kind,
            mode,
            size,
            view.nlink,
            mtime_ns,
            ctime_ns,
            view.version,
            has_xattrs,
            remote,
            staged is not None,
        )
