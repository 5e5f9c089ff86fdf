# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of this machine who may use a mount besides the one whose it is, and what FUSE asks for before it allows that.

The kernel shows a FUSE mount to its own user alone, not even to root. The option `allow_other` lifts that for
everybody. A user other than root may give it only where /etc/fuse.conf has the line `user_allow_other` (fuse(8)).
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Final

FUSE_CONF: Final = Path("/etc/fuse.conf")
_LINE: Final = "user_allow_other"


class Allow(StrEnum):
    """Users who may use a mount besides its own. The values are those of `MountRequest.allow` and of the database."""

    OWNER = ""
    ROOT = "root"
    OTHER = "other"
    """Everybody, held by the modes of the files."""

    @classmethod
    def stored(cls, text: str) -> Allow:
        """Value that a database holds. One that makes no sense, in a damaged database, lets nobody in."""
        return cls(text) if text in {one.value for one in cls} else cls.OWNER

    @property
    def option(self) -> str:
        """The option of FUSE, and with dashes that of `holofsctl mount`; empty for the mount's own user."""
        return f"allow_{self.value}" if self.value else ""


def refusal(allow: Allow, conf: Path = FUSE_CONF) -> str:
    """A sentence that says why fusermount3 would refuse to this user what is asked for; empty where it would not.

    A file that this user may not read decides nothing here: fusermount3 reads it as root.
    """
    if allow is Allow.OWNER or os.geteuid() == 0:
        return ""
    try:
        lines = conf.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        lines = []
    except OSError:
        return ""
    if any(line.partition("#")[0].strip() == _LINE for line in lines):
        return ""
    return (
        f"Only root may open a mount to other users while {conf} has no line `{_LINE}`:"
        " have root add that line, then try again."
    )
