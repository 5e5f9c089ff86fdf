# SPDX-License-Identifier: GPL-3.0-or-later
"""New authors of this device."""

from __future__ import annotations

from typing import Final

import structlog

from holofsd.codec.signing import SigningKey, generate
from holofsd.core.ids import AuthorId
from holofsd.sync.members import Members

log = structlog.get_logger(__name__)

PLACE_TRIES: Final = 64
"""Of a device's authors those count that come first by key: with a few tries a new one does."""


def new_author(members: Members) -> SigningKey:
    """An author that has a place among ours, also where this device was copied or restored very often."""
    for _ in range(PLACE_TRIES):
        key = generate()
        if not members.can_write or members.has_place(AuthorId(key.public)):
            return key
    log.error("no author of this device has a place among its others: what it writes is not heard until one is folded")
    return key
