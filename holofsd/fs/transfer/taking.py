# SPDX-License-Identifier: GPL-3.0-or-later
"""One batch of an import, inside one transaction: new nodes for what it brings, all written in one go."""

from __future__ import annotations

import secrets
from typing import Final

from holofs_api.numbers import MAX_FILE_SIZE, time_in_range
from holofsd.codec.node_ids import new_node_id
from holofsd.core.edit import check_name, link_id, new_node, with_link, with_mode, with_mtime, with_xattr
from holofsd.core.errors import (
    ContentUnavailable,
    FileTooBig,
    HoloError,
    NameTooLong,
    NoSpace,
    NoSuchName,
    NotADirectory,
    NotPermitted,
)
from holofsd.core.ids import ROOT_ID, Ino, NodeId
from holofsd.core.project import token
from holofsd.core.state import Body, Inline, Kind, Marker, NodeState, Pending, Place, Target
from holofsd.fs.content.changing import check_xattr, xattr_bytes
from holofsd.fs.content.hashing import Hasher
from holofsd.fs.content.versions import NewContent, Versions
from holofsd.fs.nodes.drafts import Draft
from holofsd.fs.settings import INLINE_RECORD, MAX_TARGET, MAX_XATTR_TOTAL
from holofsd.fs.shared.scope import Scope
from holofsd.fs.shared.staged import StagedFile, StagedFiles
from holofsd.fs.transfers import EXISTS, IMPORTED, ImportItem, ImportResult
from holofsd.fs.types import KIND_WORDS
from holofsd.tree.views import Entry

_GONE: Final = "Its content is not in the staging folder any more: import it again."
_KINDS: Final = {word: kind for kind, word in KIND_WORDS.items()}
_KINDS_THERE: Final = {Kind.FILE: "A file", Kind.DIRECTORY: "A folder", Kind.SYMLINK: "A symlink"}


class TakingIn:
    """Taker of the items of one batch, in their order. Lives inside one transaction."""

    def __init__(self, scope: Scope, staged: StagedFiles, versions: Versions, hasher: Hasher, durable: bool) -> None:
        self._scope = scope
        self._tree = scope.tree
        self._staged = staged
        self._versions = versions
        self._hasher = hasher
        self._durable = durable
        self._draft = Draft(scope)
        self._made: dict[bytes, NodeId] = {}
        """Nodes that this batch makes, by path."""
        self._folders: dict[bytes, NodeId] = {b"": ROOT_ID}
        """Directories that were looked up, by path."""
        self._dated: dict[NodeId, ImportItem] = {}
        """Directories that get their mode and time once everything is in them."""
        self.staging: set[str] = set()
        """Staging files that became content."""

    def take(self, item: ImportItem) -> ImportResult:
        """Takes one item into the batch; nothing where something has its name. Raises HoloError, and then the whole
        transaction has to be given up."""
        parent, name = self._place(item.path)
        there = self._tree.lookup(parent, name)
        if item.path in self._made:
            return self._again(item, self._made[item.path])
        if there is not None:
            return self._onto(item, there)
        if item.replaces:
            return ImportResult(item.path, EXISTS, "It was removed meanwhile.")
        if item.link_to:
            self._link(item, Place(parent, name))
            return ImportResult(item.path, IMPORTED)
        return ImportResult(item.path, IMPORTED, self._make(item, Place(parent, name)))

    def write(self) -> None:
        """Writes everything, and dates directories after what was made in them."""
        self._draft.write(None)
        dating = Draft(self._scope)
        for node, item in self._dated.items():
            state = dating.find(node)
            if state is not None:
                stamp = self._scope.volume.stamp()
                if state.mode is None or state.mode.value != item.mode & 0o7777:
                    state = with_mode(state, item.mode, stamp)
                dating.put(with_mtime(state, None, time_in_range(item.mtime_ns), stamp))
        dating.write(None)

    # ---- places
    def _place(self, path: bytes) -> tuple[NodeId, bytes]:
        folder, _, name = path.rpartition(b"/")
        check_name(name)
        return self._folder(folder), name

    def _folder(self, path: bytes) -> NodeId:
        known = self._folders.get(path)
        if known is not None:
            return known
        above, _, name = path.rpartition(b"/")
        entry = self._tree.lookup(self._folder(above), name)
        if entry is None:
            raise NoSuchName("The folder that it goes into is not there.")
        if entry.view.kind is not Kind.DIRECTORY:
            raise NotADirectory("There is no folder on the way: something else has its name.")
        self._folders[path] = entry.node
        return entry.node

    # ---- what is there
    def _again(self, item: ImportItem, node: NodeId) -> ImportResult:
        """An item for a path that this very batch made: only a directory is dated."""
        if item.dated:
            self._dated[node] = item
            return ImportResult(item.path, IMPORTED)
        return ImportResult(item.path, EXISTS, "The import brings this name twice.")

    def _onto(self, item: ImportItem, there: Entry) -> ImportResult:
        kind = there.view.kind
        if item.dated and kind is Kind.DIRECTORY:
            self._dated[there.node] = item
            return ImportResult(item.path, IMPORTED)
        if item.replaces and kind is Kind.FILE and not there.dot and there.view.version == item.replaces:
            return self._over(item, there)
        return ImportResult(item.path, EXISTS, f"{_KINDS_THERE[kind]} has this name.")

    def _over(self, item: ImportItem, there: Entry) -> ImportResult:
        """The same content as a version of this device: what it replaces was never here."""
        body, size, staged = self._content(item, there.node)
        version = self._versions.write(there.ino, NewContent(body, size, there.view.mtime_ns))
        self._list(staged, there.ino, token(version.dot))
        return ImportResult(item.path, IMPORTED)

    # ---- what is new
    def _make(self, item: ImportItem, place: Place) -> str:
        """Returns what is left out of it, in one sentence; empty: nothing."""
        kind = _KINDS[item.kind]
        node = new_node_id(kind)
        body, size, staged = self._content(item, node)
        mtime_ns = time_in_range(item.mtime_ns)
        version = self._scope.volume.new_version(body, size, mtime_ns)
        state = new_node(node, kind, self._scope.now_ns(), place, link_id(node), version, item.mode, version.stamp)
        if kind is Kind.DIRECTORY:
            state = with_mtime(state, None, mtime_ns, version.stamp)
            self._folders[item.path] = node
        state, left_out = _with_xattrs(state, item)
        self._draft.put(state)
        self._draft.fresh.add(node)
        self._made[item.path] = node
        if staged is not None:
            self._list(staged, self._scope.nodes.new_ino(node), token(version.dot))
        return left_out

    def _content(self, item: ImportItem, node: NodeId) -> tuple[Body, int, StagedFile | None]:
        """Body, size, and the staging file where there is one."""
        if item.kind == "directory":
            return Marker(), 0, None
        if item.kind == "symlink":
            if not item.target:
                raise NoSuchName("The target of a symlink cannot be empty.")
            if len(item.target) > MAX_TARGET:
                raise NameTooLong(f"The target of a symlink can have {MAX_TARGET} bytes at most.")
            return Target(item.target), len(item.target), None
        if item.data is not None:
            return self._versions.body_of(item.data), len(item.data), None
        return self._staged_content(item, node)

    def _staged_content(self, item: ImportItem, node: NodeId) -> tuple[Body, int, StagedFile | None]:
        staged = StagedFile(item.staging, Ino(0), node, self._scope.store.staging.path(item.staging), b"", "")
        try:
            found = staged.path.lstat()
        except FileNotFoundError:
            raise ContentUnavailable(_GONE) from None
        if found.st_size > MAX_FILE_SIZE:
            raise FileTooBig("A file cannot be that large.")
        if self._scope.store.staging.get(item.staging) is not None or item.staging in self.staging:
            raise NotPermitted("This staging file is of another file.")
        staged.synced = self._durable
        if found.st_size > INLINE_RECORD:
            return Pending(item.staging), found.st_size, staged
        data = staged.path.read_bytes()
        self._scope.db.after_commit(lambda: staged.path.unlink(missing_ok=True))
        return Inline(data), len(data), None

    def _list(self, staged: StagedFile | None, ino: Ino, version: bytes) -> None:
        """The row of a staging file that is complete, in the transaction of the version whose content it is."""
        if staged is None:
            return
        staged.ino = ino
        self._staged.add_finalized(staged, version)
        self.staging.add(staged.id)
        self._scope.db.after_commit(lambda: self._hasher.expect(staged))

    def _link(self, item: ImportItem, place: Place) -> None:
        """One more name of a file. It has the stamp of the file's first name: so if two devices import the same names
        apart, all of them lead to the same one of the two files when they meet."""
        node = self._made.get(item.link_to) or self._node_at(item.link_to)
        state = self._draft.find(node)
        if state is None or state.kind is not Kind.FILE:
            raise NoSuchName("The file that this is another name of is not there.")
        first = state.links.get(link_id(node)) or next(iter(state.links.values()))
        self._draft.put(with_link(state, link_id(node, secrets.token_bytes(16)), place, first.stamp))
        self._made[item.path] = node

    def _node_at(self, path: bytes) -> NodeId:
        folder, name = self._place(path)
        entry = self._tree.lookup(folder, name)
        if entry is None or entry.dot:
            raise NoSuchName("The file that this is another name of is not there.")
        return entry.node


def _with_xattrs(state: NodeState, item: ImportItem) -> tuple[NodeState, str]:
    """The state with the attributes of the item, or, where they cannot be kept, without any, and why."""
    stamp = max(version.stamp for version in state.versions.values())
    made = state
    try:
        for xattr in item.xattrs:
            check_xattr(xattr.name, xattr.value)
            made = with_xattr(made, xattr.name, xattr.value, stamp)
        if xattr_bytes(made) > MAX_XATTR_TOTAL:
            raise NoSpace("They are too large in all.")
    except HoloError as error:
        return state, f"Its extended attributes are left out: {error.message}"
    return made, ""
