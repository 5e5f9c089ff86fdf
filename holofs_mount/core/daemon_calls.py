# SPDX-License-Identifier: GPL-3.0-or-later
"""Foreground calls: calls to the daemon whose answers a program waits for.

Each reaches the daemon after every operation that this mount acknowledged before: it passes the barrier of the
write-behind queue, and sends unsent creates first where it could meet one of those files.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable
from contextlib import nullcontext
from typing import Any, Final

from google.protobuf.message import Message

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.client import DaemonClient, Recover
from holofs_mount.core.caches import AttrCache
from holofs_mount.write_behind.creates import UnsentCreates
from holofs_mount.write_behind.queue import WriteBehindQueue

_OF_KNOWN_FILES: Final = frozenset({"commit", "stage", "fetch", "release", "stat_fs"})
"""Calls that cannot meet a file whose create is unsent."""
_OF_NAMES: Final = frozenset({"create", "make_dir", "symlink", "link", "unlink", "remove_dir", "rename"})
"""Calls that change names: the kernel holds the lock of the directory until they are answered."""
_OF_AN_INODE: Final = frozenset(
    {"get_attr", "set_attr", "read_link", "open", "get_xattr", "set_xattr", "list_xattr", "remove_xattr"}
)
"""Calls about the inode to which a name led; a file that was replaced is another inode."""
_OF_CONTENT: Final = frozenset({"stage", "fetch"})
"""Calls that take as long as content takes to come from elsewhere: the queue need not stay short for them."""


class DaemonCalls:
    """The daemon as the operations of programs see it."""

    def __init__(self, client: DaemonClient, attrs: AttrCache, queue: WriteBehindQueue, creates: UnsentCreates) -> None:
        self._client = client
        self._attrs = attrs
        self._queue = queue
        self._creates = creates
        self.names_in_flight = 0
        """Calls that change names and are not answered yet."""

    @property
    def connected(self) -> bool:
        return self._client.connected

    def in_background(self, work: Awaitable[None]) -> None:
        """Runs `work` as a task that no operation waits for; the end of the mount waits for it (bounded)."""
        self._client.in_background(work)

    async def back(self) -> None:
        """Waits for a connection, at most for the life of the mount."""
        await self._client.back()

    @property
    def patience_left(self) -> float:
        """Seconds that a call which begins now waits for a daemon that is away."""
        return self._client.patience_left

    async def call(self, name: str, request: Message, recover: Recover | None = None) -> Any:
        """The reply of the daemon. Raises OSError: the daemon's errno, or ETIMEDOUT when it stays away for too long."""
        try:
            return await self._call(name, request, recover)
        except OSError as error:
            if name not in _OF_AN_INODE or error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
            # Its name leads elsewhere, and the news is still on its way. ESTALE makes the kernel look the name up once
            # more, and without attributes the lookup asks the daemon.
            self._attrs.drop(request.ino)  # type: ignore[attr-defined]
            raise OSError(errno.ESTALE, "this inode is gone") from None

    async def _call(self, name: str, request: Message, recover: Recover | None) -> Any:
        with nullcontext() if name in _OF_CONTENT else self._queue.foreground_call():
            await self._queue.barrier(self.patience_left)
            if len(self._creates) and name not in _OF_KNOWN_FILES:
                await self._creates.all_known()
            if name not in _OF_NAMES:
                return await self._client.call(name, request, recover)
            self.names_in_flight += 1
            try:
                return await self._client.call(name, request, recover)
            finally:
                self.names_in_flight -= 1

    async def commit_new_file(self, request: pb.CreateRequest) -> pb.CreateReply:
        """Creates a file with its whole content. Other creates stay unsent: the request cannot meet their files."""
        with self._queue.foreground_call():
            await self._queue.barrier(self.patience_left)
            reply: pb.CreateReply = await self._client.call("create", request)
            return reply
