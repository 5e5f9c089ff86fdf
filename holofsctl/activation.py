# SPDX-License-Identifier: GPL-3.0-or-later
"""A daemon that a service manager starts for the first client (ADR 0014): how commands ask for it and how `down`
switches it off."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from holofs_api.activation import ACTIVATION_SOCKET_NAME, Activation, activate
from holofs_api.sockets import open_folder
from holofsctl import user_manager
from holofsctl.client import Client
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.login_files import socket_unit_name
from holofsctl.user_manager import SYSTEMCTL

_ABSENT: Final = ("not-running", "no-socket")
"""Codes of errors that say that there is a device whose daemon does not answer."""


def connect(state: Path) -> Client:
    """A connection to the daemon, which the service manager starts where it listens for clients. Raises CommandError
    (exit code 3) where no daemon runs then."""
    try:
        return Client(state)
    except CommandError as error:
        if error.code not in _ABSENT:
            raise
        match start(state):
            case Activation.ABSENT:
                raise
            case Activation.FAILED:
                raise _failed(state) from None
            case Activation.STARTED:
                return Client(state)


def start(state: Path) -> Activation:
    """Lets the service manager start the daemon, and waits for its answer. Call it where no daemon answers."""
    try:
        folder = open_folder(state)
    except (FileNotFoundError, NotADirectoryError):
        return Activation.ABSENT
    with folder:
        return activate(folder)


def _failed(state: Path) -> CommandError:
    sentence = (
        f"holofsd was not started by systemd for {state}: `journalctl --user` and log/holofsd.log in that folder say"
        " why, or start it with `holofsctl up`."
    )
    return CommandError(sentence, Exit.NOT_RUNNING, "not-running")


def switch_off(state: Path) -> str:
    """Stops listening for clients, before the daemon is stopped; without an effect where none listens.

    Returns an empty string, or the command that a person has to run where this did not work.
    """
    if not (state / ACTIVATION_SOCKET_NAME).is_socket():  # to connect would start the daemon
        return ""
    command = (*SYSTEMCTL, "stop", socket_unit_name(state))
    with suppress(CommandError):
        if user_manager.answers():
            user_manager.order(command)
            return ""
    return " ".join(command)
