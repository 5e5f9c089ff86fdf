# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of the virtual attributes `user.holofs.*` (docs/cli.md#virtual-attributes)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from blake3 import blake3

from holofs_api import virtual_attributes as virtual
from holofsd.core.errors import NoAttribute
from holofsd.core.state import Blob, Inline, Version
from holofsd.core.text import writer_name
from holofsd.fs.shared.attrs import Attributes
from holofsd.fs.shared.scope import Scope
from holofsd.fs.shared.staged import StagedFiles
from holofsd.tree.views import NodeView

_LAST_MS: Final = 253402300799_000  # 9999-12-31 23:59:59 UTC


class VirtualAttributes:
    """Virtual attributes of inode numbers of the present. Reads some rows by key: no network, no content file."""

    def __init__(self, scope: Scope, attributes: Attributes, staged: StagedFiles) -> None:
        self._scope = scope
        self._attributes = attributes
        self._staged = staged

    def get(self, view: NodeView, name: bytes) -> bytes:
        """Raises NoAttribute where there is nothing to say."""
        if name == virtual.STATE:
            return self._state(view)
        if name == virtual.CONFLICT:
            value = self._conflict(view)
        elif name == virtual.IGNORED:
            value = self._ignored(view)
        elif name == virtual.HASH and self._staged.of(view.ino) is not None:
            value = b""  # the version has another content than the program that writes
        else:
            value = of_version(self._scope.tree.version(view.ino), name)
        return require(value)

    def _state(self, view: NodeView) -> bytes:
        if self._staged.of(view.ino) is not None:
            return virtual.WRITING
        if self._attributes.is_orphan(view):
            return b"removed"
        if view.remote:
            return b"remote"
        row = self._scope.nodes.get(view.node)
        if not view.dot and row is not None and row.earlier is not None:
            return b"arriving"
        if self._scope.store.ignored.has(view.node):
            return b"ignored"
        return b"unpublished" if self._scope.store.outbox.has(view.node) else b"published"

    def _ignored(self, view: NodeView) -> bytes:
        """The pattern that matches the file; empty where none does."""
        match = self._scope.volume.ignoring.match_of(view.node) if not view.detached else None
        return str(match).encode("utf-8", "surrogateescape") if match is not None else b""

    def _conflict(self, view: NodeView) -> bytes:
        """The name, in the same directory, beside which a conflict copy stands; empty: the inode is none."""
        entries = self._scope.nodes.entries_of_node(view.node)
        slots = (entry.slot for entry in entries if entry.dot == view.dot and entry.name != entry.slot)
        return min(slots, default=b"") if not view.detached else b""


def of_version(version: Version | None, name: bytes) -> bytes:
    """Returns the value of a virtual attribute that a version gives; empty where it gives none."""
    if version is None:
        return b""
    if name == virtual.DEVICE:
        return writer_name(version.device_name).encode()
    if name == virtual.WRITTEN:
        return _iso(version.stamp.wall_ms)
    return _hash(version).encode() if name == virtual.HASH else b""


def require(value: bytes) -> bytes:
    if not value:
        raise NoAttribute("There is no such attribute.")
    return value


def _iso(wall_ms: int) -> bytes:
    moment = datetime.fromtimestamp(min(max(wall_ms, 0), _LAST_MS) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


def _hash(version: Version) -> str:
    if isinstance(version.body, Blob):
        return version.body.hash.hex()
    return blake3(version.body.data).hexdigest() if isinstance(version.body, Inline) else ""
