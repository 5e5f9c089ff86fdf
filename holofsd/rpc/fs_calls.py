# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of filesystem calls: one row for each, used by the unary methods and by the stream of calls alike.

A handler gets the client (`Caller`), the request, and the message to fill.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Protocol

from holofs_api.v1 import filesystem_pb2 as pb
from holofsd.core.errors import StaleHandle
from holofsd.fs import types as fs
from holofsd.fs.api import Filesystem
from holofsd.fs.decoding import commit_request, create_request, ino_of, rename_request, set_attr
from holofsd.rpc.fs_convert import fill_ahead, fill_attr, fill_listing, fill_map


class CallsInFlight(Protocol):
    """Calls of one connection that were begun and are not answered."""

    def cut_short(self) -> None: ...
    async def drain(self) -> None: ...


@dataclass(eq=False, slots=True)
class Caller:
    """An attached client.

    `superseded`: the client has attached anew, and what still comes by this attachment is not carried out: it may be
    older than what the client did since. `calls` has the calls in flight of each of its connections.
    """

    filesystem: Filesystem
    attachment: fs.Attachment
    superseded: bool = False
    calls: list[CallsInFlight] = field(default_factory=list)

    def check(self) -> None:
        """Checks before each call that the attachment still holds. Raises StaleHandle."""
        if self.superseded:
            raise StaleHandle("This attachment was replaced by another; attach again.")
        if self.filesystem.is_closed:
            raise StaleHandle("This volume is not open any more; attach again.")


Handler = Callable[[Caller, Any, Any], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Call:
    """One row of the table of filesystem calls."""

    method: str
    """Of the gRPC service."""
    field: str
    """Of CallRequest."""
    request: type[Any]
    result: str
    """Of CallReply."""
    reply: type[Any]
    run: Handler
    names: bool = False
    """Whether it changes names: answered after the other mounts of the device have dropped the old ones."""

    async def answer(self, caller: Caller, request: Any, out: Any) -> None:
        """Runs it for a client that waits for the answer."""
        await self.run(caller, request, out)
        if self.names:
            await caller.filesystem.others_know(caller.attachment)


async def _lookup(c: Caller, r: pb.LookupRequest, out: pb.Attr) -> None:
    fill_attr(out, await c.filesystem.lookup(c.attachment, ino_of(r.parent), r.name))


async def _get_attr(c: Caller, r: pb.GetAttrRequest, out: pb.Attr) -> None:
    fill_attr(out, await c.filesystem.get_attr(c.attachment, ino_of(r.ino)))


async def _set_attr(c: Caller, r: pb.SetAttrRequest, out: pb.Attr) -> None:
    fill_attr(out, await c.filesystem.set_attr(c.attachment, ino_of(r.ino), set_attr(r)))


async def _read_dir(c: Caller, r: pb.ReadDirRequest, out: pb.ReadDirReply) -> None:
    fill_listing(out, await c.filesystem.read_dir(c.attachment, ino_of(r.ino), r.after, r.limit))


async def _read_link(c: Caller, r: pb.ReadLinkRequest, out: pb.ReadLinkReply) -> None:
    out.target = await c.filesystem.read_link(c.attachment, ino_of(r.ino))


async def _create(c: Caller, r: pb.CreateRequest, out: pb.CreateReply) -> None:
    fill_created(out, await c.filesystem.create(c.attachment, create_request(r)))


def fill_created(out: pb.CreateReply, made: fs.Created) -> None:
    fill_attr(out.attr, made.attr)
    fill_map(out.map, made.map)
    out.created = made.created
    if made.lease is not None:
        out.inos.first, out.inos.count = made.lease


async def _make_dir(c: Caller, r: pb.MakeDirRequest, out: pb.Attr) -> None:
    folder = fs.AsyncCreate(ino_of(r.ino)) if r.ino else None
    fill_attr(out, await c.filesystem.make_dir(c.attachment, ino_of(r.parent), r.name, r.mode, folder))


async def _symlink(c: Caller, r: pb.SymlinkRequest, out: pb.Attr) -> None:
    fill_attr(out, await c.filesystem.symlink(c.attachment, ino_of(r.parent), r.name, r.target))


async def _link(c: Caller, r: pb.LinkRequest, out: pb.Attr) -> None:
    fill_attr(out, await c.filesystem.link(c.attachment, ino_of(r.ino), ino_of(r.parent), r.name))


async def _unlink(c: Caller, r: pb.UnlinkRequest, out: pb.Done) -> None:
    await c.filesystem.unlink(c.attachment, ino_of(r.parent), r.name, ino_of(r.ino) if r.ino else None)


async def _remove_dir(c: Caller, r: pb.UnlinkRequest, out: pb.Done) -> None:
    await c.filesystem.remove_dir(c.attachment, ino_of(r.parent), r.name, ino_of(r.ino) if r.ino else None)


async def _rename(c: Caller, r: pb.RenameRequest, out: pb.Done) -> None:
    await c.filesystem.rename(c.attachment, rename_request(r))


async def _open(c: Caller, r: pb.OpenRequest, out: pb.OpenReply) -> None:
    opened = await c.filesystem.open(
        c.attachment, ino_of(r.ino), r.handle, write=r.write, truncate=r.truncate, base=r.base
    )
    fill_attr(out.attr, opened.attr)
    fill_map(out.map, opened.map)
    if r.ahead:
        fill_ahead(out.ahead, await c.filesystem.ahead(c.attachment, ino_of(r.ino), r.ahead))


async def _stage(c: Caller, r: pb.StageRequest, out: pb.StageReply) -> None:
    staged = await c.filesystem.stage(c.attachment, r.handle, empty=r.empty, base=r.base)
    out.path = staged.path
    out.size = staged.size


async def _commit(c: Caller, r: pb.CommitRequest, out: pb.Attr) -> None:
    fill_attr(out, await c.filesystem.commit(c.attachment, commit_request(r)))


async def _fsync(c: Caller, r: pb.FsyncRequest, out: pb.Done) -> None:
    data = r.data if r.HasField("data") else None
    onto = r.onto if r.HasField("onto") else None
    await c.filesystem.fsync(c.attachment, r.handle, ino_of(r.ino), data, onto)


async def _release(c: Caller, r: pb.ReleaseRequest, out: pb.Done) -> None:
    await c.filesystem.release(c.attachment, r.handle)


async def _fetch(c: Caller, r: pb.FetchRequest, out: pb.ContentMap) -> None:
    told = await c.filesystem.fetch(c.attachment, ino_of(r.ino), r.version, r.offset, r.length, r.suspect)
    fill_map(out, told)


async def _read(c: Caller, r: pb.ReadRequest, out: pb.ReadReply) -> None:
    out.data = await c.filesystem.read(c.attachment, r.handle, r.offset, r.length)


async def _write(c: Caller, r: pb.WriteRequest, out: pb.Attr) -> None:
    fill_attr(out, await c.filesystem.write(c.attachment, r.handle, r.offset, r.data))


async def _get_xattr(c: Caller, r: pb.XattrRequest, out: pb.XattrReply) -> None:
    out.value = await c.filesystem.get_xattr(c.attachment, ino_of(r.ino), r.name)


async def _set_xattr(c: Caller, r: pb.SetXattrRequest, out: pb.Done) -> None:
    await c.filesystem.set_xattr(c.attachment, ino_of(r.ino), r.name, r.value, create=r.create, replace=r.replace)


async def _list_xattr(c: Caller, r: pb.XattrRequest, out: pb.XattrNames) -> None:
    out.names.extend(await c.filesystem.list_xattr(c.attachment, ino_of(r.ino)))


async def _remove_xattr(c: Caller, r: pb.XattrRequest, out: pb.Done) -> None:
    await c.filesystem.remove_xattr(c.attachment, ino_of(r.ino), r.name)


async def _stat_fs(c: Caller, r: pb.StatFsRequest, out: pb.StatFsReply) -> None:
    found = await c.filesystem.stat_fs(c.attachment)
    out.block_size = found.block_size
    out.blocks = found.blocks
    out.blocks_free = found.blocks_free
    out.blocks_available = found.blocks_available
    out.files = found.files
    out.files_free = found.files_free
    out.name_max = found.name_max


async def _acknowledge(c: Caller, r: pb.AcknowledgeRequest, out: pb.Done) -> None:
    c.filesystem.acknowledge(c.attachment, r.number)


CALLS: Final = (
    Call("Lookup", "lookup", pb.LookupRequest, "attr", pb.Attr, _lookup),
    Call("GetAttr", "get_attr", pb.GetAttrRequest, "attr", pb.Attr, _get_attr),
    Call("SetAttr", "set_attr", pb.SetAttrRequest, "attr", pb.Attr, _set_attr),
    Call("ReadDir", "read_dir", pb.ReadDirRequest, "read_dir", pb.ReadDirReply, _read_dir),
    Call("ReadLink", "read_link", pb.ReadLinkRequest, "read_link", pb.ReadLinkReply, _read_link),
    Call("Create", "create", pb.CreateRequest, "create", pb.CreateReply, _create, names=True),
    Call("MakeDir", "make_dir", pb.MakeDirRequest, "attr", pb.Attr, _make_dir, names=True),
    Call("Symlink", "symlink", pb.SymlinkRequest, "attr", pb.Attr, _symlink, names=True),
    Call("Link", "link", pb.LinkRequest, "attr", pb.Attr, _link, names=True),
    Call("Unlink", "unlink", pb.UnlinkRequest, "done", pb.Done, _unlink, names=True),
    Call("RemoveDir", "remove_dir", pb.UnlinkRequest, "done", pb.Done, _remove_dir, names=True),
    Call("Rename", "rename", pb.RenameRequest, "done", pb.Done, _rename, names=True),
    Call("Open", "open", pb.OpenRequest, "open", pb.OpenReply, _open),
    Call("Stage", "stage", pb.StageRequest, "stage", pb.StageReply, _stage),
    Call("Commit", "commit", pb.CommitRequest, "attr", pb.Attr, _commit),
    Call("Fsync", "fsync", pb.FsyncRequest, "done", pb.Done, _fsync),
    Call("Release", "release", pb.ReleaseRequest, "done", pb.Done, _release),
    Call("Fetch", "fetch", pb.FetchRequest, "map", pb.ContentMap, _fetch),
    Call("Read", "read", pb.ReadRequest, "read", pb.ReadReply, _read),
    Call("Write", "write", pb.WriteRequest, "attr", pb.Attr, _write),
    Call("GetXattr", "get_xattr", pb.XattrRequest, "xattr", pb.XattrReply, _get_xattr),
    Call("SetXattr", "set_xattr", pb.SetXattrRequest, "done", pb.Done, _set_xattr),
    Call("ListXattr", "list_xattr", pb.XattrRequest, "xattr_names", pb.XattrNames, _list_xattr),
    Call("RemoveXattr", "remove_xattr", pb.XattrRequest, "done", pb.Done, _remove_xattr),
    Call("StatFs", "stat_fs", pb.StatFsRequest, "stat_fs", pb.StatFsReply, _stat_fs),
    Call("Acknowledge", "acknowledge", pb.AcknowledgeRequest, "done", pb.Done, _acknowledge),
)
BY_FIELD: Final[Mapping[str, Call]] = MappingProxyType({call.field: call for call in CALLS})
