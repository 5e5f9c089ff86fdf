# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount processes as the system lists them: which device each belongs to, by the state directory on its command line.

A mount id alone does not say whose a process is: a copy of a state directory holds the same ids.
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holofs_api import places

_STATE: Final = b"--state-dir"
_MOUNT_ID: Final = b"--mount-id"


@dataclass(frozen=True, slots=True)
class MountCommand:
    """The command line of a mount process."""

    words: tuple[bytes, ...]

    @property
    def state(self) -> str:
        """The state directory as it was told; empty if none was."""
        return os.fsdecode(self._after(_STATE))

    @property
    def mount_id(self) -> str:
        return self._after(_MOUNT_ID).decode("ascii", "replace")

    @property
    def path(self) -> str:
        return os.fsdecode(self.words[-1])

    def belongs_to(self, state: Path) -> bool:
        """Returns whether it serves the device in that folder; `state` has no symbolic links."""
        told = self.state
        return bool(told) and (told == os.fspath(state) or places.walk(told).real == os.fspath(state))

    @property
    def is_forsaken(self) -> bool:
        """Returns whether its state directory is there no more: it was moved or removed, and the mount finds no
        daemon."""
        walked = places.walk(self.state)
        return bool(self.state) and walked.mount is None and not os.path.lexists(walked.real)

    def _after(self, option: bytes) -> bytes:
        at = self.words.index(option) + 1 if option in self.words else len(self.words)
        return self.words[at] if at < len(self.words) else b""


def command_of(folder: str) -> MountCommand | None:
    """Information about a process or thread, by its folder in /proc; None where it is gone or tells nothing."""
    try:
        with open(f"{folder}/cmdline", "rb") as file:
            words = file.read().removesuffix(b"\0").split(b"\0")
    except OSError:
        return None
    return MountCommand(tuple(words)) if words != [b""] else None


def holder_of(path: str) -> MountCommand | None:
    """The mount process that serves this path, of whichever device of this user; None if none is to be seen."""
    for folder in glob.iglob("/proc/[0-9]*"):
        command = command_of(folder)
        if command is not None and command.mount_id and command.path == path:
            return command
    return None
