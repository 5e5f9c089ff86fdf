# SPDX-License-Identifier: GPL-3.0-or-later
"""Location of a file's bytes: content maps for mounts that read local files themselves, and fetching."""

from __future__ import annotations

from pathlib import Path

from holofsd.core.errors import ContentDamaged, ContentTimeout, ContentUnavailable, IsADirectory, NoSuchName
from holofsd.core.ids import BlobHash, NodeId
from holofsd.core.project import parse_token, token
from holofsd.core.runs import ZEROS
from holofsd.core.state import Blob, Chunks, Inline, Kind, Manifest, Pending, Version
from holofsd.fs.content.pieces import ContentPiece
from holofsd.fs.shared.attrs import Attributes
from holofsd.fs.shared.scope import Scope
from holofsd.fs.shared.staged import StagedFiles
from holofsd.fs.types import ContentMap, Extent, HoleExtent, InlineExtent, LocalExtent, RemoteExtent
from holofsd.tree.views import NodeView


class Contents:
    """Content maps of versions, and the fetching of content that is on another device."""

    def __init__(self, scope: Scope, attributes: Attributes, staged: StagedFiles) -> None:
        self._scope = scope
        self._content = scope.store.content
        self._attributes = attributes
        self._staged = staged

    # ---- maps
    def map_of(self, view: NodeView) -> ContentMap:
        staged = self._staged.of(view.ino)
        if staged is not None:
            return ContentMap(view.version, staged.stat().st_size, staging=str(staged.path))
        return self.map_of_version(self._attributes.version(view.ino))

    def map_of_version(self, version: Version) -> ContentMap:
        version = self._scope.tree.sized(version)
        return ContentMap(token(version.dot), version.size, self._extents(version))

    def _extents(self, version: Version) -> tuple[Extent, ...]:
        body, size = version.body, version.size
        if size == 0:
            return ()
        if isinstance(body, Inline):
            return (InlineExtent(0, body.data),)
        if isinstance(body, Pending):
            return (LocalExtent(0, size, str(self._scope.store.staging.path(body.staging))),)
        if isinstance(body, Blob):
            return (self._extent(0, size, body.hash),)
        if isinstance(body, Manifest):
            return self._body_extents(size, body.hash)
        if isinstance(body, Chunks):
            extents: list[Extent] = []
            offset = 0
            for chunk in body.chunks:
                here = self._content.size(chunk.hash)
                length = chunk.size if here is None else here
                extents.append(self._extent(offset, length, chunk.hash))
                offset += length
            return tuple(extents)
        raise IsADirectory("Only files have content.")

    def _body_extents(self, size: int, cid: BlobHash) -> tuple[Extent, ...]:
        if not self._content.has(cid):
            return (RemoteExtent(0, size, cid),)
        bodies, found = self._scope.store.bodies, list[Extent]()
        for extent in bodies.whole_extents(cid):
            if extent.segment == ZEROS:
                found.append(HoleExtent(extent.offset, extent.length))
            elif extent.segment is not None and (path := bodies.segments.path(extent.segment)) is not None:
                found.append(LocalExtent(extent.offset, extent.length, str(path), extent.source))
        return tuple(found)

    def _extent(self, offset: int, length: int, hash: BlobHash) -> Extent:
        if self._content.has(hash):
            return LocalExtent(offset, length, str(self._content.path(hash)))
        return RemoteExtent(offset, length, hash)

    # ---- fetching
    async def fetch(self, view: NodeView, wanted: bytes, suspect: bool = False) -> ContentMap:
        """The map of a version once all its bytes are here; of what is shown now if that version is gone.

        The mount also calls this when a file of its map is gone, so content that should be here is looked at; with
        `suspect`, because reading it failed, to the last byte.
        """
        if view.kind is not Kind.FILE:
            raise IsADirectory("Only files have content.")
        if self._staged.of(view.ino) is not None:
            return self.map_of(view)
        version = self._wanted(view, wanted)
        await self.bring(view.node, version, suspect)
        return self.map_of_version(version)

    def _wanted(self, view: NodeView, wanted: bytes) -> Version:
        shown = self._attributes.version(view.ino)
        if not wanted or wanted == token(shown.dot):
            return shown
        state = self._scope.tree.state(view.node)
        found = state.versions.get(parse_token(wanted)) if state else None
        return found or shown

    async def bring(self, node: NodeId, version: Version, suspect: bool = False) -> None:
        """Waits until the bytes are local. Raises ContentUnavailable, ContentTimeout or ContentDamaged."""
        body = version.body
        if isinstance(body, Blob):
            await self._bring_blob(node, body.hash, version.size, suspect)
        elif isinstance(body, Chunks):
            for chunk in body.chunks:
                await self._bring_blob(node, chunk.hash, chunk.size, suspect)
        elif isinstance(body, Manifest) and not self._scope.volume.reads_lists and not self._content.has(body.hash):
            raise ContentUnavailable("This file was written by a newer HoloFS: update this device to read it.")
        elif isinstance(body, Manifest):
            await self._bring_blob(node, body.hash, version.size, suspect, is_list=True)

    async def _bring_blob(self, node: NodeId, hash: BlobHash, size: int, suspect: bool, is_list: bool = False) -> None:
        remote = self._scope.remote
        if self._content.has(hash) and await remote.is_whole(hash, node, suspect):
            return
        try:
            await remote.fetch(hash, size, self._scope.settings.fetch_timeout, is_list)
        except (ContentUnavailable, ContentTimeout) as error:
            if remote.is_damaged(hash):
                raise ContentDamaged(
                    "The content of this file is damaged on this device, and no device that has it can be reached:"
                    " it is fetched as soon as one can."
                ) from error
            raise
        if not self._content.has(hash):
            raise ContentUnavailable("No device that can be reached has the content of this file.")

    # ---- local pieces, for copying and reading
    def pieces(self, version: Version) -> list[ContentPiece]:
        """Pieces of content that is here and not inline, in order."""
        found: list[ContentPiece] = []
        for extent in self._extents(version):
            if isinstance(extent, LocalExtent):
                found.append(ContentPiece(Path(extent.path), extent.length, extent.source_offset))
            elif isinstance(extent, HoleExtent):
                found.append(ContentPiece(None, extent.length))
            else:
                raise NoSuchName("This content is not on this device.")
        return found
