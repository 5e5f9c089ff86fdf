# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes that people set: mode, size, times, and extended attributes in the user namespace."""

from __future__ import annotations

from dataclasses import replace

from holofs_api.numbers import MAX_FILE_SIZE
from holofs_api.virtual_attributes import is_virtual
from holofsd.core.edit import with_mode, with_mtime, with_xattr
from holofsd.core.errors import (
    BadArgument,
    FileTooBig,
    IsADirectory,
    NameExists,
    NameTooLong,
    NoAttribute,
    NoSpace,
    NotSupported,
    TooBig,
)
from holofsd.core.ids import ROOT_ID, Hlc, Ino, NodeId
from holofsd.core.project import parse_token
from holofsd.core.state import Inline, Kind, NodeState, Register
from holofsd.fs.changes.watch import Watchers
from holofsd.fs.content.versions import Versions
from holofsd.fs.content.writing import Writing
from holofsd.fs.nodes.conflicts import Conflicts
from holofsd.fs.nodes.drafts import Draft
from holofsd.fs.settings import INLINE_RECORD, MAX_XATTR_NAME, MAX_XATTR_TOTAL, MAX_XATTR_VALUE
from holofsd.fs.shared.attrs import Attributes
from holofsd.fs.shared.scope import Origin, Scope, full_disk_as_no_space
from holofsd.fs.shared.staged import StagedFiles
from holofsd.fs.shared.virtual_attributes import VirtualAttributes
from holofsd.fs.types import Attachment, Attr, SetAttr
from holofsd.tree.states import encode_version
from holofsd.tree.views import NodeView

_USER = b"user."


class Changing:
    """Changes of mode, times, size and extended attributes by inode number."""

    def __init__(
        self,
        scope: Scope,
        attributes: Attributes,
        conflicts: Conflicts,
        staged: StagedFiles,
        versions: Versions,
        writing: Writing,
        watchers: Watchers,
    ) -> None:
        self._scope = scope
        self._nodes = scope.nodes
        self._attributes = attributes
        self._conflicts = conflicts
        self._staged = staged
        self._versions = versions
        self._writing = writing
        self._watchers = watchers
        self._virtual = VirtualAttributes(scope, attributes, staged)

    async def set_attr(self, att: Attachment, ino: Ino, change: SetAttr) -> Attr:
        if change.size is not None:
            self._scope.require_writable(att)
            await self._set_size(att, ino, change)
        return self.set_mode_and_time(att, ino, change)

    def set_mode_and_time(self, att: Attachment, ino: Ino, change: SetAttr) -> Attr:
        """Sets attributes at once, all but the size."""
        self._scope.require_writable(att)
        self._attributes.resolve(ino)
        mtime_ns = self._scope.now_ns() if change.mtime_now else change.mtime_ns
        if change.mode is not None or mtime_ns is not None:
            self._set_mode_and_time(att, ino, change.mode, mtime_ns)
        return self._attributes.get(ino)

    # ---- size
    async def _set_size(self, att: Attachment, ino: Ino, change: SetAttr) -> None:
        size = change.size or 0
        view = self._attributes.resolve(ino)
        if view.kind is Kind.DIRECTORY:
            raise IsADirectory("A directory has no size to set.")
        if view.kind is not Kind.FILE or size < 0:
            raise BadArgument("Only a file can be cut or extended, to a size of 0 or more.")
        if size > MAX_FILE_SIZE:
            raise FileTooBig("A file cannot be that large.")
        if self._attributes.of(view).size == size:
            self._set_mode_and_time(att, ino, None, self._scope.now_ns())
        elif not self._set_size_at_once(att, view, size, change):
            await self._set_size_staged(att, ino, size, change.base)

    def _set_size_at_once(self, att: Attachment, view: NodeView, size: int, change: SetAttr) -> bool:
        """A new version, where the old and the new content are small. False if that is not so."""
        if self._staged.of(view.ino) is not None or self._attributes.is_orphan(view) or size > INLINE_RECORD:
            return False
        body = self._attributes.version(view.ino).body
        if size and not isinstance(body, Inline):
            return False
        data = body.data[:size].ljust(size, b"\0") if isinstance(body, Inline) else b""
        opened = self._scope.files.find(att.request.mount_id, change.handle)
        with self._scope.change(att):
            hold = self._scope.publication_hold_ms() if opened is not None and opened.write and not size else 0
            self._versions.write(
                view.ino,
                self._versions.content(data, self._scope.now_ns()),
                base=change.base,
                publication_hold_ms=hold,
                origin=Origin(att, inodes={view.ino}),
            )
        if opened is not None and hold:
            opened.holds_publication = True
        return True

    async def _set_size_staged(self, att: Attachment, ino: Ino, size: int, base: bytes) -> None:
        self._scope.require_space()
        staged = await self._writing.stage(ino, att.request.mount_id, empty=size == 0, base=base)
        with full_disk_as_no_space():
            staged.truncate(size)
            staged.set_mtime(self._scope.now_ns())
        self._watchers.content_changed(ino, staged.base, att)
        self._writing.finalize_if_unwritten(ino, Origin(att, inodes={ino}))

    # ---- mode and time
    def _set_mode_and_time(self, att: Attachment, ino: Ino, mode: int | None, mtime_ns: int | None) -> None:
        view = self._attributes.resolve(ino)
        staged = self._staged.of(ino)
        if staged is not None and mtime_ns is not None:
            staged.set_mtime(mtime_ns)
        if view.node == ROOT_ID:
            self._set_root(mode, mtime_ns)
        elif view.detached:
            self._set_detached(view, mode, mtime_ns)
        else:
            self._set_node(att, view, mode, mtime_ns)

    def _set_node(self, att: Attachment, view: NodeView, mode: int | None, mtime_ns: int | None) -> None:
        with self._scope.change(att):
            origin = Origin(att, inodes={view.ino})
            if self._conflicts.settle_ref(view, origin):
                view = self._attributes.resolve(view.ino)
            draft = Draft(self._scope)
            state = draft.state(view.node)
            stamp = self._stamp_above_all(view.node)
            if mode is not None:
                state = with_mode(state, mode, stamp)
            if mtime_ns is not None:
                dot = None if view.kind is Kind.DIRECTORY else parse_token(view.version)
                state = with_mtime(state, dot, mtime_ns, stamp)
            draft.put(state)
            draft.write(origin)

    def _stamp_above_all(self, node: NodeId) -> Hlc:
        """A stamp that counts more than any setting of a directory that is shown as one with this one."""
        if not self._scope.nodes.aliases.of(node):
            return self._scope.volume.stamp()
        settings = self._scope.tree.settings_of(node)
        assert settings is not None
        registers = (settings.mode, settings.times, *settings.xattrs.values())
        return self._scope.volume.stamp(max((r.stamp for r in registers if r is not None), default=None))

    def _set_root(self, mode: int | None, mtime_ns: int | None) -> None:
        """The root has no record: its attributes are this device's own."""
        row = self._nodes.get(ROOT_ID)
        if row is not None:
            row.mode = row.mode if mode is None else mode & 0o7777
            row.mtime_ns = row.mtime_ns if mtime_ns is None else mtime_ns
            row.ctime_ns = self._scope.now_ns()
            with self._scope.change(None):
                self._nodes.put(row)

    def _set_detached(self, view: NodeView, mode: int | None, mtime_ns: int | None) -> None:
        """Sets attributes of a detached inode. Only open handles see the file, so nothing of this is the volume's."""
        orphan = self._attributes.orphan(view)
        orphan.ctime_ns = self._scope.now_ns()
        if mode is not None:
            orphan.mode = mode & 0o7777
        if mtime_ns is not None:
            version = self._attributes.version(view.ino)
            version = replace(version, mtime=Register(mtime_ns, version.mtime.stamp))
            with self._scope.change(None):
                self._nodes.detach(view.ino, encode_version(view.node, Kind.FILE, version))

    # ---- extended attributes
    def get_xattr(self, ino: Ino, name: bytes) -> bytes:
        view = self._attributes.resolve(ino)
        if is_virtual(name):
            return self._virtual.get(view, name)
        value = self._attributes.xattrs(view).get(name)
        if value is None:
            raise NoAttribute("There is no such attribute.")
        return value

    def list_xattr(self, ino: Ino) -> tuple[bytes, ...]:
        """Lists stored attributes, but for those that an earlier program stored under a name of HoloFS."""
        stored = self._attributes.xattrs(self._attributes.resolve(ino))
        return tuple(sorted(name for name in stored if not is_virtual(name)))

    def set_xattr(self, att: Attachment, ino: Ino, name: bytes, value: bytes, *, create: bool, replace: bool) -> None:
        self._scope.require_writable(att)
        check_xattr(name, value)
        there = self._attributes.xattrs(self._attributes.resolve(ino))
        if create and name in there:
            raise NameExists("The attribute exists already.")
        if replace and name not in there:
            raise NoAttribute("There is no such attribute.")
        self._write_xattr(att, ino, name, value)

    def remove_xattr(self, att: Attachment, ino: Ino, name: bytes) -> None:
        self._scope.require_writable(att)
        _check_not_virtual(name)
        if name not in self._attributes.xattrs(self._attributes.resolve(ino)):
            raise NoAttribute("There is no such attribute.")
        self._write_xattr(att, ino, name, None)

    def _write_xattr(self, att: Attachment, ino: Ino, name: bytes, value: bytes | None) -> None:
        view = self._attributes.resolve(ino)
        if view.node == ROOT_ID:
            raise NotSupported("This file cannot have extended attributes here.")
        if view.detached:
            self._write_detached_xattr(view, name, value)
            return
        with self._scope.change(att, needs_space=value is not None):
            origin = Origin(att, inodes={ino})
            if self._conflicts.settle_ref(view, origin):
                view = self._attributes.resolve(ino)
            draft = Draft(self._scope)
            state = with_xattr(draft.state(view.node), name, value, self._stamp_above_all(view.node))
            if value is not None and xattr_bytes(state) > MAX_XATTR_TOTAL:
                raise NoSpace("The extended attributes of this file are too large in all.")
            draft.put(state)
            draft.write(origin)

    def _write_detached_xattr(self, view: NodeView, name: bytes, value: bytes | None) -> None:
        """Sets an extended attribute of a detached inode, as `_set_detached` does other attributes."""
        changed = self._attributes.xattrs(view)
        changed.pop(name, None)
        if value is not None:
            changed[name] = value
            if sum(map(len, (*changed, *changed.values()))) > MAX_XATTR_TOTAL:
                raise NoSpace("The extended attributes of this file are too large in all.")
        orphan = self._attributes.orphan(view)
        orphan.xattrs, orphan.ctime_ns = changed, self._scope.now_ns()


def check_xattr(name: bytes, value: bytes) -> None:
    """Raises HoloError for an extended attribute that cannot be stored."""
    if not name.startswith(_USER):
        raise NotSupported("Only attributes in the user namespace are kept.")
    _check_not_virtual(name)
    if len(name) > MAX_XATTR_NAME:
        raise NameTooLong(f"The name of an attribute can have {MAX_XATTR_NAME} bytes.")
    if name == _USER or b"\0" in name:
        raise BadArgument("An attribute needs a name without NUL.")
    if len(value) > MAX_XATTR_VALUE:
        raise TooBig(f"The value of an attribute can have {MAX_XATTR_VALUE} bytes.")


def _check_not_virtual(name: bytes) -> None:
    if is_virtual(name):
        raise NotSupported("Attributes that begin with user.holofs. can only be read: choose another name.")


def xattr_bytes(state: NodeState) -> int:
    """Bytes of all extended attributes of a node, of absent ones by name."""
    return sum(len(name) + len(register.value or b"") for name, register in state.xattrs.items())
