# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a device lives: its state directory and its daemon's socket. Daemon, mounts and command line agree by this."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from holofs_api.state_directory import StateDirError, resolved

STATE_DIR_VARIABLE: Final = "HOLOFS_STATE_DIR"
SOCKET_NAME: Final = "holofsd.sock"
CALLS_SOCKET_NAME: Final = "calls.sock"  # not longer than the other: fits wherever that fits
MAX_SOCKET_PATH: Final = 107
"""Bytes; `sun_path` of Linux has 108 with the closing NUL."""


def state_dir(explicit: str | None = None) -> Path:
    """The state directory, absolute.

    As told, else $HOLOFS_STATE_DIR, else $XDG_STATE_HOME/holofs, else ~/.local/state/holofs. Raises StateDirError;
    nothing is never taken for the user's own device: it is what a variable that was misspelt becomes.
    """
    variable = os.environ.get(STATE_DIR_VARIABLE)
    if explicit == "":
        raise StateDirError("--state-dir is empty: name a folder, or leave the option out.", usage=True)
    if explicit is None and variable == "":
        sentence = f"{STATE_DIR_VARIABLE} is set and empty: name a folder, or `unset {STATE_DIR_VARIABLE}`."
        raise StateDirError(sentence, usage=True)
    told = explicit or variable
    if told:
        return resolved(told)
    home = os.environ.get("XDG_STATE_HOME", "")
    # The XDG rules: a path that is not absolute counts as not set.
    base = Path(home) if os.path.isabs(home) else Path("~/.local/state").expanduser()
    return resolved(os.fspath(base / "holofs"))


def socket_path(state: Path) -> Path:
    """The daemon's socket: in the state directory, or, where that path is too long for a socket, in a directory of the
    user's own (0700, made by the daemon) whose name follows from the state directory."""
    inside = state / SOCKET_NAME
    if len(os.fsencode(inside)) <= MAX_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(state)).hexdigest()[:16]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    base = Path(runtime) if os.path.isabs(runtime) and len(os.fsencode(runtime)) < 48 else Path("/tmp")
    return base / f"holofs-{os.getuid()}-{digest}" / SOCKET_NAME


def calls_socket_beside(socket: Path) -> Path:
    """The socket of the fast lane (see `framing`) that belongs to a daemon's socket."""
    return socket.with_name(CALLS_SOCKET_NAME)


def calls_socket_path(state: Path) -> Path:
    """The socket of the fast lane of this state directory's daemon."""
    return calls_socket_beside(socket_path(state))


def socket_target(state: Path) -> str:
    """The gRPC target of the daemon of this state directory."""
    return f"unix:{socket_path(state)}"
