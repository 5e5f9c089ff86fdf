# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that read, on the volume as it is now."""

from __future__ import annotations

from holofsd.core.errors import BadArgument
from holofsd.core.ids import Ino
from holofsd.core.state import Kind, Target
from holofsd.fs.content.changing import Changing
from holofsd.fs.content.contents import Contents
from holofsd.fs.content.opening import Opening
from holofsd.fs.names.naming import Naming
from holofsd.fs.shared.attrs import Attributes
from holofsd.fs.shared.scope import Scope
from holofsd.fs.types import Attachment, Attr, ContentMap, Listing, Opened

_MAX_LISTING = 5000


class PresentReading:
    """Implements `fs.api.ReadCalls`."""

    def __init__(
        self,
        scope: Scope,
        attributes: Attributes,
        contents: Contents,
        naming: Naming,
        opening: Opening,
        changing: Changing,
    ) -> None:
        self._scope = scope
        self._attributes = attributes
        self._contents = contents
        self._naming = naming
        self._opening = opening
        self._changing = changing

    async def lookup(self, att: Attachment, parent: Ino, name: bytes) -> Attr:
        return self._attributes.of(self._naming.must_find(parent, name).view)

    async def get_attr(self, att: Attachment, ino: Ino) -> Attr:
        return self._attributes.get(ino)

    async def read_dir(self, att: Attachment, ino: Ino, after: bytes, limit: int) -> Listing:
        node = self._attributes.directory(ino)
        wanted = min(limit, _MAX_LISTING) if limit > 0 else _MAX_LISTING
        found = self._scope.tree.children(node, after, wanted + 1)
        entries = tuple((entry.name, self._attributes.of(entry.view)) for entry in found[:wanted])
        return Listing(entries, complete=len(found) <= wanted)

    async def read_link(self, att: Attachment, ino: Ino) -> bytes:
        if self._attributes.resolve(ino).kind is not Kind.SYMLINK:
            raise BadArgument("This is not a symlink.")
        body = self._attributes.version(ino).body
        return body.path if isinstance(body, Target) else b""

    async def open(self, att: Attachment, ino: Ino, handle: int, *, write: bool, truncate: bool, base: bytes) -> Opened:
        return self._opening.open(att, ino, handle, write=write, truncate=truncate, base=base)

    async def ahead(self, att: Attachment, ino: Ino, limit: int) -> list[Opened]:
        return self._opening.ahead(ino, limit)

    async def fetch(
        self, att: Attachment, ino: Ino, version: bytes, offset: int, length: int, suspect: bool = False
    ) -> ContentMap:
        return await self._contents.fetch(self._attributes.resolve(ino), version, suspect)

    async def read(self, att: Attachment, handle: int, offset: int, length: int) -> bytes:
        return await self._opening.read(att, handle, offset, length)

    async def get_xattr(self, att: Attachment, ino: Ino, name: bytes) -> bytes:
        return self._changing.get_xattr(ino, name)

    async def list_xattr(self, att: Attachment, ino: Ino) -> tuple[bytes, ...]:
        return self._changing.list_xattr(ino)
