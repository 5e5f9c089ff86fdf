# SPDX-License-Identifier: GPL-3.0-or-later
"""Places of a device: its state directory and the socket of its daemon, for daemon, mounts and command line alike."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from holofs_api.state_directory import StateDirError, resolved

STATE_DIR_VARIABLE: Final = "HOLOFS_STATE_DIR"
SOCKET_NAME: Final = "holofsd.sock"
CALLS_SOCKET_NAME: Final = "calls.sock"
WINDOW_PAGE: Final = "window.html"
"""Page in the state directory that leads a browser to the window; it is gone once the window is open."""
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
    return resolved(told) if told else default_state_dir()


def default_state_dir() -> Path:
    """The state directory of the user's own device, where nothing names another one. Raises StateDirError."""
    home = os.environ.get("XDG_STATE_HOME", "")
    # The XDG rules: a path that is not absolute counts as not set.
    base = Path(home) if os.path.isabs(home) else Path("~/.local/state").expanduser()
    return resolved(os.fspath(base / "holofs"))


def socket_path(state: Path) -> Path:
    """The daemon's socket, for people to read; programs reach it by `sockets.open_folder`, however long the path is."""
    return state / SOCKET_NAME


def calls_socket_beside(socket: Path) -> Path:
    """The socket of the fast lane (see `framing`) that belongs to a daemon's socket."""
    return socket.with_name(CALLS_SOCKET_NAME)
