# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders and files by their paths, for clients that have no mount: they attach nowhere, so mounts do not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Final

from holofsd.core.errors import ContentUnavailable, IsADirectory, NoSuchName, NotADirectory
from holofsd.core.ids import ROOT_ID, NodeId
from holofsd.core.state import Inline, Kind, Target
from holofsd.fs.content.contents import Contents
from holofsd.fs.content.pieces import ContentPiece, OpenPiece
from holofsd.fs.shared.attrs import Attributes
from holofsd.fs.shared.scope import Scope
from holofsd.fs.shared.staged import StagedFiles
from holofsd.fs.types import KIND_WORDS, FolderEntry, FolderListing, IgnoredFile, IgnoredListing
from holofsd.store.threads import Pool, in_thread
from holofsd.tree.views import Entry

MOST_ENTRIES: Final = 1000
FEW_IGNORED: Final = 100
_IGNORED_SLICE: Final = 500
_PIECE: Final = 1 << 18
_ATTEMPTS: Final = 4


class Browsing:
    """Reading of folders and files by path."""

    def __init__(self, scope: Scope, attributes: Attributes, contents: Contents, staged: StagedFiles) -> None:
        self._scope = scope
        self._attributes = attributes
        self._contents = contents
        self._staged = staged

    def folder(self, path: bytes, after: bytes, limit: int) -> FolderListing:
        """One page of a folder: names after `after`. Raises NoSuchName, NotADirectory."""
        wanted = min(limit or MOST_ENTRIES, MOST_ENTRIES)
        found = self._scope.tree.children(self._folder(path), after, wanted + 1)
        return FolderListing(tuple(map(self._described, found[:wanted])), complete=len(found) <= wanted)

    def _described(self, entry: Entry) -> FolderEntry:
        attr = self._attributes.of(entry.view)
        return FolderEntry(
            entry.name, KIND_WORDS[attr.kind], attr.size, attr.mtime_ns, not attr.remote, entry.is_copy, attr.writing
        )

    def _folder(self, path: bytes) -> NodeId:
        if not path:
            return ROOT_ID
        entry = self._entry(path)
        if entry.view.kind is not Kind.DIRECTORY:
            raise NotADirectory("This is not a folder.")
        return entry.node

    def _entry(self, path: bytes) -> Entry:
        entry = self._scope.tree.entry_at(path)
        if entry is None:
            raise NoSuchName("There is no such file or directory in this volume.")
        return entry

    # ---- what rules keep here
    async def ignored(self, limit: int) -> IgnoredListing:
        """Files and folders that are ignored, the topmost folders instead of what is in them, by path. Others have
        turns while they are looked for."""
        wanted, store = min(limit or FEW_IGNORED, MOST_ENTRIES), self._scope.store.ignored
        found: list[IgnoredFile] = []
        last: NodeId | None = NodeId(b"")
        while last is not None and len(found) <= wanted:
            nodes, last = store.topmost_after(last, _IGNORED_SLICE)
            found += [one for node in nodes if (one := self._ignored(node)) is not None]
            await asyncio.sleep(0)
        count, size = store.count()
        complete = len(found) <= wanted and last is None
        return IgnoredListing(tuple(sorted(found[:wanted], key=lambda one: one.path)), complete, count, size)

    def _ignored(self, node: NodeId) -> IgnoredFile | None:
        path, row = self._scope.tree.path_of(node), self._scope.nodes.get(node)
        if not path or row is None:
            return None
        match = self._scope.volume.ignoring.match_of(node)
        return IgnoredFile(path, KIND_WORDS[Kind(row.kind)], row.size, str(match) if match is not None else "")

    # ---- content
    async def read(self, path: bytes) -> AsyncIterator[bytes]:
        """Content of a file as it is when it is opened, in pieces; fetched first if it is elsewhere. Of a symlink: its
        target."""
        entry = self._entry(path)
        if entry.view.kind is Kind.DIRECTORY:
            raise IsADirectory("Only files have content.")
        with ExitStack() as opened:
            for piece in await self._opened(entry, opened):
                while data := await in_thread(Pool.FOREGROUND, piece.read, _PIECE):
                    yield data

    async def _opened(self, entry: Entry, opened: ExitStack) -> list[OpenPiece]:
        """The pieces of a file, open, for the name of a staging file goes when it is hashed."""
        for _ in range(_ATTEMPTS):
            with ExitStack() as opening:
                try:
                    pieces = [opening.enter_context(piece) for piece in await self._pieces(entry)]
                except FileNotFoundError:
                    continue
                opened.push(opening.pop_all())
                return pieces
        raise ContentUnavailable("This file changes too often to be read: try again.")

    async def _pieces(self, entry: Entry) -> list[OpenPiece]:
        """Raises FileNotFoundError, with some of them open until they are collected."""
        if (staged := self._staged.of(entry.ino)) is not None:
            return [ContentPiece(staged.path, staged.stat().st_size).open()]
        version = self._attributes.version(entry.ino)
        if isinstance(version.body, Inline | Target):
            data = version.body.data if isinstance(version.body, Inline) else version.body.path
            return [OpenPiece.of_bytes(data)]
        await self._contents.bring(entry.node, version)
        return [piece.open() for piece in self._contents.pieces(version)]
