# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection as the hub sees it: what runs over it, and how many streams the other side may open."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from holofsd.core.allowance import Allowance
from holofsd.core.ids import VolumeId
from holofsd.net.api import Connection
from holofsd.sync.content_connections import ContentConnections
from holofsd.sync.tasks import Tasks

STREAMS_A_SECOND = 50
STREAMS_AT_ONCE = 500
"""Streams that a device may open on one connection for each volume that is shared; one that opens more is cut off."""
PAUSED = "paused on the other device"
"""Reason of a closed connection, as the other side shows it."""


@dataclass(slots=True, eq=False)
class PeerLink:
    """One connection and what runs over it."""

    connection: Connection
    tasks: Tasks
    content: ContentConnections
    shared: bool = False
    """Something was shared with that device while it was connected."""
    keeping: dict[VolumeId, asyncio.Task[None]] = field(default_factory=dict)
    streams: int = 0
    """Open now, of those that the other side opened."""
    opening: Allowance = field(default_factory=lambda: Allowance(STREAMS_A_SECOND, STREAMS_AT_ONCE))
    content_streams: dict[VolumeId, int] = field(default_factory=dict)
    more: int = 0
    """Connections for content that the other side opened beside this one."""


def split_addresses(addresses: list[str] | tuple[str, ...]) -> tuple[list[str], str]:
    """Addresses of a device, and the relay among them."""
    relay = next((address for address in addresses if "://" in address), "")
    return [address for address in addresses if "://" not in address], relay
