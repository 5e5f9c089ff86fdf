# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual attributes: read-only extended attributes that HoloFS makes up when a program asks for one by its name.

They are never stored, and no list has them: a program that copies all attributes of a file copies none of these.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = b"user.holofs."
"""All names that begin so are HoloFS's own. Nothing can be stored under them."""
DEVICE: Final = PREFIX + b"device"
WRITTEN: Final = PREFIX + b"written"
STATE: Final = PREFIX + b"state"
CONFLICT: Final = PREFIX + b"conflict"
HASH: Final = PREFIX + b"hash"
IGNORED: Final = PREFIX + b"ignored"
"""The line of a `.holofsignore` that matches the file, `FILE:LINE: PATTERN`. It may be published all the same."""
NAMES: Final = frozenset({DEVICE, WRITTEN, STATE, CONFLICT, HASH, IGNORED})
WRITING: Final = b"writing"
"""Value of `STATE` for a file that a program is writing. The mount knows it before the daemon does."""


def is_virtual(name: bytes) -> bool:
    """Returns whether an extended attribute of this name belongs to HoloFS."""
    return name.startswith(PREFIX)
