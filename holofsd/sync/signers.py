# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of credentials that others show: whether they are good, and who signed more than is kept of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from holofsd.codec.signing import verify_certificate, verify_grant, verify_removed
from holofsd.core.credentials import CERTIFICATES_KEPT
from holofsd.core.document import Certificate, Credentials, Grant, Removed
from holofsd.core.errors import Refused
from holofsd.core.ids import AuthorId, DeviceId, VolumeId
from holofsd.store.threads import Pool, in_thread

VERIFY_INLINE: Final = 16
"""So many signatures are checked on the loop; more of them in a thread."""
BLAMED_MOST: Final = 8
"""So many of those who signed too much are looked for at once: that costs signatures to verify."""

TOO_MANY_AUTHORS: Final = "made more certificates of authors than a device may have"
TOO_MANY_STATEMENTS: Final = "granted and removed more than an admin has room for"


@dataclass(frozen=True, slots=True)
class ExcessCredentials:
    """Credentials that a device signed beyond its room: how often that is proven."""

    signer: bytes
    what: str
    number: int


async def verify_all(volume: VolumeId, credentials: Credentials) -> None:
    """Raises Refused if any signature is false."""
    if credentials.size() <= VERIFY_INLINE:
        good = all_good(volume, credentials)
    else:
        good = await in_thread(Pool.BACKGROUND, all_good, volume, credentials)
    if not good:
        raise Refused("A device showed a credential with a false signature.")


async def signed_too_much(
    volume: VolumeId, dropped: Credentials, kept: Credentials, members: Collection[DeviceId]
) -> list[ExcessCredentials]:
    """Members that surely signed more than is kept. `kept`: what is, signatures verified.

    A statement may also be dropped because what makes it count has not come yet. That is nobody's fault.
    """
    if dropped.size() <= VERIFY_INLINE:
        return _excess(volume, dropped, kept, members)
    return await in_thread(Pool.BACKGROUND, _excess, volume, dropped, kept, members)


def _excess(
    volume: VolumeId, dropped: Credentials, kept: Credentials, members: Collection[DeviceId]
) -> list[ExcessCredentials]:
    found: list[ExcessCredentials] = []
    authors: dict[DeviceId, dict[AuthorId, Certificate]] = {}
    for certificate in dropped.certificates:
        if certificate.device in members:
            authors.setdefault(certificate.device, {}).setdefault(certificate.author, certificate)
    held = Counter(certificate.device for certificate in kept.certificates)
    for device, made in list(authors.items())[:BLAMED_MOST]:
        number = max(1, CERTIFICATES_KEPT + 1 - held[device])
        if len(made) >= number and all(verify_certificate(volume, one) for one in list(made.values())[:number]):
            found.append(ExcessCredentials(device, TOO_MANY_AUTHORS, number))
    with_room = {statement.issuer for statement in kept.statements}
    issued: dict[bytes, Grant | Removed] = {}
    for statement in dropped.statements:
        if statement.issuer in with_room and statement.issuer in members:
            issued.setdefault(statement.issuer, statement)
    found += (
        ExcessCredentials(issuer, TOO_MANY_STATEMENTS, 1)
        for issuer, signed in list(issued.items())[:BLAMED_MOST]
        if _is_good(volume, signed)
    )
    return found


def all_good(volume: VolumeId, credentials: Credentials) -> bool:
    """Whether no signature is false."""
    return all(_is_good(volume, statement) for statement in credentials.statements) and all(
        verify_certificate(volume, certificate) for certificate in credentials.certificates
    )


def _is_good(volume: VolumeId, statement: Grant | Removed) -> bool:
    return verify_grant(volume, statement) if isinstance(statement, Grant) else verify_removed(volume, statement)
