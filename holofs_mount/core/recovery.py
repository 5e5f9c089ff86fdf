# SPDX-License-Identifier: GPL-3.0-or-later
"""Recovery of calls that may not simply be repeated after the daemon died: was the first attempt carried out?

Each function gives a `Recover` for `DaemonClient.call`. What is looked at is only what the first attempt would have
left behind. Where another program may have done the same in the same instant, the wanted outcome is there anyway.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.client import Recover

Call = Callable[[str, Message], Awaitable[Any]]

_CLOCK_SLACK_NS = 1_000_000_000


def gone(expected: int) -> Recover:
    """Recovery of unlink, rmdir, removexattr: the repetition finds nothing to remove."""

    async def recover(error: OSError | None) -> Message | None:
        return pb.Done() if error is not None and error.errno == expected else None

    return recover


def made(call: Call, parent: int, name: bytes, fits: Callable[[pb.Attr], Awaitable[bool]]) -> Recover:
    """Recovery of mkdir, symlink, mknod, link: EEXIST on the repetition, and what is there fits the request."""

    async def recover(error: OSError | None) -> Message | None:
        if error is None or error.errno != errno.EEXIST:
            return None
        attr = await _lookup(call, parent, name)
        return attr if attr is not None and await fits(attr) else None

    return recover


def made_since(kind: pb.Kind.ValueType, size: int | None = None) -> Callable[[pb.Attr], Awaitable[bool]]:
    """Predicate for an inode that was made after this moment: an older one is not taken for ours."""
    since = time.time_ns() - _CLOCK_SLACK_NS

    async def fits(attr: pb.Attr) -> bool:
        return attr.kind == kind and attr.ctime_ns >= since and (size is None or attr.size == size)

    return fits


def made_link(call: Call, target: bytes) -> Callable[[pb.Attr], Awaitable[bool]]:
    async def fits(attr: pb.Attr) -> bool:
        if attr.kind != pb.KIND_SYMLINK:
            return False
        reply: pb.ReadLinkReply = await call("read_link", pb.ReadLinkRequest(ino=attr.ino))
        return reply.target == target

    return fits


def created(call: Call, request: pb.CreateRequest) -> Recover:
    """Recovery of an exclusive create: an empty file made since is ours, and is opened under the same handle."""
    fits = made_since(pb.KIND_FILE, size=0)

    async def recover(error: OSError | None) -> Message | None:
        if error is None or error.errno != errno.EEXIST:
            return None
        attr = await _lookup(call, request.parent, request.name)
        if attr is None or not await fits(attr):
            return None
        if not request.handle:
            return pb.CreateReply(attr=attr, created=True)
        opened: pb.OpenReply = await call("open", pb.OpenRequest(ino=attr.ino, handle=request.handle, write=True))
        return pb.CreateReply(attr=opened.attr, map=opened.map, created=True)

    return recover


def renamed(call: Call, request: pb.RenameRequest, source: int | None) -> Recover:
    """Recovery of a rename: the inode is at the new name, and not at the old one (or, exchanged, another one is)."""

    async def recover(error: OSError | None) -> Message | None:
        if source is None:
            return None
        after = await _lookup(call, request.new_parent, request.new_name)
        if after is None or after.ino != source:
            return None
        before = await _lookup(call, request.parent, request.name)
        if request.exchange:
            return pb.Done() if before is not None and before.ino != source else None
        return pb.Done() if before is None else None

    return recover


def xattr_set(call: Call, request: pb.SetXattrRequest) -> Recover:
    async def recover(error: OSError | None) -> Message | None:
        if error is None or error.errno != errno.EEXIST:
            return None
        reply: pb.XattrReply = await call("get_xattr", pb.XattrRequest(ino=request.ino, name=request.name))
        return pb.Done() if reply.value == request.value else None

    return recover


async def _lookup(call: Call, parent: int, name: bytes) -> pb.Attr | None:
    try:
        attr: pb.Attr = await call("lookup", pb.LookupRequest(parent=parent, name=name))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return attr
