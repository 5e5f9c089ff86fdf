# SPDX-License-Identifier: GPL-3.0-or-later
"""Activation socket of a device, as clients see it: a service manager listens there and starts the daemon (ADR 0014).

It carries no call. A client that finds no daemon connects and waits. The service manager starts the daemon, which takes
the listening socket over and, once it answers at its own sockets, ends every connection. So the end of the connection
is the sign to look at those again; it also comes where the service manager gives the daemon up.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from enum import Enum, auto
from typing import Final

from holofs_api.sockets import SocketFolder, is_peer
from holofs_api.state_directory import StateDirError

ACTIVATION_SOCKET_NAME: Final = "activate.sock"
ACTIVATION_S: Final = 60.0
"""Seconds that a client waits for the daemon to start."""


class Activation(Enum):
    """Result of asking a service manager for the daemon."""

    ABSENT = auto()
    """No service manager listens."""
    STARTED = auto()
    """The daemon answers."""
    FAILED = auto()
    """The daemon does not answer: it could not be started, or takes too long."""


def activate(folder: SocketFolder, seconds: float = ACTIVATION_S) -> Activation:
    """Connect to the activation socket, which starts the daemon, and wait until that answers.

    Call it only where no daemon answers. Raises StateDirError where a process of another user listens.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as waiting:
        waiting.settimeout(seconds)
        try:
            waiting.connect(folder.address(ACTIVATION_SOCKET_NAME))
        except OSError:  # no file, nobody listens, or too many wait already
            return Activation.ABSENT
        if not is_peer(waiting, folder.owner):
            raise StateDirError(
                f"A process of another user answers at {folder.folder / ACTIVATION_SOCKET_NAME}: remove that file."
            )
        with suppress(OSError):  # the time is up, or the service manager closed its socket with the connection in it
            waiting.recv(1)
    return Activation.STARTED if folder.is_listening() else Activation.FAILED
