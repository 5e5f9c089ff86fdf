# SPDX-License-Identifier: GPL-3.0-or-later
"""The filesystem of the fake daemon: a plain tree in memory, content and staging in local files. POSIX, nothing else.

Every mutating method returns the changes that other attachments have to hear.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from holofs_api.v1 import filesystem_pb2 as pb

INLINE = 4096


def fail(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@dataclass(eq=False)
class Node:
    ino: int
    kind: int
    mode: int
    data: bytes = b""  # content as of the last version; where it is read from depends on its size
    target: bytes = b""
    children: dict[bytes, Node] = field(default_factory=dict)
    names: int = 1
    mtime_ns: int = 0
    ctime_ns: int = 0
    version: bytes = b""
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    remote: bool = False
    staging: str = ""
    staged_by: set[tuple[str, int]] = field(default_factory=set)


@dataclass(eq=False)
class OpenHandle:
    key: tuple[str, int]
    node: Node
    write: bool
    bases: list[bytes] = field(default_factory=list)


class Tree:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "content").mkdir(parents=True, exist_ok=True)
        (directory / "staging").mkdir(parents=True, exist_ok=True)
        self._inos = itertools.count(2)
        self._leased = 1_000_000
        self.lease_size = 300
        """Few inode numbers, so that they run out."""
        self._versions = itertools.count(1)
        self._files = itertools.count(1)
        now = time.time_ns()
        self.root = Node(1, pb.KIND_DIRECTORY, 0o755, mtime_ns=now, ctime_ns=now)
        self.nodes: dict[int, Node] = {1: self.root}
        self.handles: dict[tuple[str, int], OpenHandle] = {}
        self.bases: list[tuple[str, bytes]] = []

    # ---- looking ----
    def node(self, ino: int) -> Node:
        node = self.nodes.get(ino)
        if node is None or (node.names == 0 and not self.is_open(node)):
            raise fail(errno.ENOENT)
        return node

    def directory_node(self, ino: int) -> Node:
        node = self.node(ino)
        if node.kind != pb.KIND_DIRECTORY:
            raise fail(errno.ENOTDIR)
        return node

    def child(self, parent: int, name: bytes) -> Node:
        node = self.directory_node(parent).children.get(name)
        if node is None:
            raise fail(errno.ENOENT)
        return node

    def is_open(self, node: Node) -> bool:
        return any(h.node is node for h in self.handles.values())

    def size(self, node: Node) -> int:
        if node.staging:
            return os.stat(node.staging).st_size
        return len(node.target) if node.kind == pb.KIND_SYMLINK else len(node.data)

    def attr(self, node: Node) -> pb.Attr:
        links = node.names
        if node.kind == pb.KIND_DIRECTORY:
            links = 2 + sum(c.kind == pb.KIND_DIRECTORY for c in node.children.values()) if node.names else 0
        return pb.Attr(
            ino=node.ino,
            kind=node.kind,
            mode=node.mode,
            size=self.size(node),
            nlink=links,
            mtime_ns=node.mtime_ns,
            ctime_ns=node.ctime_ns,
            version=node.version,
            has_xattrs=bool(node.xattrs),
            remote=node.remote,
            writing=bool(node.staging),
        )

    def following(self, node: Node, limit: int) -> list[Node]:
        """Files after this one, by name."""
        directory = next((d for d in self.nodes.values() if node in d.children.values()), None)
        if directory is None:
            return []
        names = sorted(directory.children)
        at = next(i for i, name in enumerate(names) if directory.children[name] is node)
        return [directory.children[name] for name in names[at + 1 : at + 1 + limit]]

    def content_map(self, node: Node) -> pb.ContentMap:
        if node.staging:
            return pb.ContentMap(version=node.version, size=self.size(node), staging=node.staging)
        told = pb.ContentMap(version=node.version, size=len(node.data))
        if node.remote:
            half = len(node.data) // 2
            told.extents.add(offset=0, length=half, remote=b"h" * 32)
            told.extents.add(offset=half, length=len(node.data) - half, remote=b"h" * 32)
        elif len(node.data) > INLINE:
            extent = told.extents.add(offset=0, length=len(node.data))
            extent.local.path = self.content_path(node)
        elif node.data:
            told.extents.add(offset=0, length=len(node.data), inline=node.data)
        return told

    def content_path(self, node: Node) -> str:
        path = self.directory / "content" / node.version.decode()
        if not path.exists():
            path.write_bytes(node.data)
        return str(path)

    # ---- changing ----
    def touch(self, *nodes: Node) -> None:
        now = time.time_ns()
        for node in nodes:
            node.ctime_ns = now
            if node.kind == pb.KIND_DIRECTORY:
                node.mtime_ns = now

    def new_version(self, node: Node, data: bytes, mtime_ns: int | None = None) -> None:
        node.data = data
        node.version = b"v%d" % next(self._versions)
        node.ctime_ns = time.time_ns()
        node.mtime_ns = mtime_ns if mtime_ns is not None else node.ctime_ns

    def lease(self) -> pb.Lease:
        self._leased += self.lease_size
        return pb.Lease(first=self._leased, count=self.lease_size)

    def new_node(self, parent: int, name: bytes, kind: int, mode: int, ino: int = 0) -> Node:
        directory = self.directory_node(parent)
        if not directory.names:
            raise fail(errno.ENOENT)
        if name in directory.children:
            raise fail(errno.EEXIST)
        node = Node(ino or next(self._inos), kind, mode)
        self.new_version(node, b"")
        self.nodes[node.ino] = node
        directory.children[name] = node
        self.touch(directory)
        return node

    def link(self, ino: int, parent: int, name: bytes) -> Node:
        node, directory = self.node(ino), self.directory_node(parent)
        if node.kind == pb.KIND_DIRECTORY:
            raise fail(errno.EPERM)
        if name in directory.children:
            raise fail(errno.EEXIST)
        directory.children[name] = node
        node.names += 1
        self.touch(node, directory)
        return node

    def unlink(self, parent: int, name: bytes) -> Node:
        node = self.child(parent, name)
        if node.kind == pb.KIND_DIRECTORY:
            raise fail(errno.EISDIR)
        self._drop_name(parent, name)
        return node

    def remove_dir(self, parent: int, name: bytes) -> Node:
        node = self.child(parent, name)
        if node.kind != pb.KIND_DIRECTORY:
            raise fail(errno.ENOTDIR)
        if node.children:
            raise fail(errno.ENOTEMPTY)
        self._drop_name(parent, name)
        return node

    def _drop_name(self, parent: int, name: bytes) -> None:
        directory = self.directory_node(parent)
        node = directory.children.pop(name)
        node.names -= 1
        self.touch(node, directory)

    def rename(self, r: pb.RenameRequest) -> None:
        node = self.child(r.parent, r.name)
        old, new = self.directory_node(r.parent), self.directory_node(r.new_parent)
        target = new.children.get(r.new_name)
        if r.no_replace and target is not None:
            raise fail(errno.EEXIST)
        if r.exchange:
            if target is None:
                raise fail(errno.ENOENT)
            old.children[r.name], new.children[r.new_name] = target, node
            self.touch(node, target, old, new)
            return
        if target is node:
            return
        if self._inside(node, new):
            raise fail(errno.EINVAL)
        if target is not None:
            self._check_replace(node, target)
            self._drop_name(r.new_parent, r.new_name)
        del old.children[r.name]
        new.children[r.new_name] = node
        self.touch(node, old, new)

    def _check_replace(self, node: Node, target: Node) -> None:
        directory = node.kind == pb.KIND_DIRECTORY
        if directory and target.kind != pb.KIND_DIRECTORY:
            raise fail(errno.ENOTDIR)
        if not directory and target.kind == pb.KIND_DIRECTORY:
            raise fail(errno.EISDIR)
        if target.children:
            raise fail(errno.ENOTEMPTY)

    def _inside(self, node: Node, place: Node) -> bool:
        return place is node or any(self._inside(c, place) for c in node.children.values())

    # ---- open files ----
    def stage(self, handle: OpenHandle, empty: bool) -> str:
        node = handle.node
        if not handle.write:
            raise fail(errno.EBADF)
        if not node.staging:
            path = self.directory / "staging" / str(next(self._files))
            path.write_bytes(b"" if empty else node.data)
            node.staging = str(path)
        elif empty:
            os.truncate(node.staging, 0)
        node.staged_by.add(handle.key)
        return node.staging

    def resize(self, node: Node, size: int) -> None:
        if node.staging:
            os.truncate(node.staging, size)
            node.mtime_ns = node.ctime_ns = time.time_ns()
        else:
            self.new_version(node, node.data[:size].ljust(size, b"\0"))

    def seal(self, node: Node) -> None:
        """A version of what is staged; the staging file becomes content and is not written again."""
        with open(node.staging, "rb") as staged:
            data = staged.read()
        path = node.staging
        node.staging = ""
        node.staged_by.clear()
        self.new_version(node, data, node.mtime_ns)
        if len(data) > INLINE:
            shutil.move(path, self.directory / "content" / node.version.decode())
        else:
            os.unlink(path)
