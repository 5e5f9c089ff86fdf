# SPDX-License-Identifier: GPL-3.0-or-later
"""Open inodes, each shared by all its handles, and the handles themselves."""

from __future__ import annotations

import errno
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, auto

from holofs_api.stamps import CLOCK
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.content import Body, BufferedBody, StagedBody
from holofs_mount.patience import Patiently, Turns
from holofs_mount.write_behind.creates import Existence, PendingCreate


class Freshness(Enum):
    """Whether the body of an open file may be used as it is."""

    CURRENT = auto()
    """The body is what the daemon last gave."""
    STALE = auto()
    """The content has changed, here or elsewhere: the daemon is asked before the next use."""


class Tracking(Enum):
    """Whether an open file goes along with what its inode shows. A second axis: a frozen file can be stale as well."""

    FOLLOWING = auto()
    """A change from elsewhere makes the file stale, or, if the daemon knows none of its handles, freezes it."""
    BEHIND = auto()
    """A handle was registered when the inode showed another version already. The news says whose: a change from
    elsewhere freezes the file, one of this device makes it stale."""
    FROZEN = auto()
    """Its handles go on with the version that they opened, as after an atomic replace; the inode has another file."""


class Registration(Enum):
    """Whether the daemon knows a handle."""

    UNREGISTERED = auto()
    """Opened without the daemon, or released by a commit that looked like the last."""
    REGISTERED = auto()
    LOST = auto()
    """Registered once. The daemon that the mount attached to since could not take it over, and never will."""


class Use(Enum):
    """Stage of a handle on its way to its release."""

    OPEN = auto()
    LINGERING = auto()
    """No release followed a flush or a local open at once: the next flush is not taken for the last."""
    CLOSING = auto()
    """The kernel has released it."""


@dataclass(eq=False, slots=True)
class OpenFile:
    """One open inode. docs/write-behind.md has the table of its states.

    `lock` is held while the body is exchanged or committed. `edits` counts changes of content and time, `committed` is
    the count that the daemon has. `version` is the content that the daemon last gave. `mtime_ns` is set where the time
    here is newer than the daemon's. `unlinked`: it has no name any more.
    """

    ino: int
    body: Body
    attr: pb.Attr
    version: bytes
    handles: dict[int, Handle] = field(default_factory=dict)
    lock: Turns = field(default_factory=Turns)
    edits: int = 0
    committed: int = 0
    mtime_ns: int | None = None
    ctime_ns: int = 0
    """Time of the last change here."""
    freshness: Freshness = Freshness.CURRENT
    tracking: Tracking = Tracking.FOLLOWING
    unlinked: bool = False
    written_at: float = 0.0
    saved_at: float = float("-inf")
    reading_ahead: bool = False
    pending_create: PendingCreate | None = None
    """There until the file is known."""

    # ---- states
    @property
    def existence(self) -> Existence:
        return Existence.KNOWN if self.pending_create is None else self.pending_create.existence

    @property
    def dirty(self) -> bool:
        """Whether something has to be committed before the file may be closed."""
        return self.written or self.existence is not Existence.KNOWN

    @property
    def written(self) -> bool:
        """Whether the file was changed since the last commit."""
        return self.edits != self.committed

    @property
    def local(self) -> bool:
        """Whether size and time are known here better than by the daemon."""
        return self.dirty or isinstance(self.body, BufferedBody | StagedBody)

    @property
    def unregistered(self) -> bool:
        """Whether the daemon does not know that it is open at this version: a change from elsewhere freezes it."""
        if self.tracking is Tracking.BEHIND:
            return True
        return not any(handle.was_registered or handle.write for handle in self.handles.values())

    def set_version(self, version: bytes) -> None:
        """Notes the version that the body holds, as the daemon has just said."""
        self.version = version
        self.freshness = Freshness.CURRENT

    def fall_behind(self) -> None:
        """Notes that the inode shows another version than the body, and that the news of it is on its way."""
        if self.tracking is not Tracking.FROZEN:
            self.tracking = Tracking.BEHIND

    def content_changed(self) -> None:
        """Notes that the news of a change has arrived, which the file follows."""
        self.freshness = Freshness.STALE
        if self.tracking is Tracking.BEHIND:
            self.tracking = Tracking.FOLLOWING

    # ---- changes

    def wrote(self) -> None:
        """Notes a change of the content by this mount."""
        self.edits += 1
        self.mtime_ns = self.ctime_ns = CLOCK.now()
        self.written_at = time.monotonic()

    def set_time(self, mtime_ns: int) -> None:
        """Notes a time that a program set. It travels with the next commit, not with one that is in flight."""
        self.edits += 1
        self.mtime_ns, self.ctime_ns = mtime_ns, CLOCK.now()

    def first_handle(self) -> int:
        """Number of the oldest handle."""
        return next(iter(self.handles))

    def handle_registered(self, number: int) -> None:
        """Notes that the daemon knows this handle."""
        handle = self.handles.get(number)
        if handle is not None:
            handle.set_registered(True)

    def writer(self) -> Handle | None:
        """A handle through which the daemon lets this mount write, if there is one."""
        return next((h for h in self.handles.values() if h.write and not h.lost), None)

    @property
    def displaced(self) -> bool:
        """Whether the body holds writes that have to go to another staging file."""
        return isinstance(self.body, StagedBody) and self.body.displaced

    def displace(self) -> None:
        """Ends writing to this staging file, which was finalized: a version has what was committed of it."""
        for handle in self.handles.values():
            handle.staged = False
        if isinstance(self.body, StagedBody):
            self.body.displaced = bool(self.body.unsaved)

    def exchange(self, body: Body) -> None:
        """Replaces the body. A handle that wrote to a staging file asks the daemon again before its next write."""
        if body is not self.body:
            self.body.close()
            self.body = body
            for handle in self.handles.values():
                handle.staged = False


@dataclass(eq=False, slots=True)
class Handle:
    """One open file description.

    `base`: the version that its writes replace; empty: the one that the inode shows. `staged`: the daemon knows that it
    writes to the staging file. `registering` is held while the daemon is told of the handle, or releases it with a
    commit: one at a time, and never beside another call about the handle.
    """

    number: int
    file: OpenFile
    write: bool
    append: bool
    pid: int
    base: bytes = b""
    registration: Registration = Registration.REGISTERED
    use: Use = Use.OPEN
    staged: bool = False
    registering: Turns = field(default_factory=Turns)

    @property
    def was_registered(self) -> bool:
        """Whether the daemon knows it, or did once: it is not to be registered (again)."""
        return self.registration is not Registration.UNREGISTERED

    @property
    def lost(self) -> bool:
        return self.registration is Registration.LOST

    @property
    def closing(self) -> bool:
        return self.use is Use.CLOSING

    def set_registered(self, registered: bool) -> None:
        """Notes whether the daemon knows the handle. A lost one stays lost."""
        if not self.lost:
            self.registration = Registration.REGISTERED if registered else Registration.UNREGISTERED


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
            handle.file.lock.patiently = handle.registering.patiently = self._patiently
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
            if file.tracking is Tracking.FROZEN:
                self._frozen[file.ino] -= 1

    def freeze(self, file: OpenFile) -> None:
        """Freezes a file, as an atomic replace would: its handles keep what they read, a new open gets another file."""
        del self.files[file.ino]
        file.tracking = Tracking.FROZEN
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
            if h.was_registered
        ]
