# SPDX-License-Identifier: GPL-3.0-or-later
"""Async creates: files and directories that a mount made before it told the daemon (ADR 9, 11)."""

from __future__ import annotations

from dataclasses import replace

from holofsd.core.errors import BadArgument, NoSuchName, NotADirectory, StaleHandle, TooBig
from holofsd.core.ids import ROOT_INO, Ino, NodeId
from holofsd.core.lost import LOST_NAME as LOST_AND_FOUND
from holofsd.core.state import Kind, Place
from holofsd.fs.content.opening import Opening
from holofsd.fs.names.naming import Naming
from holofsd.fs.settings import INLINE_COMMIT, INO_LEASE
from holofsd.fs.shared.attrs import Attributes
from holofsd.fs.shared.scope import Scope
from holofsd.fs.types import AsyncCreate, Attachment, Attr, ContentMap, Created, CreateRequest
from holofsd.tree.views import Entry


class AsyncCreates:
    """Makes each of them once, however often the mount repeats the call: the inode number identifies it. If something
    else came to its name, both stand there."""

    def __init__(
        self, scope: Scope, attributes: Attributes, naming: Naming, opening: Opening, no_mount: Attachment
    ) -> None:
        """`no_mount`: makes what goes to another place than its mount expects, so that all mounts get the change."""
        self._scope = scope
        self._nodes = scope.nodes
        self._attributes = attributes
        self._naming = naming
        self._opening = opening
        self._no_mount = no_mount

    def lease(self, att: Attachment) -> tuple[Ino, int]:
        """Inode numbers for the mount to give to new files: the first, and how many; 0: none."""
        if att.read_only:
            return Ino(0), 0
        with self._scope.db.transaction():
            return self._nodes.lease_inos(INO_LEASE), INO_LEASE

    def create(self, att: Attachment, request: CreateRequest, file: AsyncCreate) -> Created:
        """Makes a file, and opens it under the handle of the request if it comes without content."""
        ino, new = self._make_file(att, request, file)
        attr = self._attributes.get(ino)
        lease = self.lease(att) if request.wants_lease else None
        return Created(attr, ContentMap(attr.version, 0), new, lease)

    def _make_file(self, att: Attachment, request: CreateRequest, file: AsyncCreate) -> tuple[Ino, bool]:
        """Returns the number of the file, and whether it was made now."""
        new = not self._is_made(file)
        if new:
            if file.data is not None and len(file.data) > INLINE_COMMIT:
                raise TooBig(f"A new file carries {INLINE_COMMIT} bytes at most.")
            att, directory, entry = self._place(att, request.parent, request.name, file)
            file = self._with_number(file)
            publication_hold_ms = self._scope.publication_hold_ms() if file.data is None else 0
            place = Place(directory, request.name)
            self._naming.create_leased(att, place, request.mode, file, publication_hold_ms, beside=entry is not None)
        if file.data is None and self._scope.files.find(att.request.mount_id, request.handle) is None:
            self._opening.opened_new(att, file.ino, request.handle)
        return file.ino, new

    def make_dir(self, att: Attachment, parent: Ino, name: bytes, mode: int, folder: AsyncCreate) -> Attr:
        if not self._is_made(folder):
            att, directory, _ = self._place(att, parent, name, folder, Kind.DIRECTORY)
            folder = self._with_number(folder)
            self._naming.make_dir_at(att, directory, name, mode, folder.ino)
        return self._attributes.get(folder.ino)

    def _is_made(self, made: AsyncCreate) -> bool:
        """Whether the file or directory was made before. False for a journalled one: `Journals.once` answers that."""
        return not made.journalled and self._nodes.inode(made.ino) is not None

    def _with_number(self, made: AsyncCreate) -> AsyncCreate:
        """Gives a journalled create another number where its own is not free: an index that was restored from a backup
        may know nothing of a lease, or have given its numbers to others."""
        if made.ino <= self._nodes.last_leased and self._nodes.inode(made.ino) is None:
            return made
        if not made.journalled:
            raise BadArgument("This inode number was not leased for a new file.")
        with self._scope.db.transaction():
            return replace(made, ino=self._nodes.lease_inos(1))

    def _place(
        self, att: Attachment, parent: Ino, name: bytes, made: AsyncCreate, kind: Kind = Kind.FILE
    ) -> tuple[Attachment, NodeId, Entry | None]:
        """Finds the attachment for which something is made, its directory, and what is there already.

        A directory is shown as one with another directory at its name.
        """
        try:
            directory, entry = self._naming.find(parent, name)
            if entry is None or not made.late or kind is entry.view.kind is Kind.DIRECTORY:
                return att, directory, entry
        except (NoSuchName, NotADirectory, StaleHandle):
            if not made.journalled:
                raise
        found = self._naming.find(ROOT_INO, LOST_AND_FOUND)[1]
        if found is None:
            home = self._naming.make_dir(self._no_mount, ROOT_INO, LOST_AND_FOUND, 0o755)
        else:
            home = found.ino if found.view.kind is Kind.DIRECTORY else ROOT_INO
        return self._no_mount, *self._naming.find(home, name)
