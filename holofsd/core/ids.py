# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of things, as types that cannot be mixed up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NewType

VolumeId = NewType("VolumeId", bytes)
"""32 bytes: the public Ed25519 key of a volume."""
DeviceId = NewType("DeviceId", bytes)
"""32 bytes: the Iroh node key of a device."""
AuthorId = NewType("AuthorId", bytes)
"""32 bytes: the public Ed25519 key under which a device publishes records of one volume."""
NodeId = NewType("NodeId", bytes)
"""16 bytes: a file, directory or symlink of a volume."""
LinkId = NewType("LinkId", bytes)
"""16 bytes: one name of a node."""
BlobHash = NewType("BlobHash", bytes)
"""32 bytes: BLAKE3 of some content."""
Ino = NewType("Ino", int)
"""Inode number, local to one volume on one device."""

ROOT_ID: Final = NodeId(b"\0" * 16)
"""The root directory of every volume; it has no record of its own and cannot be removed."""
ROOT_INO: Final = Ino(1)


@dataclass(frozen=True, slots=True, order=True)
class Dot:
    """The id of one version: the author's counter, which runs over the author, not the node, from 1."""

    author: AuthorId
    counter: int


@dataclass(frozen=True, slots=True, order=True)
class Hlc:
    """Hybrid logical clock stamp: total order by wall clock (ms), counter, author."""

    wall_ms: int
    counter: int
    author: AuthorId
