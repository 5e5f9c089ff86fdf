# SPDX-License-Identifier: GPL-3.0-or-later
"""State of one node, and the parts it is made of (docs/model.md#state-of-a-node).

All values are frozen; mappings are never mutated after construction (build a new dict, then a new state).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Generic, TypeVar

from holofsd.core.ids import AuthorId, BlobHash, Dot, Hlc, LinkId, NodeId

T = TypeVar("T")

Context = Mapping[AuthorId, int]
"""Causal context: author -> highest dot counter seen, everything below included."""


class Kind(IntEnum):
    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3


@dataclass(frozen=True, slots=True)
class Inline:
    """Content that travels in the record."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Blob:
    """Content as one blob, the whole file."""

    hash: BlobHash


@dataclass(frozen=True, slots=True)
class Chunk:
    hash: BlobHash
    size: int


@dataclass(frozen=True, slots=True)
class Chunks:
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Content whose chunk list is itself a blob."""

    hash: BlobHash


@dataclass(frozen=True, slots=True)
class Pending:
    """Content in a sealed staging file that is not hashed yet. Local only: never published."""

    staging: str


@dataclass(frozen=True, slots=True)
class Target:
    """Content of a symlink: the path that it leads to."""

    path: bytes


@dataclass(frozen=True, slots=True)
class Marker:
    """A directory exists."""


Body = Inline | Blob | Chunks | Manifest | Pending | Target | Marker


@dataclass(frozen=True, slots=True)
class Register(Generic[T]):
    """Last writer wins by stamp."""

    value: T
    stamp: Hlc


VOUCHED: Final = b"\x01"
"""In place of a seal, on this device only: the author's own record, which had none, said so."""


@dataclass(frozen=True, slots=True)
class Version:
    """One content of a node. `size` in bytes, `mtime` in ns since the epoch."""

    dot: Dot
    stamp: Hlc
    body: Body
    size: int
    mtime: Register[int]
    device_name: str
    seal: bytes = field(default=b"", compare=False)
    """Signature of the dot's author over all but the mtime (see `core.sealing`), VOUCHED, or empty: others say so."""
    origin: bytes = field(default=b"", compare=False)
    """The node that the seal names, where that is not the one that the version is in: it was split off from there."""


@dataclass(frozen=True, slots=True)
class Place:
    parent: NodeId
    name: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """Register of one name: a place, or gone (None), with the place before it."""

    place: Place | None
    stamp: Hlc
    before: Place | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """Versions and links that a removal has seen: versions by context, links by stamp.

    `at`: when each author last removed the node for its own sake (not because something else took its name). It decides
    nothing about this node, but about what was removed from a directory together with it (`core.outliving`).
    """

    context: Context = field(default_factory=dict)
    links: Mapping[LinkId, Hlc] = field(default_factory=dict)
    at: Mapping[AuthorId, Hlc] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeState:
    """The join of all records of a node."""

    id: NodeId
    kind: Kind
    created_ns: int
    context: Context = field(default_factory=dict)
    versions: Mapping[Dot, Version] = field(default_factory=dict)
    links: Mapping[LinkId, Link] = field(default_factory=dict)
    removed: Removal = field(default_factory=Removal)
    mode: Register[int] | None = None
    owner: Register[tuple[int, int]] | None = None
    xattrs: Mapping[bytes, Register[bytes | None]] = field(default_factory=dict)
    times: Register[int] | None = None
    """Directories only: mtime in ns, where somebody set it."""
