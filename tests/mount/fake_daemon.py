# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon for tests of the mount: `holofs.v1.Filesystem` over a plain tree, in a process of its own.

Run as `fake_daemon.py STATE_DIR [--no-fast-lane]`; commands are JSON lines on standard input, each answered by
one line. See `Control`.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
from fake_calls import Attachment, Calls, entry_change, inode_change
from fake_lane import FakeLanes
from fake_tree import Node, OpenHandle, Tree

from holofs_api import API_VERSION
from holofs_api.errors import ATTACHMENT_KEY, error_metadata, status_of
from holofs_api.paths import calls_socket_beside, socket_path
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_api.v1.filesystem_pb2_grpc import FilesystemServicer, add_FilesystemServicer_to_server

VOLUME = "vol"
INLINE_LIMIT = 65_536


class Daemon(Calls, FilesystemServicer):
    def __init__(self, state: Path) -> None:
        self.tree = Tree(state / "volume")
        self.attachments: dict[str, Attachment] = {}
        self.calls: Counter[str] = Counter()
        self.log: list[str] = []
        self.read_only = False
        self.drop_reply: str | None = None
        self.held: str | None = None
        self.journals = False
        self.carried_out: set[tuple[str, int]] = set()
        """Journals, and numbers in them."""
        self.fetch_delay = 0.0
        self.fetch_error = 0
        self.fetch_hurry = asyncio.Event()
        """Set, and replaced, when the delay changes: what waits comes at once."""
        self.crashed = asyncio.Event()
        self.news = asyncio.Event()
        self.news.set()
        self._count = 0

    # ---- streams ----
    async def Attach(self, request: pb.AttachRequest, context: Any) -> pb.AttachReply:
        if request.api_version != API_VERSION:
            await refuse(context, errno.EPROTO, "version-mismatch", "this mount is of another version")
        if request.volume != VOLUME:
            await refuse(context, errno.ENOENT, "volume-unknown", f"there is no volume {request.volume} here")
        self._count += 1
        attachment = Attachment(self._count, request)
        self.attachments[attachment.id] = attachment
        lost = [h.handle for h in request.handles if not self._reattach(attachment, h)]
        displaced = [h.handle for h in request.handles if h.handle not in lost and self._is_displaced(h)]
        return pb.AttachReply(
            attachment=attachment.id,
            root=1,
            volume_id=b"v" * 32,
            volume_name=VOLUME,
            read_only=request.read_only or self.read_only,
            inline_limit=INLINE_LIMIT,
            lost_handles=lost,
            displaced_handles=displaced,
            inos=self.tree.lease(),
            shared=self._tell_company(),
            journal=str(self.tree.directory / request.journal) if self.journals else "",
        )

    def _tell_company(self) -> bool:
        """There is company once two mounts have been attached."""
        shared = len({attachment.mount_id for attachment in self.attachments.values()}) > 1
        for attachment in self.attachments.values() if shared else ():
            attachment.queue.put_nowait(pb.Change(company=pb.COMPANY_SHARED))
        return shared

    def _reattach(self, attachment: Attachment, told: pb.OpenHandle) -> bool:
        node = self.tree.nodes.get(told.ino)
        if node is None:
            return False
        key = (attachment.mount_id, told.handle)
        self.tree.handles[key] = OpenHandle(key, node, told.write)
        if told.staged and told.write and not self._is_displaced(told):
            node.staged_by.add(key)
        return True

    def _is_displaced(self, told: pb.OpenHandle) -> bool:
        return told.staged and told.staging != self.tree.nodes[told.ino].staging

    def _attachment(self, context: Any) -> Attachment:
        return self.attachments[dict(context.invocation_metadata())[ATTACHMENT_KEY]]

    async def Watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.Change]:
        async for change in self.changes(self._attachment(context)):
            yield change

    async def changes(self, attachment: Attachment) -> AsyncIterator[pb.Change]:
        while (change := await attachment.queue.get()) is not None:
            await self.news.wait()
            yield change

    async def Calls(self, requests: AsyncIterator[pb.CallRequest], context: Any) -> None:
        attachment = self._attachment(context)
        tasks = set()
        writing = asyncio.Lock()  # gRPC refuses a second write while the first is under way
        async for request in requests:
            task = asyncio.ensure_future(self._answer(attachment, request, context, writing))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _answer(
        self, attachment: Attachment, request: pb.CallRequest, context: Any, writing: asyncio.Lock
    ) -> None:
        reply = await self.answer(attachment, request)
        if reply is not None:
            async with writing:
                await context.write(reply)

    async def answer(self, attachment: Attachment, request: pb.CallRequest) -> pb.CallReply | None:
        """None: the daemon dies before it can answer."""
        name = request.WhichOneof("call")
        if name is None:
            return pb.CallReply(id=request.id, error=pb.CallError(errno=errno.EINVAL))
        self.calls[name] += 1
        self.log.append(name)
        reply = pb.CallReply(id=request.id)
        kept = (attachment.journal, request.number)
        try:
            if request.number and kept in self.carried_out:
                getattr(
                    reply, {"create": "create", "unlink": "done", "remove_dir": "done"}.get(name, "attr")
                ).SetInParent()
                return reply
            result = getattr(self, f"do_{name}")(attachment, getattr(request, name))
            if asyncio.iscoroutine(result):
                result = await result
            getattr(reply, FIELD[type(result)]).CopyFrom(result)
            if request.number:
                self.carried_out.add(kept)
        except OSError as error:
            reply.error.errno = error.errno or errno.EIO
            reply.error.message = str(error)
        while self.held == name:  # noqa: ASYNC110 - a test changes it
            await asyncio.sleep(0.01)
        if self.drop_reply == name:
            self.drop_reply = None
            self.crashed.set()
            return None
        return reply

    def tell(self, source: Attachment | None, *changes: Any, files: Sequence[pb.AheadFile] = ()) -> None:
        """Tell all mounts but the source what changed."""
        message = pb.Change(files=files)
        for change in changes:
            (message.entries if isinstance(change, pb.EntryChange) else message.inodes).append(change)
        for attachment in self.attachments.values():
            if attachment is not source:
                attachment.queue.put_nowait(message)


FIELD: dict[type, str] = {
    pb.Attr: "attr",
    pb.Done: "done",
    pb.ReadDirReply: "read_dir",
    pb.ReadLinkReply: "read_link",
    pb.CreateReply: "create",
    pb.OpenReply: "open",
    pb.StageReply: "stage",
    pb.ContentMap: "map",
    pb.XattrReply: "xattr",
    pb.XattrNames: "xattr_names",
    pb.StatFsReply: "stat_fs",
}


async def refuse(context: Any, number: int, code: str, message: str) -> None:
    await context.abort(status_of(number), message, error_metadata(number, code, message))


class Control:
    """Commands of a test to the daemon, as methods by the name of the command."""

    def __init__(self, daemon: Daemon, state: Path, fast: bool) -> None:
        self.daemon = daemon
        self.socket = socket_path(state)
        self.fast = fast
        self.lanes = FakeLanes(daemon.attachments, daemon.answer, daemon.changes)
        self.server: Any = None

    async def start(self) -> None:
        self.server = grpc.aio.server()
        add_FilesystemServicer_to_server(self.daemon, self.server)
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        if self.fast:
            await self.lanes.start(calls_socket_beside(self.socket))
        self.server.add_insecure_port(f"unix:{self.socket}")
        await self.server.start()

    async def stop(self) -> None:
        """End as if killed: no goodbye, handles and attachments forgotten, staging files kept."""
        self.lanes.stop()
        await self.server.stop(0)
        self.daemon.attachments.clear()
        self.daemon.tree.handles.clear()

    async def restart_when_crashed(self) -> None:
        while True:
            await self.daemon.crashed.wait()
            self.daemon.crashed.clear()
            await self.stop()
            await self.start()

    async def wipe(self) -> list[str]:
        """An empty volume and a daemon in good health; the names that were in its root."""
        daemon = self.daemon
        daemon.drop_reply = daemon.held = None
        daemon.news.set()
        daemon.fetch_delay, daemon.fetch_error = 0.0, 0
        if daemon.read_only:
            daemon.read_only = False
            await self.stop()
            await self.start()
        names = list(daemon.tree.root.children)
        for name in names:
            daemon.tree.root.children.pop(name).names -= 1
            daemon.tell(None, entry_change(1, name, None))
        return [os.fsdecode(name) for name in names]

    async def reset_calls(self) -> None:
        self.daemon.calls.clear()
        self.daemon.log.clear()
        self.daemon.tree.bases.clear()

    async def calls(self) -> dict[str, int]:
        return dict(self.daemon.calls)

    async def bases(self) -> list[list[str]]:
        return [[where, base.decode()] for where, base in self.daemon.tree.bases]

    async def version(self, path: str) -> str:
        return self._node(path).version.decode()

    async def content(self, path: str) -> str:
        node = self._node(path)
        if node.staging:
            return base64.b64encode(Path(node.staging).read_bytes()).decode()
        return base64.b64encode(node.data).decode()

    async def staged(self, path: str) -> bool:
        return bool(self._node(path).staging)

    async def seal_short(self, path: str, size: int) -> None:
        """A version of the first bytes of what is staged, while a mount goes on writing there."""
        node = self._node(path)
        data = Path(node.staging).read_bytes()[:size]
        node.staging = ""
        node.staged_by.clear()
        self.daemon.tree.new_version(node, data)

    async def mtime_ns(self, path: str) -> int:
        return self._node(path).mtime_ns

    async def names(self) -> list[str]:
        def walk(node: Node, prefix: str) -> list[str]:
            found = []
            for name, child in node.children.items():
                found.append(prefix + os.fsdecode(name))
                found += walk(child, prefix + os.fsdecode(name) + "/")
            return found

        return sorted(walk(self.daemon.tree.root, ""))

    async def handles(self) -> int:
        return len(self.daemon.tree.handles)

    async def drop_reply(self, call: str) -> None:
        self.daemon.drop_reply = call

    async def hold(self, call: str) -> None:
        """Calls of that name are done, and not answered until another one is held."""
        self.daemon.held = call

    async def become_reader(self) -> None:
        await self._role(reader=True)

    async def become_writer(self) -> None:
        await self._role(reader=False)

    async def _role(self, reader: bool) -> None:
        self.daemon.read_only = reader
        for attachment in self.daemon.attachments.values():
            access = pb.ACCESS_READ_ONLY if reader or attachment.read_only else pb.ACCESS_WRITABLE
            attachment.queue.put_nowait(pb.Change(access=access))

    async def lease_many(self) -> None:
        """Mounts that attach from now on do not run out of inode numbers."""
        self.daemon.tree.lease_size = 100_000

    async def keep_journals(self) -> None:
        """Mounts that attach from now on may keep one."""
        self.daemon.journals = True

    async def hold_news(self, held: bool) -> None:
        """Delay changes as on a busy machine, where replies are there long before the stream of changes says the
        same."""
        if held:
            self.daemon.news.clear()
        else:
            self.daemon.news.set()

    async def reset(self) -> None:
        for attachment in self.daemon.attachments.values():
            attachment.queue.put_nowait(pb.Change(reset=True))

    async def slow_fetch(self, delay: float, error: int = 0) -> None:
        self.daemon.fetch_delay, self.daemon.fetch_error = delay, error
        hurry, self.daemon.fetch_hurry = self.daemon.fetch_hurry, asyncio.Event()
        hurry.set()

    async def forget_content(self) -> None:
        """Move local content elsewhere: paths in leased maps lead nowhere."""
        for path in (self.daemon.tree.directory / "content").iterdir():
            path.unlink()

    async def remote_write(self, path: str, data: str, here: bool = True, numbered: bool = True) -> None:
        """Another device wrote a file: a new one, or a new version, with a new inode where the old is open here.

        Not `numbered`: nobody here has asked for it yet, so it has no inode number that the news could tell.
        """
        tree = self.daemon.tree
        parent, _, name = path.rpartition("/")
        directory, key = self._node(parent), name.encode()
        node = directory.children.get(key)
        previous = node.version if node else b""
        if node is None or tree.is_open(node):
            if node is not None:
                directory.children.pop(key)
                node.names -= 1
            node = tree.new_node(directory.ino, key, pb.KIND_FILE, 0o644)
        tree.new_version(node, base64.b64decode(data))
        node.remote = not here
        entry = entry_change(directory.ino, key, node)
        if not numbered:
            entry.ino = 0
        # As the daemon does: on the fast lane only, and of a small file that is here.
        told = self.fast and here and len(node.data) <= INLINE_LIMIT
        files = [pb.AheadFile(attr=tree.attr(node), map=tree.content_map(node))] if told else []
        self.daemon.tell(None, entry, inode_change(node, previous, content=True, elsewhere=True), files=files)

    async def silent_write(self, path: str, data: str) -> None:
        """A change that nobody is told of, as when a stream was cut."""
        tree = self.daemon.tree
        node = tree.root.children.get(path.encode())
        tree.new_version(node or tree.new_node(1, path.encode(), pb.KIND_FILE, 0o644), base64.b64decode(data))

    async def make_files(self, count: int) -> None:
        for number in range(count):
            name = b"file number %05d" % number
            self.daemon.tell(None, entry_change(1, name, self.daemon.tree.new_node(1, name, pb.KIND_FILE, 0o644)))

    async def remote_link(self, old: str, new: str) -> None:
        node = self.daemon.tree.link(self._node(old).ino, 1, new.encode())
        self.daemon.tell(None, entry_change(1, new.encode(), node), inode_change(node, node.version, False))

    async def remote_unlink(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        directory = self._node(parent)
        node = self.daemon.tree.unlink(directory.ino, name.encode())
        self.daemon.tell(
            None, entry_change(directory.ino, name.encode(), None), inode_change(node, node.version, False)
        )

    def _node(self, path: str) -> Node:
        node = self.daemon.tree.root
        for name in filter(None, path.split("/")):
            node = node.children[name.encode()]
        return node


def say(answer: object) -> None:
    """One line of standard output. A write that a stop interrupts is short, and Python does not go on with it where
    PYTHONUNBUFFERED is set."""
    line = json.dumps(answer).encode() + b"\n"
    while line:
        line = line[os.write(1, line) :]


async def main(state: Path, fast: bool) -> None:
    daemon = Daemon(state)
    control = Control(daemon, state, fast)
    await control.start()
    restarter = asyncio.create_task(control.restart_when_crashed())
    reader = asyncio.StreamReader(limit=64 * 1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    say("ready")
    while line := await reader.readline():
        command, arguments = json.loads(line)
        try:
            answer = await getattr(control, command)(**arguments)
        except (OSError, KeyError) as error:
            answer = {"error": repr(error)}
        say(answer)
    restarter.cancel()
    control.lanes.stop()
    await control.server.stop(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), "--no-fast-lane" not in sys.argv))
