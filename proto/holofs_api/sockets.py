# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder in which a daemon's sockets are, held open and checked: nothing is said to another user's process.

The sockets are in the state directory itself, however long its path is: a socket's address has 107 bytes, but
`/proc/self/fd/N/holofsd.sock` leads through a descriptor of the folder. The same descriptor was checked (owner and
mode), so nothing that is renamed or made on the way to the folder afterwards changes where the address leads.

Earlier programs put the sockets of a long state directory into a folder in $XDG_RUNTIME_DIR or /tmp, the stand-in.
Clients find such a daemon there, if the folder is private and the user's own. A daemon leaves links to its sockets in
a stand-in that it finds, for mounts of the earlier program that outlived their daemon.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from holofs_api.paths import CALLS_SOCKET_NAME, MAX_SOCKET_PATH, SOCKET_NAME
from holofs_api.state_directory import StateDirError

_CREDENTIALS: Final = struct.Struct("3i")
_ABSENT: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED))
_LONGEST_RUNTIME: Final = 48
"""Bytes of $XDG_RUNTIME_DIR, beyond which earlier programs took /tmp."""
_OPEN: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Process and user of the other side, as the kernel saw them when it connected or began to listen."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _group = _CREDENTIALS.unpack(raw)
    return pid, user


def is_peer(connection: socket.socket, owner: int) -> bool:
    """Returns whether the other side is a process of that user, or of root, who may do everything anyway. True where
    the system does not say who it is: then the folder's owner and mode are all there is."""
    return not hasattr(socket, "SO_PEERCRED") or peer_of(connection)[1] in (owner, 0)


class SocketFolder:
    """Folder, held open until `close`. A context manager.

    Raises StateDirError where another user owns it (unless root asks, who may use any device) or can put sockets into
    it, OSError where it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.folder = path
        self._descriptor = os.open(path, _OPEN)
        try:
            self.owner = self._check()
        except BaseException:
            self.close()
            raise

    def _check(self) -> int:
        found = os.fstat(self._descriptor)
        if found.st_uid != os.geteuid() and os.geteuid() != 0:
            raise StateDirError(f"{self.folder} belongs to another user: choose another folder with --state-dir.")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise StateDirError(
                f"{self.folder} can be written by others, who could answer in the daemon's place: `chmod 700` it."
            )
        return found.st_uid

    def address(self, name: str) -> str:
        """A path to the socket of that name, for bind and connect, good while this folder is open. Raises StateDirError
        where there is none that is short enough."""
        through = f"/proc/self/fd/{self._descriptor}"
        with suppress(OSError):
            if os.path.samestat(os.stat(through), os.fstat(self._descriptor)):
                return f"{through}/{name}"
        plain = os.path.join(self.folder, name)
        if len(os.fsencode(plain)) > MAX_SOCKET_PATH:
            raise StateDirError(
                f"{self.folder} has too long a path for a socket while /proc is missing: choose a shorter one."
            )
        return plain

    def is_listening(self) -> bool:
        """Returns whether a daemon accepts connections here; one that was killed leaves its socket behind. Raises
        StateDirError where it is a process of another user."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)  # a daemon that is stopped accepts nobody, and its queue may be full
            code = probe.connect_ex(self.address(SOCKET_NAME))
            if code == 0 and not is_peer(probe, self.owner):
                raise StateDirError(
                    f"A process of another user answers at {self.folder / SOCKET_NAME}; nothing was said to it."
                )
        return code not in _ABSENT

    def make_private(self, name: str) -> None:
        """Makes a socket that was just bound its owner's alone. Raises StateDirError where it is not what was bound."""
        address = self.address(name)
        found = os.lstat(address)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
            raise StateDirError(f"{self.folder / name} is not the socket that the daemon made: start it again.")
        os.chmod(address, 0o600)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.address(name))

    def close(self) -> None:
        """Idempotent: a number that was given to another file since is not closed again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> SocketFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_folder(state: Path) -> SocketFolder:
    """The folder in which clients of this device find its daemon: the state directory, or the stand-in of a daemon of
    an earlier program that runs still. Raises as SocketFolder does."""
    own = SocketFolder(state)
    try:
        for path in () if not needs_stand_in(state) or own.is_listening() else stand_ins(state):
            with suppress(OSError, StateDirError):
                folder = SocketFolder(path)
                if folder.owner == os.geteuid() and folder.is_listening():
                    own.close()
                    return folder
                folder.close()
    except BaseException:
        own.close()
        raise
    return own


# ---- earlier programs
def needs_stand_in(state: Path) -> bool:
    """Returns whether earlier programs had their sockets elsewhere."""
    return len(os.fsencode(state / SOCKET_NAME)) > MAX_SOCKET_PATH


def stand_ins(state: Path) -> list[Path]:
    """Folders where the sockets may be: the daemon's environment decided, which need not be that of its clients."""
    digest = hashlib.sha256(os.fsencode(state)).hexdigest()[:16]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    known = os.path.isabs(runtime) and len(os.fsencode(runtime)) < _LONGEST_RUNTIME
    bases = [*([runtime] if known else []), f"/run/user/{os.getuid()}", "/tmp"]
    return [Path(base, f"holofs-{os.getuid()}-{digest}") for base in dict.fromkeys(bases)]


@contextmanager
def linked_from_stand_ins(state: Path) -> Iterator[None]:
    """Links to this device's sockets in those stand-ins that an earlier daemon of this user made and that are private
    still; none is made. The links go at the end, the folders stay for the mounts that know no other place."""
    linked: list[SocketFolder] = []
    try:
        for path in stand_ins(state) if needs_stand_in(state) else ():
            with suppress(OSError, StateDirError):
                folder = SocketFolder(path)
                linked.append(folder)
                if folder.owner == os.geteuid():
                    for name in (SOCKET_NAME, CALLS_SOCKET_NAME):
                        folder.remove(name)
                        os.symlink(state / name, folder.address(name))
        yield
    finally:
        for folder in linked:
            if folder.owner == os.geteuid():
                with suppress(OSError, StateDirError):
                    for name in (SOCKET_NAME, CALLS_SOCKET_NAME):
                        folder.remove(name)
            folder.close()
