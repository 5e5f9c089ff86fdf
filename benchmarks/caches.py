# SPDX-License-Identifier: GPL-3.0-or-later
"""Making the kernel forget, so that a read is a read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_DROP: Final = Path("/proc/sys/vm/drop_caches")


def drop_everything() -> bool:
    """Pages, names and inodes of all filesystems. False where that is not allowed: then nothing has happened."""
    os.sync()  # what is dirty stays otherwise
    try:
        _DROP.write_text("3")
    except OSError:
        return False
    return True


def drop_pages_of(path: Path) -> None:
    """Drop the pages that the kernel keeps for this file of a mount.

    What the mount reads from below may stay in memory.
    """
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
