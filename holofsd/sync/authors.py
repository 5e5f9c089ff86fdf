# SPDX-License-Identifier: GPL-3.0-or-later
"""New authors of this device."""

from __future__ import annotations

from typing import Final

import structlog

from holofsd.codec.signing import SigningKey, generate
from holofsd.core.ids import AuthorId
from holofsd.store.volume import VolumeStore
from holofsd.sync.create import active_key
from holofsd.sync.members import Members

log = structlog.get_logger(__name__)

PLACE_TRIES: Final = 64
"""Of a device's authors those count that come first by key: with a few tries a new one does."""
PLACE_WORK: Final = 20_000
"""Credentials that are added up for that, all tries together: some tenths of a second."""


def new_author(members: Members) -> SigningKey:
    """An author that has a place among ours, also where this device was copied or restored very often."""
    key = _placed_author(members)
    if key is None:
        log.error("no author of this device has a place among its others: it is not heard until one is folded")
    return key or generate()


def better_author(members: Members, store: VolumeStore) -> SigningKey | None:
    """Another author where the active one has no place among ours, so that it is not heard; None where it has one.

    That happens to a device that was restored again and again with an earlier program. Certifies the active one.
    """
    if (active := active_key(store)) is not None:
        members.certify(active)
    active = active_key(store)  # those who are told of a certificate may take another one
    if active is None or not members.can_write or AuthorId(active.public) in members.membership.authors:
        return None
    key = _placed_author(members)
    if key is not None:
        log.warning("our author has no place among our others: a new one takes over", old=active.public.hex()[:8])
    return key


def _placed_author(members: Members) -> SigningKey | None:
    for _ in range(min(PLACE_TRIES, 1 + PLACE_WORK // max(1, members.credentials.size()))):
        key = generate()
        if not members.can_write or members.has_place(AuthorId(key.public)):
            return key
    return None
