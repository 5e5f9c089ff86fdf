# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests of `holofs.v1.Filesystem` as values, for calls that arrive over rpc and for those that journals keep."""

from __future__ import annotations

from typing import Any

from holofs_api.numbers import MAX_INTEGER, time_in_range
from holofs_api.stamps import CLOCK
from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.core.errors import StaleHandle
from holofsd.core.ids import Ino
from holofsd.fs.types import AsyncCreate, CommitRequest, CreateRequest, RenameFlags, RenameRequest, SetAttr


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


def _optional(request: Any, field: str) -> Any:
    return getattr(request, field) if request.HasField(field) else None


def create_request(request: pb.CreateRequest) -> CreateRequest:
    return CreateRequest(
        ino_of(request.parent),
        request.name,
        request.mode,
        exclusive=request.exclusive,
        truncate=request.truncate,
        handle=request.handle,
        base=request.base,
        async_create=async_file(request) if request.ino else None,
        wants_lease=request.lease,
    )


def async_file(request: pb.CreateRequest, *, journalled: bool = False, late: bool = False) -> AsyncCreate:
    return AsyncCreate(
        ino_of(request.ino),
        _optional(request, "data"),
        time_of(request, "mtime_ns"),
        time_of(request, "ctime_ns"),
        journalled,
        late,
    )


def rename_request(request: pb.RenameRequest) -> RenameRequest:
    flags = RenameFlags.NO_REPLACE if request.no_replace else RenameFlags.NONE
    if request.exchange:
        flags |= RenameFlags.EXCHANGE
    return RenameRequest(
        ino_of(request.parent), request.name, ino_of(request.new_parent), request.new_name, flags, request.base
    )


def commit_request(request: pb.CommitRequest) -> CommitRequest:
    return CommitRequest(
        request.handle,
        data=_optional(request, "data"),
        mtime_ns=time_of(request, "mtime_ns"),
        seal=request.seal,
        release=request.release,
        base=request.base,
        onto=_optional(request, "onto"),
    )


def set_attr(request: pb.SetAttrRequest) -> SetAttr:
    return SetAttr(
        mode=_optional(request, "mode"),
        size=_optional(request, "size"),
        mtime_ns=time_of(request, "mtime_ns"),
        mtime_now=request.mtime_now,
        handle=request.handle,
        base=request.base,
    )
