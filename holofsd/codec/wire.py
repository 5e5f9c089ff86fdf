# SPDX-License-Identifier: GPL-3.0-or-later
"""Envelopes, heads, marks and credentials as protocol buffers. `to_*` gives the message; `from_*` raises Refused.

Lengths and counts are checked here, signatures in `codec.signing`, meaning in `core.members`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from holofs_peer.v1 import peer_pb2 as pb
from holofsd.codec.checks import KEY, SIGNATURE, at_most, number, parse, sized
from holofsd.codec.records import MAX_PAYLOAD, MAX_TEXT
from holofsd.core.document import AuthorSeq, Certificate, Credentials, Envelope, Grant, Head, Mark, Removed, Role
from holofsd.core.errors import Refused
from holofsd.core.ids import AuthorId, DeviceId

MAX_RECORD_KEY: Final = 64
MAX_CREDENTIALS: Final = 4096
"""Of each kind, in one message. How many are kept is decided by what has room (`core.credentials`)."""
MAX_KEPT: Final = 4096
"""Grants that one removal keeps."""
MAX_CREDENTIAL_BYTES: Final = 4 << 20
MAX_AUTHORS: Final = 4096
_ROLES: Final = {int(role): role for role in Role}


# ---- envelopes and heads ----
def to_envelope(envelope: Envelope) -> pb.Envelope:
    return pb.Envelope(
        author=envelope.author,
        seq=envelope.seq,
        key=envelope.key,
        payload=envelope.payload,
        signature=envelope.signature,
    )


def from_envelope(message: pb.Envelope) -> Envelope:
    if not 0 < len(message.key) <= MAX_RECORD_KEY or len(message.payload) > MAX_PAYLOAD:
        raise Refused("an envelope has no valid key, or too large a payload")
    return Envelope(
        AuthorId(sized(message.author, KEY, "author key")),
        number(message.seq, "record number", 1),
        message.key,
        message.payload,
        sized(message.signature, SIGNATURE, "signature"),
    )


def to_head(head: Head) -> pb.Head:
    return pb.Head(author=head.author, seq=head.seq, dots=head.dots, set_hash=head.set_hash, signature=head.signature)


def from_head(message: pb.Head) -> Head:
    return Head(
        AuthorId(sized(message.author, KEY, "author key")),
        number(message.seq, "record number"),
        number(message.dots, "counter"),
        sized(message.set_hash, KEY, "set hash"),
        sized(message.signature, SIGNATURE, "signature"),
    )


# ---- marks ----
def _to_author(item: AuthorSeq) -> pb.AuthorSeq:
    return pb.AuthorSeq(author=item.author, seq=item.seq, set_hash=item.set_hash)


def _from_authors(messages: Iterable[pb.AuthorSeq]) -> tuple[AuthorSeq, ...]:
    found: dict[AuthorId, AuthorSeq] = {}
    for message in messages:
        author = AuthorId(sized(message.author, KEY, "author key"))
        if author in found or len(found) >= MAX_AUTHORS:
            raise Refused("an author is named twice, or there are too many")
        found[author] = AuthorSeq(
            author, number(message.seq, "record number"), sized(message.set_hash, KEY, "set hash")
        )
    return tuple(found.values())


def to_mark(mark: Mark) -> pb.Mark:
    return pb.Mark(
        device=mark.device, at_ms=mark.at_ms, authors=map(_to_author, mark.authors), signature=mark.signature
    )


def from_mark(message: pb.Mark) -> Mark:
    return Mark(
        DeviceId(sized(message.device, KEY, "node key")),
        number(message.at_ms, "time"),
        _from_authors(message.authors),
        sized(message.signature, SIGNATURE, "signature"),
    )


# ---- credentials ----
def to_grant(grant: Grant) -> pb.Grant:
    return pb.Grant(
        device=grant.device,
        role=pb.Role.ValueType(int(grant.role)),
        generation=grant.generation,
        issuer=grant.issuer,
        device_name=grant.device_name,
        signature=grant.signature,
    )


def from_grant(message: pb.Grant) -> Grant:
    role = _ROLES.get(message.role)
    if role is None or len(message.device_name) > MAX_TEXT:
        raise Refused("a grant names no role that is known, or too long a name")
    return Grant(
        DeviceId(sized(message.device, KEY, "node key")),
        role,
        number(message.generation, "generation", 1),
        sized(message.issuer, KEY, "issuer"),
        message.device_name,
        sized(message.signature, SIGNATURE, "signature"),
    )


def to_removed(removed: Removed) -> pb.Removed:
    return pb.Removed(
        device=removed.device,
        generation=removed.generation,
        accepted=map(_to_author, removed.accepted),
        kept_grants=removed.kept_grants,
        issuer=removed.issuer,
        signature=removed.signature,
    )


def from_removed(message: pb.Removed) -> Removed:
    at_most(message.kept_grants, MAX_KEPT, "kept grants")
    return Removed(
        DeviceId(sized(message.device, KEY, "node key")),
        number(message.generation, "generation", 1),
        _from_authors(message.accepted),
        tuple(sized(digest, KEY, "digest of a grant") for digest in message.kept_grants),
        sized(message.issuer, KEY, "issuer"),
        sized(message.signature, SIGNATURE, "signature"),
    )


def to_certificate(certificate: Certificate) -> pb.Certificate:
    return pb.Certificate(
        author=certificate.author,
        device=certificate.device,
        author_signature=certificate.author_signature,
        device_signature=certificate.device_signature,
    )


def from_certificate(message: pb.Certificate) -> Certificate:
    return Certificate(
        AuthorId(sized(message.author, KEY, "author key")),
        DeviceId(sized(message.device, KEY, "node key")),
        sized(message.author_signature, SIGNATURE, "signature"),
        sized(message.device_signature, SIGNATURE, "signature"),
    )


def to_credentials(credentials: Credentials) -> pb.Credentials:
    return pb.Credentials(
        grants=map(to_grant, credentials.grants),
        removals=map(to_removed, credentials.removals),
        certificates=map(to_certificate, credentials.certificates),
    )


def from_credentials(message: pb.Credentials) -> Credentials:
    at_most(message.grants, MAX_CREDENTIALS, "grants")
    at_most(message.removals, MAX_CREDENTIALS, "removals")
    at_most(message.certificates, MAX_CREDENTIALS, "certificates")
    return Credentials(
        tuple(map(from_grant, message.grants)),
        tuple(map(from_removed, message.removals)),
        tuple(map(from_certificate, message.certificates)),
    )


def encode_credentials(credentials: Credentials) -> bytes:
    return to_credentials(credentials).SerializeToString(deterministic=True)


def decode_credentials(data: bytes) -> Credentials:
    message = pb.Credentials()
    parse(message, data, MAX_CREDENTIAL_BYTES, "set of credentials")
    return from_credentials(message)


# ---- as bytes, for tables ----
def encode_mark(mark: Mark) -> bytes:
    return to_mark(mark).SerializeToString(deterministic=True)


def decode_mark(data: bytes) -> Mark:
    message = pb.Mark()
    parse(message, data, MAX_PAYLOAD, "mark")
    return from_mark(message)
