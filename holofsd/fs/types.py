# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that filesystem operations take and give, mirroring `holofs.v1.Filesystem` without protobuf."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from holofsd.core.ids import BlobHash, Ino, VolumeId
from holofsd.core.state import Kind

KIND_WORDS: Final = {Kind.FILE: "file", Kind.DIRECTORY: "directory", Kind.SYMLINK: "symlink"}
"""Kinds as clients read them."""


@dataclass(frozen=True, slots=True)
class Attr:
    """Attributes of an inode number, as a program sees them.

    `mode` is permission bits; sizes in bytes; `version` an opaque token of the content that is shown.
    """

    ino: Ino
    kind: Kind
    mode: int
    size: int
    nlink: int
    mtime_ns: int
    ctime_ns: int
    version: bytes
    has_xattrs: bool
    remote: bool
    writing: bool = False
    """Size and time are those of a staging file."""


@dataclass(frozen=True, slots=True)
class InlineExtent:
    """Range of a file whose bytes are in the map itself."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class LocalExtent:
    """Range of a file that is in a file of this device.

    `length` bytes of the file at `path`, from `source_offset`.
    """

    offset: int
    length: int
    path: str
    source_offset: int = 0


@dataclass(frozen=True, slots=True)
class HoleExtent:
    """Range of a file that reads as zeros."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class RemoteExtent:
    """Range of a file whose blob is not on this device."""

    offset: int
    length: int
    hash: BlobHash


Extent = InlineExtent | LocalExtent | HoleExtent | RemoteExtent


@dataclass(frozen=True, slots=True)
class ContentMap:
    """Parts of a file's content, in order, without gaps. `staging`: read and write this file itself."""

    version: bytes
    size: int
    extents: tuple[Extent, ...] = ()
    staging: str = ""


@dataclass(frozen=True, slots=True)
class OpenHandle:
    """A handle that a mount has open when it attaches."""

    handle: int
    ino: Ino
    write: bool
    staged: bool
    version: bytes
    staging: str = ""
    """Path of the staging file that it writes to; empty: an older mount does not say."""


@dataclass(frozen=True, slots=True)
class AttachRequest:
    """Request of a mount to be attached."""

    program: str
    mount_id: str
    mountpoint: str
    pid: int
    read_only: bool
    handles: tuple[OpenHandle, ...] = ()
    journal: str = ""
    """The name of the journal that the mount would keep: 32 hex digits; empty: none."""
    answered: int = 0
    """Numbers of its calls up to this were decided."""
    acknowledges: bool = False
    """Whether it acknowledges batches of changes that have a number."""


@dataclass(eq=False, slots=True)
class Attachment:
    """One client of one volume. Identity is the object; `id` is what travels."""

    id: str
    volume: VolumeId
    volume_name: str
    request: AttachRequest
    read_only: bool
    lost_handles: tuple[int, ...] = ()
    displaced_handles: tuple[int, ...] = ()
    """Re-attached handles whose staging file is written no more."""
    shared: bool = False
    journal: str = ""
    """The path of its journal; empty: none."""


class RenameFlags(IntFlag):
    """Flags of renameat2 that are supported."""

    NONE = 0
    NO_REPLACE = 1
    EXCHANGE = 2


@dataclass(frozen=True, slots=True)
class SetAttr:
    """None: leave as it is. `size` through `handle` if that is not 0; `base`: the version this process last read."""

    mode: int | None = None
    size: int | None = None
    mtime_ns: int | None = None
    mtime_now: bool = False
    handle: int = 0
    base: bytes = b""


@dataclass(frozen=True, slots=True)
class AsyncCreate:
    """The given parts of a file or directory that its mount has made already: the inode number, from a lease; of a file
    that is closed, the content."""

    ino: Ino
    data: bytes | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    """Times that programs saw already."""
    journalled: bool = False
    """The create is in a journal, and was acknowledged to a program: without its directory the file goes to
    lost+found."""
    late: bool = False
    """Only of a journalled create: repeated after it could not be made, so it gives way to what has its name by now."""


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """Make a file at a name, or open the one that is there. `handle` 0: do not leave it open. `base`: the version that
    this process last read, if it is truncated."""

    parent: Ino
    name: bytes
    mode: int
    exclusive: bool = False
    truncate: bool = False
    handle: int = 0
    base: bytes = b""
    async_create: AsyncCreate | None = None
    wants_lease: bool = False
    """Whether the mount asks for more inode numbers."""


@dataclass(frozen=True, slots=True)
class Created:
    """Reply to a create.

    `created`: False if the file was there. `lease`: see `Filesystem.lease`; None if the request wants none.
    """

    attr: Attr
    map: ContentMap
    created: bool
    lease: tuple[Ino, int] | None = None


@dataclass(frozen=True, slots=True)
class RenameRequest:
    """Request to rename.

    `base`: the version of the replaced file that this process last read.
    """

    parent: Ino
    name: bytes
    new_parent: Ino
    new_name: bytes
    flags: RenameFlags = RenameFlags.NONE
    base: bytes = b""


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """Content that a program wrote through a handle. `data`: all of it; None: it is in the staging file.

    `base`: the version that this process last read. `onto`: the version, or fsync, that `data` go on from; None: `data`
    replace whatever is there.
    """

    handle: int
    data: bytes | None = None
    mtime_ns: int | None = None
    seal: bool = False
    release: bool = False
    base: bytes = b""
    onto: bytes | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """Reply to an open: attributes, and where the content is."""

    attr: Attr
    map: ContentMap


@dataclass(frozen=True, slots=True)
class Staged:
    """Reply to a stage: the staging file."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a directory."""

    entries: tuple[tuple[bytes, Attr], ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class StatFs:
    """Size of the filesystem, and what is free of it."""

    block_size: int
    blocks: int
    blocks_free: int
    blocks_available: int
    files: int
    files_free: int
    name_max: int = 255


@dataclass(frozen=True, slots=True)
class EntryChange:
    """A name that leads elsewhere now, as mounts hear of it."""

    parent: Ino
    name: bytes
    ino: Ino
    gone: bool


@dataclass(frozen=True, slots=True)
class InodeChange:
    """An inode that changed, as mounts hear of it."""

    ino: Ino
    content: bool
    elsewhere: bool
    version: bytes
    previous: bytes


class Company(IntEnum):
    """Whether other mounts of the volume are attached, when that changed."""

    UNCHANGED = 0
    ALONE = 1
    SHARED = 2


class Access(IntEnum):
    """Rights that a mount has from now on; they change with the role of this device."""

    UNCHANGED = 0
    READ_ONLY = 1
    WRITABLE = 2


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Message of a Watch stream. `reset`: too much changed, forget every cache."""

    entries: tuple[EntryChange, ...] = ()
    inodes: tuple[InodeChange, ...] = ()
    reset: bool = False
    access: Access = Access.UNCHANGED
    going_down: bool = False
    company: Company = Company.UNCHANGED
    number: int = 0
    """The client acknowledges the batch by this number; 0: it need not."""


@dataclass(frozen=True, slots=True)
class Census:
    """Contents of the tree, counted for status."""

    files: int = 0
    bytes: int = 0
    conflicts: int = 0
    pending: int = 0
    bad_names: int = 0
    """Names from elsewhere that cannot be shown."""
    unfinalized: int = 0
    missing_blobs: int = 0
    missing_bytes: int = 0
    ignored: int = 0
    """Files that rules keep on this device."""
    ignored_bytes: int = 0


# ---- answers to commands
@dataclass(frozen=True, slots=True)
class Alternative:
    """A content that a person can choose for a name. `path` is inside the volume, empty where hidden."""

    id: str
    path: bytes
    device: str
    written_ms: int
    size: int
    kind: str
    here: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """Result of restoring one path. `what`: "restored", "same" (it is so already) or "missing" (`why` says why)."""

    path: bytes
    what: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """A name in a folder, for clients without a mount. See control.proto."""

    name: bytes
    kind: str
    size: int
    mtime_ns: int
    here: bool
    copy: bool
    writing: bool


@dataclass(frozen=True, slots=True)
class FolderListing:
    """One page of a folder, for clients without a mount."""

    entries: tuple[FolderEntry, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class IgnoredFile:
    """A file, or a folder with all in it that is ignored. `rule`: empty where no line matches it any more."""

    path: bytes
    kind: str
    size: int
    rule: str


@dataclass(frozen=True, slots=True)
class IgnoredListing:
    """Ignored nodes of a volume, and how many files there are in all, with their bytes."""

    files: tuple[IgnoredFile, ...]
    complete: bool
    ignored: int
    ignored_bytes: int
