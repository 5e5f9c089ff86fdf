# SPDX-License-Identifier: GPL-3.0-or-later
"""Exports: a listing of a part of a volume, with where the content of each file is, for a client that writes it to
another place."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from holofs_api.virtual_attributes import is_virtual
from holofsd.core.errors import HoloError, NoSuchName
from holofsd.core.ids import ROOT_ID, NodeId
from holofsd.core.state import Blob, Inline, Kind, Target, Version
from holofsd.fs.content.contents import Contents
from holofsd.fs.content.hashing import Hasher
from holofsd.fs.shared.attrs import Attributes
from holofsd.fs.shared.scope import Scope
from holofsd.fs.shared.staged import StagedFiles
from holofsd.fs.transfers import ExportItem, ExportPiece, ExtendedAttribute
from holofsd.fs.types import KIND_WORDS
from holofsd.tree.views import Entry, NodeView

_PAGE: Final = 500
_SLICE: Final = 50


class Exporting:
    """Listings of one volume for exports."""

    def __init__(
        self, scope: Scope, attributes: Attributes, staged: StagedFiles, contents: Contents, hasher: Hasher
    ) -> None:
        self._scope = scope
        self._tree = scope.tree
        self._attributes = attributes
        self._staged = staged
        self._contents = contents
        self._hasher = hasher

    async def export(self, path: bytes) -> AsyncIterator[ExportItem]:
        """Items of what is at a path, each folder before what is in it. Fetches content that is elsewhere; an item
        whose content cannot be had says why. Raises NoSuchName."""
        await self._hasher.drain()
        entry = self._tree.entry_at(path)
        if path and entry is None:
            raise NoSuchName("There is nothing at this path in the volume.")
        if entry is not None:
            yield await self._item(b"", entry)
        if entry is None or entry.view.kind is Kind.DIRECTORY:
            async for item in self._below(entry.node if entry is not None else ROOT_ID):
                yield item

    async def _below(self, top: NodeId) -> AsyncIterator[ExportItem]:
        """Walks depth first, holding one page of names for each level."""
        levels: list[tuple[NodeId, bytes, list[Entry], bytes]] = [(top, b"", [], b"")]
        number = 0
        while levels:
            node, at, page, after = levels.pop()
            if not page:
                page = self._tree.children(node, after, _PAGE)[::-1]
                if not page:
                    continue
            entry = page.pop()
            levels.append((node, at, page, entry.name))
            path = at + b"/" + entry.name if at else entry.name
            yield await self._item(path, entry)
            if entry.view.kind is Kind.DIRECTORY:
                levels.append((entry.node, path, [], b""))
            number += 1
            if number % _SLICE == 0:
                await asyncio.sleep(0)

    async def _item(self, path: bytes, entry: Entry) -> ExportItem:
        try:
            return await self._read(path, entry)
        except (HoloError, OSError) as error:
            told = error.message if isinstance(error, HoloError) else f"It cannot be read: {error.strerror}."
            return ExportItem(path, KIND_WORDS[entry.view.kind], problem=told)

    async def _read(self, path: bytes, entry: Entry) -> ExportItem:
        view = entry.view
        version = self._tree.version_of(entry.node, entry.dot) if view.kind is not Kind.DIRECTORY else None
        content, size, mtime_ns = _Content(), view.size, view.mtime_ns
        staged = self._staged.of(view.ino) if view.kind is Kind.FILE else None
        if staged is not None:  # as far as programs have written it
            found = staged.stat()
            content = _Content(file=os.fsencode(staged.path))
            size, mtime_ns = found.st_size, found.st_mtime_ns
        elif version is not None and view.kind is Kind.FILE:
            content, size = await self._content(entry.node, version)
        return ExportItem(
            path=path,
            kind=KIND_WORDS[view.kind],
            mode=view.mode,
            mtime_ns=mtime_ns,
            size=size,
            hash=_hash_of(version) if version is not None and staged is None else b"",
            data=content.data,
            file=content.file,
            pieces=content.pieces,
            target=version.body.path if version is not None and isinstance(version.body, Target) else b"",
            node=bytes(view.node) if view.kind is Kind.FILE and view.nlink > 1 and not view.dot else b"",
            xattrs=self._xattrs(view),
        )

    async def _content(self, node: NodeId, version: Version) -> tuple[_Content, int]:
        """Content of a file, and its size."""
        await self._contents.bring(node, version)
        version = self._tree.sized(version)
        if isinstance(version.body, Inline) or not version.size:
            return _Content(version.body.data if isinstance(version.body, Inline) else b""), version.size
        pieces = self._contents.pieces(version)
        if len(pieces) == 1 and pieces[0].path is not None and not pieces[0].start:
            return _Content(file=os.fsencode(pieces[0].path)), version.size
        found = (
            ExportPiece(b"" if piece.path is None else os.fsencode(piece.path), piece.start, piece.length)
            for piece in pieces
        )
        return _Content(pieces=tuple(found)), version.size

    def _xattrs(self, view: NodeView) -> tuple[ExtendedAttribute, ...]:
        found = self._attributes.xattrs(view)
        return tuple(ExtendedAttribute(name, value) for name, value in found.items() if not is_virtual(name))


@dataclass(frozen=True, slots=True)
class _Content:
    """Content of a file: bytes, a local file, or pieces of some."""

    data: bytes = b""
    file: bytes = b""
    pieces: tuple[ExportPiece, ...] = ()


def _hash_of(version: Version) -> bytes:
    if isinstance(version.body, Inline):
        return blake3(version.body.data).digest()
    return version.body.hash if isinstance(version.body, Blob) else b""
