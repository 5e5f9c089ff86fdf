# SPDX-License-Identifier: GPL-3.0-or-later
"""The filesystem calls of the fake daemon, over its plain tree: each `do_...` answers one request."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from contextlib import suppress
from typing import Any

from fake_tree import Node, OpenHandle, Tree, fail

from holofs_api.v1 import filesystem_pb2 as pb


class Attachment:
    def __init__(self, number: int, request: pb.AttachRequest) -> None:
        self.id = f"a{number}"
        self.mount_id = request.mount_id
        self.read_only = request.read_only
        self.journal = request.journal
        self.queue: asyncio.Queue[pb.Change | None] = asyncio.Queue()


class Calls:
    """Answers to calls; `Daemon` adds how requests come and how others are told."""

    tree: Tree
    read_only: bool
    fetch_delay: float
    fetch_error: int
    fetch_hurry: asyncio.Event

    def tell(self, source: Attachment | None, *changes: Any) -> None:
        raise NotImplementedError

    def check_writable(self, attachment: Attachment) -> None:
        if attachment.read_only or self.read_only:
            raise fail(errno.EROFS)

    def do_lookup(self, a: Attachment, r: pb.LookupRequest) -> pb.Attr:
        return self.tree.attr(self.tree.child(r.parent, r.name))

    def do_get_attr(self, a: Attachment, r: pb.GetAttrRequest) -> pb.Attr:
        return self.tree.attr(self.tree.node(r.ino))

    def do_set_attr(self, a: Attachment, r: pb.SetAttrRequest) -> pb.Attr:
        self.check_writable(a)
        node = self.tree.node(r.ino)
        previous = node.version
        if r.HasField("size"):
            self.tree.bases.append(("set_attr", r.base))
            self.tree.resize(node, r.size)
        if r.HasField("mode"):
            node.mode = r.mode
        if r.HasField("mtime_ns") or r.mtime_now:
            node.mtime_ns = time.time_ns() if r.mtime_now else r.mtime_ns
        node.ctime_ns = time.time_ns()
        self.tell(a, inode_change(node, previous, r.HasField("size")))
        return self.tree.attr(node)

    def do_read_dir(self, a: Attachment, r: pb.ReadDirRequest) -> pb.ReadDirReply:
        children = self.tree.directory_node(r.ino).children
        names = sorted(n for n in children if n > r.after)
        page = names[: r.limit] if r.limit else names
        reply = pb.ReadDirReply(complete=len(page) == len(names))
        for name in page:
            reply.entries.add(name=name, attr=self.tree.attr(children[name]))
        return reply

    def do_read_link(self, a: Attachment, r: pb.ReadLinkRequest) -> pb.ReadLinkReply:
        return pb.ReadLinkReply(target=self.tree.node(r.ino).target)

    def do_create(self, a: Attachment, r: pb.CreateRequest) -> pb.CreateReply:
        self.check_writable(a)
        if r.ino:
            return self._promised(a, r)
        node = self.tree.directory_node(r.parent).children.get(r.name)
        made = node is None
        if node is None:
            node = self.tree.new_node(r.parent, r.name, pb.KIND_FILE, r.mode)
            self.tell(a, entry_change(r.parent, r.name, node))
        elif r.exclusive:
            raise fail(errno.EEXIST)
        elif node.kind == pb.KIND_DIRECTORY:
            raise fail(errno.EISDIR)
        elif r.truncate:
            self._truncate(a, node, r.base)
        if r.handle:
            self._open(a, node, r.handle, write=True)
        return pb.CreateReply(attr=self.tree.attr(node), map=self.tree.content_map(node), created=made)

    def _promised(self, a: Attachment, r: pb.CreateRequest) -> pb.CreateReply:
        node = self.tree.nodes.get(r.ino)
        if node is None:
            directory = self.tree.directory_node(r.parent)
            other = directory.children.pop(r.name, None)
            if other is not None:
                directory.children[r.name + b" (conflict)"] = other
                self.tell(None, entry_change(r.parent, r.name + b" (conflict)", other))
            node = self.tree.new_node(r.parent, r.name, pb.KIND_FILE, r.mode, r.ino)
            if r.HasField("data"):
                self.tree.new_version(node, r.data, r.mtime_ns)
            if r.HasField("ctime_ns"):
                node.ctime_ns = r.ctime_ns
            self.tell(a, entry_change(r.parent, r.name, node))
        if not r.HasField("data"):
            self._open(a, node, r.handle, write=True)
        reply = pb.CreateReply(attr=self.tree.attr(node), map=self.tree.content_map(node), created=True)
        if r.lease:
            reply.inos.CopyFrom(self.tree.lease())
        return reply

    def _truncate(self, a: Attachment, node: Node, base: bytes) -> None:
        self.tree.bases.append(("truncate", base))
        previous = node.version
        self.tree.resize(node, 0)
        self.tell(a, inode_change(node, previous, content=True))

    def _open(self, a: Attachment, node: Node, number: int, write: bool) -> OpenHandle:
        key = (a.mount_id, number)
        self.tree.handles[key] = OpenHandle(key, node, write)
        return self.tree.handles[key]

    def do_make_dir(self, a: Attachment, r: pb.MakeDirRequest) -> pb.Attr:
        self.check_writable(a)
        return self._made(a, r, self.tree.new_node(r.parent, r.name, pb.KIND_DIRECTORY, r.mode, r.ino))

    def do_symlink(self, a: Attachment, r: pb.SymlinkRequest) -> pb.Attr:
        self.check_writable(a)
        node = self.tree.new_node(r.parent, r.name, pb.KIND_SYMLINK, 0o777)
        node.target = r.target
        return self._made(a, r, node)

    def do_link(self, a: Attachment, r: pb.LinkRequest) -> pb.Attr:
        self.check_writable(a)
        return self._made(a, r, self.tree.link(r.ino, r.parent, r.name))

    def _made(self, a: Attachment, r: Any, node: Node) -> pb.Attr:
        self.tell(a, entry_change(r.parent, r.name, node), inode_change(node, node.version, False))
        return self.tree.attr(node)

    def do_unlink(self, a: Attachment, r: pb.UnlinkRequest) -> pb.Done:
        self.check_writable(a)
        self._check_going(r)
        node = self.tree.unlink(r.parent, r.name)
        self.tell(a, entry_change(r.parent, r.name, None), inode_change(node, node.version, False))
        return pb.Done()

    def _check_going(self, r: pb.UnlinkRequest) -> None:
        if r.ino and self.tree.child(r.parent, r.name).ino != r.ino:
            raise fail(errno.ENOENT)

    def do_remove_dir(self, a: Attachment, r: pb.UnlinkRequest) -> pb.Done:
        self.check_writable(a)
        self._check_going(r)
        self.tree.remove_dir(r.parent, r.name)
        self.tell(a, entry_change(r.parent, r.name, None))
        return pb.Done()

    def do_rename(self, a: Attachment, r: pb.RenameRequest) -> pb.Done:
        self.check_writable(a)
        self.tree.bases.append(("rename", r.base))
        node = self.tree.child(r.parent, r.name)
        self.tree.rename(r)
        there = self.tree.directory_node(r.parent).children.get(r.name)
        self.tell(a, entry_change(r.parent, r.name, there), entry_change(r.new_parent, r.new_name, node))
        return pb.Done()

    def do_open(self, a: Attachment, r: pb.OpenRequest) -> pb.OpenReply:
        node = self.tree.node(r.ino)
        if r.write or r.truncate:
            self.check_writable(a)
        handle = self._open(a, node, r.handle, r.write)
        handle.bases.append(r.base)
        if r.write:
            self.tree.bases.append(("open", r.base))
        if r.truncate:
            self._truncate(a, node, r.base)
        reply = pb.OpenReply(attr=self.tree.attr(node), map=self.tree.content_map(node))
        for other in self.tree.following(node, r.ahead) if r.ahead else []:
            reply.ahead.add(attr=self.tree.attr(other), map=self.tree.content_map(other))
        return reply

    def _handle(self, a: Attachment, number: int) -> OpenHandle:
        handle = self.tree.handles.get((a.mount_id, number))
        if handle is None:
            raise fail(errno.ESTALE)
        return handle

    def do_stage(self, a: Attachment, r: pb.StageRequest) -> pb.StageReply:
        self.check_writable(a)
        handle = self._handle(a, r.handle)
        path = self.tree.stage(handle, r.empty)
        self.tell(a, inode_change(handle.node, handle.node.version, content=True))
        return pb.StageReply(path=path, size=os.stat(path).st_size)

    def do_commit(self, a: Attachment, r: pb.CommitRequest) -> pb.Attr:
        self.check_writable(a)
        handle = self._handle(a, r.handle)
        node = handle.node
        previous = node.version
        mtime = r.mtime_ns if r.HasField("mtime_ns") else time.time_ns()
        if r.HasField("data"):
            self.tree.bases.append(("commit", r.base))
            if node.staging:
                os.unlink(node.staging)
                node.staging = ""
            self.tree.new_version(node, r.data, mtime)
            if r.release:
                self.do_release(a, pb.ReleaseRequest(handle=r.handle))
        else:
            node.mtime_ns, node.ctime_ns = mtime, time.time_ns()
        self.tell(a, inode_change(node, previous, content=True))
        return self.tree.attr(node)

    def do_fsync(self, a: Attachment, r: pb.FsyncRequest) -> pb.Done:
        if r.handle:
            self._handle(a, r.handle)
        return pb.Done()

    def do_release(self, a: Attachment, r: pb.ReleaseRequest) -> pb.Done:
        handle = self._handle(a, r.handle)
        del self.tree.handles[handle.key]
        node = handle.node
        node.staged_by.discard(handle.key)
        if node.staging and not node.staged_by:
            previous = node.version
            self.tree.seal(node)
            self.tell(a, inode_change(node, previous, content=True))
        return pb.Done()

    async def do_fetch(self, a: Attachment, r: pb.FetchRequest) -> pb.ContentMap:
        node = self.tree.node(r.ino)
        if node.remote:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.fetch_delay):
                    await self.fetch_hurry.wait()
            if self.fetch_error:
                raise fail(self.fetch_error)
            node.remote = False
        return self.tree.content_map(node)

    def do_get_xattr(self, a: Attachment, r: pb.XattrRequest) -> pb.XattrReply:
        node = self.tree.node(r.ino)
        if r.name not in node.xattrs:
            raise fail(errno.ENODATA)
        return pb.XattrReply(value=node.xattrs[r.name])

    def do_set_xattr(self, a: Attachment, r: pb.SetXattrRequest) -> pb.Done:
        self.check_writable(a)
        node = self.tree.node(r.ino)
        if r.create and r.name in node.xattrs:
            raise fail(errno.EEXIST)
        if r.replace and r.name not in node.xattrs:
            raise fail(errno.ENODATA)
        node.xattrs[r.name] = r.value
        self.tell(a, inode_change(node, node.version, False))
        return pb.Done()

    def do_list_xattr(self, a: Attachment, r: pb.XattrRequest) -> pb.XattrNames:
        return pb.XattrNames(names=sorted(self.tree.node(r.ino).xattrs))

    def do_remove_xattr(self, a: Attachment, r: pb.XattrRequest) -> pb.Done:
        self.check_writable(a)
        node = self.tree.node(r.ino)
        if node.xattrs.pop(r.name, None) is None:
            raise fail(errno.ENODATA)
        self.tell(a, inode_change(node, node.version, False))
        return pb.Done()

    def do_stat_fs(self, a: Attachment, r: pb.StatFsRequest) -> pb.StatFsReply:
        return pb.StatFsReply(
            block_size=4096,
            blocks=1000,
            blocks_free=600,
            blocks_available=500,
            files=100,
            files_free=90,
            name_max=255,
        )


def inode_change(node: Node, previous: bytes, content: bool, elsewhere: bool = False) -> pb.InodeChange:
    return pb.InodeChange(ino=node.ino, content=content, elsewhere=elsewhere, version=node.version, previous=previous)


def entry_change(parent: int, name: bytes, node: Node | None) -> pb.EntryChange:
    return pb.EntryChange(parent=parent, name=name, ino=node.ino if node else 0, gone=node is None)
