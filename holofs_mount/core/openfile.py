# SPDX-License-Identifier: GPL-3.0-or-later
"""What this mount knows of one open inode, shared by all its handles, and the handles themselves."""

from __future__ import annotations

import errno
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field

from holofs_api.stamps import CLOCK
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.content import Body, BufferedBody, StagedBody
from holofs_mount.patience import Patiently, Turns
from holofs_mount.write_behind.creates import PendingCreate


@dataclass(eq=False, slots=True)
class OpenFile:
    """One open inode.

    `lock` is held while the body is exchanged or sealed. `generation` counts writes, `committed` is the one the daemon
    was told of. `version` is the content the daemon last gave us; `stale`: it has newer news, ask before the next use;
    `behind`: the inode shows something else by now, and the news will say whose; `frozen`: its handles go on reading
    this version, whatever the inode shows.
    """

    ino: int
    body: Body
    attr: pb.Attr
    version: bytes
    handles: dict[int, Handle] = field(default_factory=dict)
    lock: Turns = field(default_factory=Turns)
    generation: int = 0
    committed: int = 0
    mtime_ns: int | None = None
    ctime_ns: int = 0
    """When it was last changed here."""
    stale: bool = False
    behind: bool = False
    frozen: bool = False
    unlinked: bool = False
    written_at: float = 0.0
    saved_at: float = float("-inf")
    reading_ahead: bool = False
    pending_create: PendingCreate | None = None
    """Create of a file that this mount alone knows; None: the daemon knows the file, or will from the journal."""

    @property
    def dirty(self) -> bool:
        """The daemon has to be told before the file may be closed."""
        return self.written or self.pending_create is not None

    @property
    def written(self) -> bool:
        """Since the daemon was last told."""
        return self.generation != self.committed

    @property
    def local(self) -> bool:
        """Size and time are known here better than by the daemon."""
        return self.dirty or isinstance(self.body, BufferedBody | StagedBody)

    @property
    def light(self) -> bool:
        """The daemon knew nothing of its being open: a change from elsewhere comes under its readers."""
        return self.behind or not any(handle.registered or handle.write for handle in self.handles.values())

    def wrote(self) -> None:
        self.generation += 1
        self.mtime_ns = self.ctime_ns = CLOCK.now()
        self.written_at = time.monotonic()

    def set_time(self, mtime_ns: int) -> None:
        """Travels with the next commit; what is on its way to the daemon already does not have it."""
        self.generation += 1
        self.mtime_ns, self.ctime_ns = mtime_ns, CLOCK.now()

    def first_handle(self) -> int:
        """Number of the oldest handle."""
        return next(iter(self.handles))

    def handle_registered(self, number: int) -> None:
        """Notes that the daemon knows this handle."""
        handle = self.handles.get(number)
        if handle is not None:
            handle.registered = True

    def writer(self) -> Handle | None:
        """Some handle through which the daemon lets us write."""
        return next((h for h in self.handles.values() if h.write and not h.lost), None)

    @property
    def displaced(self) -> bool:
        """Its body holds writes that have to go to another staging file."""
        return isinstance(self.body, StagedBody) and self.body.displaced

    def displace(self) -> None:
        """The staging file is written no more. What was told of it before is in a version."""
        for handle in self.handles.values():
            handle.staged = False
        if isinstance(self.body, StagedBody):
            self.body.displaced = bool(self.body.unsaved)

    def exchange(self, body: Body) -> None:
        """Another body; whoever wrote to a staging file has to ask the daemon again before the next write."""
        if body is not self.body:
            self.body.close()
            self.body = body
            for handle in self.handles.values():
                handle.staged = False


@dataclass(eq=False, slots=True)
class Handle:
    """One open file description.

    `registered`: the daemon knows it; `staged`: and knows that it writes to the staging file; `lingers`: it went on
    after a flush that looked like the last.
    """

    number: int
    file: OpenFile
    write: bool
    append: bool
    pid: int
    base: bytes = b""
    registered: bool = True
    staged: bool = False
    lingers: bool = False
    lost: bool = False
    closing: bool = False


class HandleTable:
    """Handles by number and open files by inode. Numbers do not repeat in a later process with the same mount id."""

    def __init__(self, patiently: Patiently | None = None) -> None:
        """`patiently`: how operations wait for their turn with a file."""
        self._patiently = patiently
        self._next = secrets.randbits(38) << 24
        self.handles: dict[int, Handle] = {}
        self.files: dict[int, OpenFile] = {}
        self._frozen: Counter[int] = Counter()

    def number(self) -> int:
        self._next += 1
        return self._next

    def handle(self, number: int) -> Handle:
        """Raises OSError EBADF."""
        handle = self.handles.get(number)
        if handle is None:
            raise OSError(errno.EBADF, "no such handle")
        return handle

    def add(self, handle: Handle) -> None:
        if self._patiently is not None:
            handle.file.lock.patiently = self._patiently
        self.handles[handle.number] = handle
        handle.file.handles[handle.number] = handle
        self.files[handle.file.ino] = handle.file

    def remove(self, handle: Handle) -> None:
        self.handles.pop(handle.number, None)

    def detach(self, handle: Handle) -> None:
        """The handle takes part in its file no more; with the last one the file's content is closed."""
        file = handle.file
        file.handles.pop(handle.number, None)
        if not file.handles:
            file.body.close()
            if self.files.get(file.ino) is file:
                del self.files[file.ino]
            if file.frozen:
                self._frozen[file.ino] -= 1

    def freeze(self, file: OpenFile) -> None:
        """As with an atomic replace: who has the file open keeps what it read; who opens it now meets something new."""
        del self.files[file.ino]
        file.frozen = True
        self._frozen[file.ino] += 1

    def any_frozen(self, ino: int) -> bool:
        """The kernel's pages of the inode may be filled by readers of two versions."""
        return self._frozen[ino] > 0

    def to_reattach(self) -> list[pb.OpenHandle]:
        return [
            pb.OpenHandle(
                handle=h.number,
                ino=h.file.ino,
                write=h.write,
                staged=h.staged,
                version=h.file.version,
                staging=h.file.body.path if h.staged and isinstance(h.file.body, StagedBody) else "",
            )
            for h in self.handles.values()
            if h.registered
        ]
