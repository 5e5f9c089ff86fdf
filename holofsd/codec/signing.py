# SPDX-License-Identifier: GPL-3.0-or-later
"""Ed25519 signatures over everything that devices tell of a volume.

Every signed message is the domain ("holofs-...-1"), then each field with its length in front (4 bytes, big endian), so
that no message can be read as another one; the volume is always the first field. Verification gives a bool and never
raises, whatever the key or signature. Signing and verifying release the GIL and may run in threads.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from blake3 import blake3
from nacl import bindings
from nacl.exceptions import CryptoError

from holofsd.core.credentials import grant_message, removed_message
from holofsd.core.document import AuthorSeq, Certificate, Envelope, Grant, Head, Mark, Removed, Role
from holofsd.core.errors import Refused
from holofsd.core.ids import AuthorId, DeviceId, NodeId, VolumeId
from holofsd.core.message import length_prefixed, number
from holofsd.core.sealing import is_from, needs_seal, seal_message
from holofsd.core.state import Kind, Version

SIGNATURE: Final = 64


class SigningKey:
    """An Ed25519 key from its 32-byte seed. Its representation never shows the secret."""

    __slots__ = ("_secret", "_seed", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise Refused("a signing key has a seed of 32 bytes")
        self.public, self._secret = bindings.crypto_sign_seed_keypair(seed)
        self._seed = bytes(seed)

    @property
    def seed(self) -> bytes:
        """The secret, for whoever stores it."""
        return self._seed

    def sign(self, message: bytes) -> bytes:
        return bindings.crypto_sign(message, self._secret)[:SIGNATURE]

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()[:8]}…)"


def generate() -> SigningKey:
    return SigningKey(secrets.token_bytes(32))


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    if len(public) != 32 or len(signature) != SIGNATURE:
        return False
    try:
        bindings.crypto_sign_open(signature + message, public)
    except (CryptoError, ValueError):
        return False
    return True


# ---- envelopes and heads ----
def _envelope_message(volume: VolumeId, author: bytes, seq: int, record_key: bytes, payload: bytes) -> bytes:
    digest = blake3(payload).digest()
    return length_prefixed(b"holofs-envelope-1", volume, author, number(seq), record_key, digest)


def sign_envelope(key: SigningKey, volume: VolumeId, seq: int, record_key: bytes, payload: bytes) -> Envelope:
    author = AuthorId(key.public)
    signature = key.sign(_envelope_message(volume, author, seq, record_key, payload))
    return Envelope(author, seq, record_key, payload, signature)


def verify_envelope(volume: VolumeId, envelope: Envelope) -> bool:
    message = _envelope_message(volume, envelope.author, envelope.seq, envelope.key, envelope.payload)
    return verify(envelope.author, message, envelope.signature)


def verify_envelopes(volume: VolumeId, envelopes: Sequence[Envelope]) -> list[bool]:
    """Verifies many envelopes, in their order. Meant to run in a thread: an envelope takes about 60 µs."""
    return [verify_envelope(volume, envelope) for envelope in envelopes]


def _head_message(volume: VolumeId, author: bytes, seq: int, dots: int, set_hash: bytes) -> bytes:
    return length_prefixed(b"holofs-head-1", volume, author, number(seq), number(dots), set_hash)


def sign_head(key: SigningKey, volume: VolumeId, seq: int, dots: int, set_hash: bytes) -> Head:
    author = AuthorId(key.public)
    return Head(author, seq, dots, set_hash, key.sign(_head_message(volume, author, seq, dots, set_hash)))


def verify_head(volume: VolumeId, head: Head) -> bool:
    message = _head_message(volume, head.author, head.seq, head.dots, head.set_hash)
    return verify(head.author, message, head.signature)


# ---- versions ----
def sign_version(key: SigningKey, volume: VolumeId, node: NodeId, kind: Kind, version: Version) -> bytes:
    """The seal of a version by this author, which is in that node."""
    return key.sign(seal_message(volume, node, kind, version))


def verify_seal(volume: VolumeId, node: NodeId, kind: Kind, version: Version) -> bool:
    """Whether the version is what its author signed, and can be in that node."""
    if not needs_seal(version) or not is_from(node, version):
        return False
    return verify(version.dot.author, seal_message(volume, node, kind, version), version.seal)


# ---- marks ----
def _mark_message(volume: VolumeId, device: bytes, at_ms: int, authors: Sequence[AuthorSeq]) -> bytes:
    fields = [field for a in authors for field in (a.author, number(a.seq), a.set_hash)]
    return length_prefixed(b"holofs-mark-1", volume, device, number(at_ms), *fields)


def sign_mark(key: SigningKey, volume: VolumeId, at_ms: int, authors: Sequence[AuthorSeq]) -> Mark:
    """`key` is the device's node key."""
    device = DeviceId(key.public)
    return Mark(device, at_ms, tuple(authors), key.sign(_mark_message(volume, device, at_ms, authors)))


def verify_mark(volume: VolumeId, mark: Mark) -> bool:
    return verify(mark.device, _mark_message(volume, mark.device, mark.at_ms, mark.authors), mark.signature)


# ---- credentials ----
def _certificate_message(volume: VolumeId, author: bytes, device: bytes) -> bytes:
    return length_prefixed(b"holofs-certificate-1", volume, author, device)


def make_certificate(author_key: SigningKey, device_key: SigningKey, volume: VolumeId) -> Certificate:
    message = _certificate_message(volume, author_key.public, device_key.public)
    return Certificate(
        AuthorId(author_key.public), DeviceId(device_key.public), author_key.sign(message), device_key.sign(message)
    )


def verify_certificate(volume: VolumeId, certificate: Certificate) -> bool:
    message = _certificate_message(volume, certificate.author, certificate.device)
    return verify(certificate.author, message, certificate.author_signature) and verify(
        certificate.device, message, certificate.device_signature
    )


def sign_grant(
    key: SigningKey, volume: VolumeId, device: DeviceId, role: Role, generation: int, device_name: str
) -> Grant:
    """`key` is the node key of an admin, or the volume key."""
    unsigned = Grant(device, role, generation, key.public, device_name, b"")
    return Grant(device, role, generation, key.public, device_name, key.sign(grant_message(volume, unsigned)))


def verify_grant(volume: VolumeId, grant: Grant) -> bool:
    """The signature alone; whether the issuer may grant is decided by `members.resolve`."""
    return verify(grant.issuer, grant_message(volume, grant), grant.signature)


def sign_removed(
    key: SigningKey,
    volume: VolumeId,
    device: DeviceId,
    generation: int,
    accepted: Sequence[AuthorSeq] = (),
    kept_grants: Sequence[bytes] = (),
) -> Removed:
    """`key` is the node key of an admin, or the volume key; `kept_grants` are digests as of `grant_digest`."""
    unsigned = Removed(device, generation, tuple(accepted), tuple(kept_grants), key.public, b"")
    signature = key.sign(removed_message(volume, unsigned))
    return Removed(device, generation, unsigned.accepted, unsigned.kept_grants, key.public, signature)


def verify_removed(volume: VolumeId, removed: Removed) -> bool:
    """The signature alone; whether the issuer may remove is decided by `members.resolve`."""
    return verify(removed.issuer, removed_message(volume, removed), removed.signature)
