# SPDX-License-Identifier: GPL-3.0-or-later
"""Activation socket of this device, as the daemon sees it: taken over from the service manager (sd_listen_fds(3)).

gRPC serves only sockets that it binds itself (ADR 0014), so no call arrives here. Clients that came before the daemon
are in the queue of this socket. The daemon accepts and closes their connections as soon as it answers elsewhere. It
stops accepting before it stops answering: a client that comes later stays in the queue, and the service manager starts
the next daemon for it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import structlog

from holofs_api.activation import ACTIVATION_SOCKET_NAME
from holofs_api.sockets import SocketFolder, is_peer
from holofs_api.state_directory import StateDirError

_log = structlog.get_logger(__name__)

FIRST_DESCRIPTOR: Final = 3
"""Number of the first descriptor that a service manager hands over; the others follow."""
_MOST: Final = 64
"""Descriptors that are looked at."""
_RETRY_S: Final = 1.0
"""Seconds without accepting after an error, as when no descriptor is free."""


class ActivationSockets:
    """Listening sockets that the service manager handed over to this process, as far as they are of this device.

    `environment` loses the variables, which are meant for this process alone. Every descriptor that was handed over is
    closed on exec from here on, and at once where it is refused; the log says why. `first`: number of the first one.
    """

    def __init__(self, environment: MutableMapping[str, str], state: Path, first: int = FIRST_DESCRIPTOR) -> None:
        pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
        for name in ("LISTEN_FDNAMES", "LISTEN_PIDFDID"):
            environment.pop(name, None)
        is_ours = pid == str(os.getpid()) and count.isascii() and count.isdigit()
        handed = range(first, first + min(int(count), _MOST)) if is_ours else range(0)
        found = [_taken(descriptor, state) for descriptor in handed]
        self.sockets = [listening for listening in found if listening is not None]

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Ends each waiting connection and each that comes, while the daemon answers; then closes the sockets, which
        the service manager has open, too."""
        loop = asyncio.get_running_loop()
        listeners = [_Listener(loop, listening) for listening in self.sockets]
        for listener in listeners:
            listener.begin()
        try:
            yield
        finally:
            for listener in listeners:
                listener.end()


class _Listener:
    """One of the sockets, in the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        self._loop = loop
        self._socket = listening
        self._retry: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self._loop.add_reader(self._socket, self._accept)

    def end(self) -> None:
        self._loop.remove_reader(self._socket)
        if self._retry is not None:
            self._retry.cancel()
        self._socket.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            _log.warning("clients of the activation socket have to wait", error=str(error))
            self._loop.remove_reader(self._socket)
            self._retry = self._loop.call_later(_RETRY_S, self.begin)
            return
        with connection:
            if not is_peer(connection, os.geteuid()):
                _log.warning("a process of another user reached the activation socket")


def _taken(descriptor: int, state: Path) -> socket.socket | None:
    """The descriptor as a socket; None where it is none of this device, and then it is closed."""
    try:
        os.set_inheritable(descriptor, False)
        listening = socket.socket(fileno=descriptor)
    except OSError as error:
        _log.warning("what the service manager handed over is no socket", descriptor=descriptor, error=str(error))
        with suppress(OSError):
            os.close(descriptor)
        return None
    try:
        objection = _objection(listening, state)
    except (OSError, StateDirError) as error:
        objection = str(error)
    if objection:
        _log.warning("a socket that the service manager handed over is not used", descriptor=descriptor, why=objection)
        listening.close()
        return None
    listening.setblocking(False)
    return listening


def _objection(listening: socket.socket, state: Path) -> str:
    """Reason not to use a socket; empty where there is none. Raises StateDirError where others can put sockets into the
    state directory, OSError where the file of the socket is gone."""
    domain = listening.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN)
    if (domain, listening.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        return "it is not a Unix stream socket"
    if not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "it does not listen"
    name = listening.getsockname()
    if not isinstance(name, str) or os.path.basename(name) != ACTIVATION_SOCKET_NAME:
        return f"it is not called {ACTIVATION_SOCKET_NAME}"
    with SocketFolder(state) as folder:
        if not os.path.samefile(os.path.dirname(name), folder.folder):
            return "it is not in the state directory"
        found = os.lstat(folder.address(ACTIVATION_SOCKET_NAME))
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        return "its file is not this user's alone (SocketMode=0600)"
    return ""
