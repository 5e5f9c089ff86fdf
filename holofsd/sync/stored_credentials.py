# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials of a volume on disk: each is a message of its own, read again before it is stored."""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from blake3 import blake3

from holofsd.codec import wire
from holofsd.core.credentials import merge_credentials
from holofsd.core.document import Credentials
from holofsd.core.errors import Refused
from holofsd.store.volume import VolumeStore

log = structlog.get_logger(__name__)


def load_credentials(store: VolumeStore) -> Credentials:
    """Loads all stored credentials that can be read. What cannot (an older program stored it, or the disk damaged it)
    counts for nothing."""
    found: list[Credentials] = []
    for kind, message in store.credentials():
        try:
            found.append(wire.decode_credentials(message))
        except Refused as error:
            log.warning("a stored credential cannot be read and is ignored", kind=kind, why=error.message)
    return merge_credentials(*found)


def store_credentials(store: VolumeStore, credentials: Credentials) -> None:
    """Stores credentials inside a transaction. Each is stored as a `Credentials` message that holds it alone. Raises
    Refused."""
    for kind, message in messages_of(credentials):
        wire.decode_credentials(message)  # what could not be read again would be lost
        store.add_credential(kind, blake3(message).digest(), message)


def forget_credentials(store: VolumeStore, credentials: Credentials) -> None:
    """Deletes stored credentials. Call it inside a transaction."""
    for kind, message in messages_of(credentials):
        store.remove_credential(kind, blake3(message).digest())


def messages_of(credentials: Credentials) -> Iterable[tuple[str, bytes]]:
    """(kind, message) of each."""
    singles = [
        *(("grant", Credentials(grants=(grant,))) for grant in credentials.grants),
        *(("removal", Credentials(removals=(removed,))) for removed in credentials.removals),
        *(("certificate", Credentials(certificates=(certificate,))) for certificate in credentials.certificates),
    ]
    return ((kind, wire.encode_credentials(single)) for kind, single in singles)


def check_readable(credentials: Credentials) -> None:
    """Raises Refused where another device could not read what this one is about to sign."""
    for _kind, message in messages_of(credentials):
        wire.decode_credentials(message)
