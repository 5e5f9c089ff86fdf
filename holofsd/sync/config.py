# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits and times of the sync layer. Sizes are in bytes, durations in seconds. docs/protocol.md owns the reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holofs_api import VERSION
from holofsd.core.text import MAX_DEVICE_NAME

PROTOCOL: Final = 1
PROGRAM: Final = f"holofsd {VERSION}"

KEY_DEVICE: Final = b"device"
KEY_VOLUME: Final = b"volume"
KEY_DROPPED: Final = b"dropped"
KEY_FOLDED: Final = b"folded"
NODE_KEY_LENGTH: Final = 16

MAX_HELLO: Final = 128 * 1024
"""The greatest first frame of a stream, from a device that has not proved to be a member."""
MAX_REDEEM: Final = 8 * 1024
"""The greatest frame that comes with a ticket."""
HELLO_CREDENTIALS: Final = 256
"""So many credentials are looked at in a hello."""
HELLO_BYTES: Final = 96 * 1024
"""About how much the credentials in a hello may take: the rest is well below `MAX_HELLO`."""
MAX_PAYLOAD: Final = 1024 * 1024
"""The greatest payload of one record."""
PAGE_BYTES: Final = 256 * 1024
"""About how much a page of records holds."""
PAGE_RECORDS: Final = 4096
MAX_HEADS: Final = 4096
CREDENTIAL_BYTES: Final = 512 * 1024
"""About how much a frame of credentials holds; more of them go in several."""
CASE_CREDENTIALS: Final = 2048
"""So many credentials are shown at most of what makes a device a member, or none any more."""
MAX_HASHES: Final = 1024
BLOB_FRAME: Final = 256 * 1024
"""How much of a blob one frame carries."""
MAX_NAME: Final = MAX_DEVICE_NAME
"""Greatest length of a device's or volume's name, in characters."""


@dataclass(frozen=True, slots=True)
class SyncConfig:
    """Times and limits of synchronization; tests make them shorter."""

    debounce: float = 0.010
    debounce_most: float = 0.100
    publish_records: int = 500
    publish_bytes: int = 1024 * 1024
    merge_slice: int = 200
    merge_bytes: int = 1024 * 1024
    """About how much is merged at once: a record of many versions takes a third of a second for each megabyte."""
    mark_interval: float = 2.0
    partial_interval: float = 10.0
    """How often a device promises what it holds while content is missing."""
    hello_timeout: float = 5.0
    run_timeout: float = 20.0
    """An author asked for is asked of somebody else after this long without a page."""
    ping_interval: float = 30.0
    session_retry: float = 2.0
    """First pause before a session that ended is opened again on the same connection; doubles up to `retry_most`."""
    retry_most: float = 60.0
    sessions_wanted: int = 8
    sessions_most: int = 16
    streams_per_peer: int = 4
    content_window: float = 1.0
    """How often it is looked whether more connections would bring more content."""
    content_rest: float = 15.0
    """Connections that were opened for content are closed after this long without any."""
    pushes_most: int = 64
    """Publications that wait for a slow session before it is told of the last one only."""
    missing_retry: float = 15.0
    """A device that did not have a blob is asked again after this long."""
    no_space_retry: float = 30.0
    reserve_bytes: int = 64 * 1024 * 1024
    """Content from elsewhere leaves this much of the disk free."""
    lists: bool = False
    """Content in chunks (ADR 16) is fetched, served, and made of large content where every member's program reads it.
    Off: this program does as one that does not know of chunks: ADR 16 says what has to be mended before."""
    forget_interval: float = 600.0
    """How often records of removed nodes are looked at that nobody needs any more, and authors that nobody uses."""
    rules_rest: float = 2.0
    """Rules of what is ignored have to stand for so long before files that they match no more are published."""
    lost_after: float = 10.0
    """What is in a folder that nobody knows is in `lost+found` after this long, once all that others have is here."""
    dropped_most: int = 4096
    """So many dropped records are named until every member has heard of them; others wait."""
    fold_after: float = 7 * 24 * 3600.0
    """An author of whom nothing was heard for so long, and whose device writes under another one, is folded."""
    ignored_most: int = 1000
    """So many frames a minute that nobody asked for, and the session is closed."""
    stranger_streams: int = 2
    """Streams at a time of a device that has not proved to be a member of anything here; more are reset."""
    stranger_share: float = 0.1
    """Part of one processor that is spent on what devices show that are not known as members, all together."""
    talk_rate: float = 1000.0
    """Small frames a second that a session acts on for long (about 50 µs each); beyond, they wait."""
    talk_burst: float = 5000.0
    again_rate: float = 8 * 1024 * 1024
    """Bytes a second of what was sent to the same device before."""
    again_burst: float = 256 * 1024 * 1024
    opening_rate: float = 10.0
    """Streams a second that a member may open for long."""
    opening_burst: float = 500.0
