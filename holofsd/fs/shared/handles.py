# SPDX-License-Identifier: GPL-3.0-or-later
"""Registered handles: the open files of mounts that the daemon knows.

The mount numbers them. They live as long as the mount does, over reconnects of either side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from holofsd.core.errors import BadArgument, BadHandle
from holofsd.core.ids import Ino

HandleKey = tuple[str, int]
"""Mount id and the mount's number."""


@dataclass(eq=False, slots=True)
class RegisteredHandle:
    """One handle of a mount that the daemon knows."""

    key: HandleKey
    ino: Ino
    write: bool
    staged: bool = False
    """Its mount knows the path of the staging file and may write there."""
    holds_publication: bool = False
    """It made or emptied the file, and nothing was committed since: the file is under a publication hold."""


class RegisteredHandles:
    """All handles of mounts that the daemon knows, by mount and by inode."""

    def __init__(self) -> None:
        self._files: dict[HandleKey, RegisteredHandle] = {}
        self._by_ino: dict[Ino, set[RegisteredHandle]] = {}
        self.awaited: set[str] = set()
        """Mounts of the daemon before this one that may live and have not re-attached: their open files are unknown."""

    def add(self, mount_id: str, handle: int, ino: Ino, *, write: bool) -> RegisteredHandle:
        """Adding again changes nothing: the answer may not have arrived in time. Raises BadArgument for a number that
        is in use for something else."""
        key = (mount_id, handle)
        known = self._files.get(key)
        if known is not None and (known.ino, known.write) == (ino, write):
            return known
        if handle == 0 or known is not None:
            raise BadArgument(f"The handle {handle} is in use already, or is none.")
        opened = RegisteredHandle(key, ino, write)
        self._files[key] = opened
        self._by_ino.setdefault(ino, set()).add(opened)
        return opened

    def get(self, mount_id: str, handle: int) -> RegisteredHandle:
        opened = self._files.get((mount_id, handle))
        if opened is None:
            raise BadHandle("This file is not open any more.")
        return opened

    def find(self, mount_id: str, handle: int) -> RegisteredHandle | None:
        return self._files.get((mount_id, handle))

    def remove(self, opened: RegisteredHandle) -> None:
        del self._files[opened.key]
        rest = self._by_ino[opened.ino]
        rest.discard(opened)
        if not rest:
            del self._by_ino[opened.ino]

    def is_open(self, ino: Ino) -> bool:
        return ino in self._by_ino

    def of_ino(self, ino: Ino) -> Iterable[RegisteredHandle]:
        return self._by_ino.get(ino, ())

    def writers(self, ino: Ino) -> list[RegisteredHandle]:
        """Lists the handles that may write the staging file of this inode themselves."""
        return [opened for opened in self._by_ino.get(ino, ()) if opened.staged]

    def is_open_for_writing(self, ino: Ino) -> bool:
        return any(opened.write for opened in self._by_ino.get(ino, ()))

    def inos(self) -> list[Ino]:
        return list(self._by_ino)

    def of_mount(self, mount_id: str) -> list[RegisteredHandle]:
        return [opened for opened in self._files.values() if opened.key[0] == mount_id]

    def __len__(self) -> int:
        return len(self._files)
