# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of imports and exports, and the interface of an import under way, mirroring `holofs.v1.Control` without
protobuf. Paths are inside the volume, without a slash at either end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

IMPORTED: Final = "imported"
EXISTS: Final = "exists"
REFUSED: Final = "refused"


@dataclass(frozen=True, slots=True)
class ExtendedAttribute:
    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class ImportBegun:
    """Reply to the beginning of an import. `folder`: where the client puts files for the volume to take, absolute."""

    folder: bytes
    reserve_bytes: int
    """Bytes that stay free on the disk of that folder."""


@dataclass(frozen=True, slots=True)
class ImportName:
    """Path that the client wants to know of. `size`: of the file that it has for it, if it has one."""

    path: bytes
    size: int | None = None


@dataclass(frozen=True, slots=True)
class ImportLook:
    """Question what is at some paths. `hashed`: after everything that is in staging files was hashed, and mounts show
    it. `read_back`: hashes are of what is read from the disk now, and survives a power cut. `room`: bytes that the
    client is going to put into its folder."""

    names: tuple[ImportName, ...] = ()
    hashed: bool = False
    read_back: bool = False
    room: int = 0


@dataclass(frozen=True, slots=True)
class FoundName:
    """State of a path. `kind`: file, directory or symlink; empty: there is nothing.

    `hash`: BLAKE3 of a file's content; empty where that is not known, because it is being written for example.
    `version`: token of the content. `here`: the content is on this device.
    """

    path: bytes
    kind: str = ""
    mode: int = 0
    size: int = 0
    mtime_ns: int = 0
    hash: bytes = b""
    version: bytes = b""
    here: bool = False
    target: bytes = b""


@dataclass(frozen=True, slots=True)
class ImportItem:
    """One name to take in. Of a file exactly one of `data`, `staging` (the name of a file in the client's folder) and
    `link_to` (another path of the same file) is given.

    `replaces`: token of the version at this path whose content it is, where that content is not on this device.
    `dated`: of a directory that is there already, set mode and time.
    """

    path: bytes
    kind: str
    mode: int = 0
    mtime_ns: int = 0
    data: bytes | None = None
    staging: str = ""
    target: bytes = b""
    link_to: bytes = b""
    replaces: bytes = b""
    dated: bool = False
    xattrs: tuple[ExtendedAttribute, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportItems:
    """Names to take in, folders before what is in them. `durable`: they survive a power cut once there is a reply.
    `hold`: staging files are hashed after the client has named them as taken."""

    items: tuple[ImportItem, ...]
    durable: bool = False
    hold: bool = False


@dataclass(frozen=True, slots=True)
class ImportResult:
    """Result for one item. `what`: "imported", "exists" (something has the name; nothing was changed) or "refused".
    `why`: one sentence."""

    path: bytes
    what: str
    why: str = ""


class ImportSession(Protocol):
    """One import into a volume. All methods raise HoloError."""

    def begin(self) -> ImportBegun: ...

    async def look(self, asked: ImportLook) -> tuple[FoundName, ...]: ...

    async def put(self, wanted: ImportItems) -> tuple[ImportResult, ...]: ...

    def taken(self, staging: tuple[str, ...]) -> None:
        """The client has removed its own names of these staging files: nothing else leads to them any more."""

    def close(self) -> None:
        """Ends the import. Idempotent."""


@dataclass(frozen=True, slots=True)
class ExportPiece:
    """Some bytes of content: of a local file from `offset` on, or zeros where `file` is empty."""

    file: bytes
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ExportItem:
    """One name of a volume. `path` is below what is exported, empty for that itself.

    Content is in `data`, in the local file `file`, or in `pieces`, one after the other. `node`: the same for all names
    of one file; empty where it has one name. `problem`: why its content cannot be had, in one sentence.
    """

    path: bytes
    kind: str
    mode: int = 0
    mtime_ns: int = 0
    size: int = 0
    hash: bytes = b""
    data: bytes = b""
    file: bytes = b""
    target: bytes = b""
    node: bytes = b""
    xattrs: tuple[ExtendedAttribute, ...] = ()
    problem: str = ""
    pieces: tuple[ExportPiece, ...] = ()
