# SPDX-License-Identifier: GPL-3.0-or-later
"""Making versions: what a file contains now, in place of exactly what it was based on."""

from __future__ import annotations

from dataclasses import dataclass

from holofsd.core.edit import with_mtime, with_version
from holofsd.core.ids import Dot, Ino
from holofsd.core.project import parse_token
from holofsd.core.state import Blob, Body, Inline, Kind, Pending, Version
from holofsd.fs.nodes.conflicts import Conflicts
from holofsd.fs.nodes.drafts import Draft
from holofsd.fs.settings import INLINE_RECORD
from holofsd.fs.shared.attrs import Attributes
from holofsd.fs.shared.scope import Origin, Scope
from holofsd.fs.shared.staged import StagedFile
from holofsd.tree.states import encode_version
from holofsd.tree.views import NodeView


@dataclass(frozen=True, slots=True)
class NewContent:
    """Content of a version to be made: its body, size in bytes and time."""

    body: Body
    size: int
    mtime_ns: int


class Versions:
    """Writer of new versions: decides what a write replaces, and writes the state in one transaction."""

    def __init__(self, scope: Scope, attributes: Attributes, conflicts: Conflicts) -> None:
        self._scope = scope
        self._nodes = scope.nodes
        self._attributes = attributes
        self._conflicts = conflicts

    def superseded(self, shown: bytes, base: bytes, detached: bool = False) -> set[Dot]:
        """Returns the versions that a write based on `base` replaces: exactly that version, and what this device itself
        put after it.

        Never a version from elsewhere that the writer did not see, nor what was made of it here: that stays, beside the
        new one. `shown`: the token of what the node shows, '' for nothing. `detached`: the writer has a file of its own
        since a version came from elsewhere; what others here do with the name is not seen through it.
        """
        if not base or base == shown:
            return {parse_token(shown)} if shown else set()
        line = self._scope.lineage.same if detached else self._scope.lineage.line
        return line(parse_token(base))

    def write(
        self,
        ino: Ino,
        content: NewContent,
        *,
        base: bytes = b"",
        publication_hold_ms: int = 0,
        origin: Origin | None = None,
        view: NodeView | None = None,
    ) -> Version:
        """A new version of the node that an inode means. Not for orphans. Inside a transaction.

        `view`: what the inode means, where the caller just asked.
        """
        view = view or self._attributes.resolve(ino)
        if self._conflicts.settle_ref(view, origin, replacing=True):
            view = self._attributes.resolve(ino)
        draft = Draft(self._scope)
        state = draft.state(view.node)
        shown = view.version
        if view.detached:
            base = base or view.version
            row = self._nodes.get(view.node)
            shown = row.shown if row is not None else b""
        version = self._scope.volume.new_version(content.body, content.size, content.mtime_ns)
        replaced = self.superseded(shown, base, view.detached)
        self._scope.lineage.follows(version.dot, replaced)
        draft.put(with_version(state, version, replaced))
        if view.detached:
            self._nodes.detach(ino, encode_version(view.node, Kind.FILE, version))
        draft.write(origin, publication_hold_ms)
        return version

    def content(self, data: bytes, mtime_ns: int) -> NewContent:
        """Content that is at hand as a whole. Call it inside the transaction of the version: see `body_of`."""
        return NewContent(self.body_of(data), len(data), mtime_ns)

    def body_of(self, data: bytes) -> Inline | Blob:
        """Stores a small file's content and returns its body. Call it inside a transaction."""
        if len(data) <= INLINE_RECORD:
            return Inline(data)
        content = self._scope.store.content
        blob = content.keep(data)
        if not content.has(blob):
            content.add(blob, len(data), self._scope.now_ms())
            if content.wanted_by(blob):
                self._scope.volume.content_arrived(blob)
        return Blob(blob)

    def redate(self, ino: Ino, mtime_ns: int, *, publication_hold_ms: int = 0, origin: Origin | None = None) -> None:
        """The same content, written at this time. Not for detached inodes. Inside a transaction."""
        view = self._attributes.resolve(ino)
        if self._conflicts.settle_ref(view, origin):
            view = self._attributes.resolve(ino)
        draft = Draft(self._scope)
        draft.put(with_mtime(draft.state(view.node), parse_token(view.version), mtime_ns, self._scope.volume.stamp()))
        draft.write(origin, publication_hold_ms)

    def write_staged(self, staged: StagedFile, origin: Origin | None = None) -> Version:
        """Writes a version of what a staging file contains now. The caller marks its row finalized, or removes it."""
        found = staged.stat()
        size, mtime_ns = found.st_size, found.st_mtime_ns
        if size <= INLINE_RECORD:
            body: Body = Inline(staged.path.read_bytes())
        else:
            body = Pending(staged.id)
        return self.write(staged.ino, NewContent(body, size, mtime_ns), base=staged.base, origin=origin)
