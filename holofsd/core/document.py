# SPDX-License-Identifier: GPL-3.0-or-later
"""The document of a volume, as values: envelopes, heads, marks and credentials (docs/model.md#the-document)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from holofsd.core.ids import AuthorId, DeviceId, Hlc


@dataclass(frozen=True, slots=True)
class Envelope:
    """A record as it travels and is stored. The signature covers volume, author, seq, key and BLAKE3(payload)."""

    author: AuthorId
    seq: int
    key: bytes
    payload: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """An author's signed summary after a publication. `set_hash` is a number modulo 2**256, 32 bytes big endian."""

    author: AuthorId
    seq: int
    dots: int
    set_hash: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Dropped:
    """An author keeps the record that it had under this key, with this number, no more."""

    key: bytes
    seq: int


@dataclass(frozen=True, slots=True)
class AuthorSeq:
    author: AuthorId
    seq: int
    set_hash: bytes


LEFT: Final = (AuthorSeq(AuthorId(bytes(32)), 0, bytes(32)),)
"""Entries of the last mark of a device that leaves: an author that no key belongs to."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Signed by a device: complete up to these heads, records and content, at its clock `at_ms`.

    A device that leaves the volume signs one with `LEFT` alone. It promises nothing, so programs that do not know of
    it count the device no more either.
    """

    device: DeviceId
    at_ms: int
    authors: tuple[AuthorSeq, ...]
    signature: bytes

    @property
    def is_left(self) -> bool:
        """Whether the device says that it holds the volume no more."""
        return self.authors == LEFT


class Role(IntEnum):
    """Role of a member; a higher one may do all that a lower one may."""

    READER = 1
    WRITER = 2
    ADMIN = 3


WRITERS: Final = frozenset((Role.WRITER, Role.ADMIN))


@dataclass(frozen=True, slots=True)
class Certificate:
    """This author writes for this device; signed by both keys."""

    author: AuthorId
    device: DeviceId
    author_signature: bytes
    device_signature: bytes


@dataclass(frozen=True, slots=True)
class Grant:
    """This device has this role; signed by the node key of an admin, or by the volume key."""

    device: DeviceId
    role: Role
    generation: int
    issuer: bytes
    device_name: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Removed:
    """This device is no member any more: which of its records and grants still count."""

    device: DeviceId
    generation: int
    accepted: tuple[AuthorSeq, ...]
    kept_grants: tuple[bytes, ...]
    issuer: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """Grants, removals and certificates of a volume."""

    grants: tuple[Grant, ...] = ()
    removals: tuple[Removed, ...] = ()
    certificates: tuple[Certificate, ...] = ()

    @property
    def statements(self) -> list[Grant | Removed]:
        """Statements that admins signed: grants and removals."""
        return [*self.grants, *self.removals]

    def size(self) -> int:
        """Number of credentials of all kinds."""
        return len(self.grants) + len(self.removals) + len(self.certificates)


@dataclass(frozen=True, slots=True)
class Membership:
    """Members and authors of a volume: the sum of its valid credentials."""

    roles: dict[DeviceId, Role] = field(default_factory=dict)
    names: dict[DeviceId, str] = field(default_factory=dict)
    generations: dict[DeviceId, int] = field(default_factory=dict)
    removed: dict[DeviceId, Removed] = field(default_factory=dict)
    authors: dict[AuthorId, DeviceId] = field(default_factory=dict)
    """Certified authors; whether their records count also needs the device's role to be writer or admin, or to have
    been accepted before its removal."""
    surplus: dict[AuthorId, DeviceId] = field(default_factory=dict)
    """Certified authors beyond those that one device may have: their records do not count."""

    def device_of(self, author: AuthorId) -> DeviceId | None:
        """Returns the device whose author that is, whether or not its records count."""
        return self.authors.get(author) or self.surplus.get(author)


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """Payload of the `device` record: where and what an author's device is."""

    device: DeviceId
    name: str
    program: str
    addresses: tuple[str, ...] = ()
    replica_kind: str = "full"
    named_ms: int = 0
    """When it got this name; 0 in records of programs that did not say."""
    sealed_from: int = 0
    """The first dot counter from which on each version of this author has a seal; 0 in records of programs without."""
    features: tuple[str, ...] = ()
    """Names of what the program can do; none in records of programs that did not say."""


@dataclass(frozen=True, slots=True)
class VolumeInfo:
    """Payload of the `volume` record; the one with the highest stamp counts."""

    name: str
    stamp: Hlc
