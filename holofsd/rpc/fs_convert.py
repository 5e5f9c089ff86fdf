# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of `holofsd.fs.types` into messages of `holofs.v1`, filled in place: the hot path makes no message twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from holofs_api.numbers import MAX_INTEGER, time_in_range
from holofs_api.stamps import CLOCK
from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.core.errors import StaleHandle
from holofsd.core.ids import Ino
from holofsd.fs import types as fs


def ino_of(number: int) -> Ino:
    """Raises StaleHandle for what cannot be an inode."""
    if number > MAX_INTEGER:
        raise StaleHandle("There is no such file.")
    return Ino(number)


def time_of(request: Any, field: str) -> int | None:
    """A time that a client asks for, in its range; None: it asks for none."""
    if not request.HasField(field):
        return None
    time_ns = time_in_range(getattr(request, field))
    CLOCK.seen(time_ns)
    return time_ns


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


def set_attr(request: pb.SetAttrRequest) -> fs.SetAttr:
    return fs.SetAttr(
        mode=_optional(request, "mode"),
        size=_optional(request, "size"),
        mtime_ns=time_of(request, "mtime_ns"),
        mtime_now=request.mtime_now,
        handle=request.handle,
        base=request.base,
    )


def _optional(request: Any, field: str) -> int | None:
    return getattr(request, field) if request.HasField(field) else None
