# SPDX-License-Identifier: GPL-3.0-or-later
"""Session of one command: which device it asks, and where it prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holofsctl import activation
from holofsctl.client import Client
from holofsctl.output import Output


@dataclass(frozen=True, slots=True)
class CommandSession:
    state: Path
    output: Output

    def connect(self) -> Client:
        """A connection to the daemon; CommandError (exit code 3) where none runs and systemd starts none."""
        return activation.connect(self.state)

    def call(self, method: str, request: Any) -> Any:
        """Makes a call on a connection of its own."""
        with self.connect() as client:
            return client.call(method, request)
