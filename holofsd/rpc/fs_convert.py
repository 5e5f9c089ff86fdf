# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of `holofsd.fs.types` into messages of `holofs.v1`, filled in place: the hot path makes no message twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from holofs_api.numbers import time_in_range
from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.fs import types as fs
from holofsd.fs.decoding import ino_of


def fill_attr(out: pb.Attr, attr: fs.Attr) -> None:
    out.ino = attr.ino
    out.kind = int(attr.kind)  # type: ignore[assignment]  # the numbers of core's Kind are those of the contract
    out.mode = attr.mode
    out.size = attr.size
    out.nlink = attr.nlink
    out.mtime_ns = time_in_range(attr.mtime_ns)
    out.ctime_ns = time_in_range(attr.ctime_ns)
    out.version = attr.version
    if attr.has_xattrs:
        out.has_xattrs = True
    if attr.remote:
        out.remote = True
    if attr.writing:
        out.writing = True


def fill_map(out: pb.ContentMap, content: fs.ContentMap) -> None:
    out.version = content.version
    out.size = content.size
    if content.staging:
        out.staging = content.staging
    for extent in content.extents:
        _fill_extent(out.extents.add(), extent)


def _fill_extent(out: pb.Extent, extent: fs.Extent) -> None:
    out.offset = extent.offset
    if isinstance(extent, fs.InlineExtent):
        out.length = len(extent.data)
        out.inline = extent.data
        return
    out.length = extent.length
    if isinstance(extent, fs.LocalExtent):
        out.local.path = extent.path
        out.local.offset = extent.source_offset
    elif isinstance(extent, fs.RemoteExtent):
        out.remote = extent.hash
    else:
        out.hole = True


def fill_ahead(out: Any, files: Iterable[fs.Opened]) -> None:
    for file in files:
        told = out.add()
        fill_attr(told.attr, file.attr)
        fill_map(told.map, file.map)


def fill_listing(out: pb.ReadDirReply, listing: fs.Listing) -> None:
    add = out.entries.add
    for name, attr in listing.entries:
        entry = add()
        entry.name = name
        fill_attr(entry.attr, attr)
    out.complete = listing.complete


def change_message(batch: fs.ChangeBatch) -> pb.Change:
    access = pb.Access.ValueType(batch.access)
    company = pb.Company.ValueType(batch.company)
    out = pb.Change(reset=batch.reset, access=access, going_down=batch.going_down, company=company, number=batch.number)
    for entry in batch.entries:
        out.entries.add(parent=entry.parent, name=entry.name, ino=entry.ino, gone=entry.gone)
    for inode in batch.inodes:
        out.inodes.add(
            ino=inode.ino,
            content=inode.content,
            elsewhere=inode.elsewhere,
            version=inode.version,
            previous=inode.previous,
        )
    return out


def attach_request(request: pb.AttachRequest) -> fs.AttachRequest:
    handles = tuple(
        fs.OpenHandle(h.handle, ino_of(h.ino), h.write, h.staged, h.version, h.staging) for h in request.handles
    )
    return fs.AttachRequest(
        program=request.program,
        mount_id=request.mount_id,
        mountpoint=request.mountpoint,
        pid=request.pid,
        read_only=request.read_only,
        handles=handles,
        journal=request.journal,
        answered=request.answered,
        acknowledges=request.acknowledges,
    )
