# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits and times of the filesystem layer. Sizes are in bytes, durations in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

INLINE_RECORD: Final = 4096
"""Content up to this size travels in the record of its node."""
INLINE_COMMIT: Final = 65536
"""Content up to this size may come as `data` of a Commit."""
MAX_TARGET: Final = 4095
MAX_XATTR_NAME: Final = 255
MAX_XATTR_VALUE: Final = 65536
MAX_XATTR_TOTAL: Final = 128 << 10
"""Of all attributes of a node, absent ones included by name: well below what a record may carry."""
MAX_READ: Final = 1 << 20
INO_LEASE: Final = 16_384
"""Inode numbers that a mount gets at a time. It asks for more when half are left, and what it makes until the answer is
there must not use them up."""
MAX_AHEAD: Final = 64
"""Files whose attributes and content go with the answer to an open (sibling prefetch)."""
MAX_NEWS: Final = 4
"""Attributes and content of small files go with a change message about at most so many inodes. A mount rarely needs
those of larger changes, and collecting them costs as much as a third of an open for each file."""


@dataclass(frozen=True, slots=True)
class FsSettings:
    """Times and limits of the filesystem; tests make them shorter."""

    reserve_bytes: int = 32 << 20
    """Writes are refused while the disk has less than this free, so that the index can still grow."""
    hold: float = 5.0
    """A file that was created or emptied and not written yet is not published before this."""
    refill: float = 15.0
    """Seconds for which a freed name still means its node: docs/model.md#replacing-a-file-is-a-write."""
    refill_names: int = 10_000
    quiet: float = 5.0
    """An open file that was not written to for this long is worth a version of its own..."""
    snapshot_every: float = 60.0
    """... at most this often."""
    reattach: float = 15.0
    """How long the files of a mount that is gone stay open for its return."""
    fetch_timeout: float = 30.0
    hashers: int = 2
    watch_changes: int = 10_000
    """Changes that wait for a slow watcher before it gets a reset and forgets everything."""
    tick: float = 1.0
