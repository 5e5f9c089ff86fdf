# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs of holofsd that work on a state directory whose daemon does not run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from holofs_api import utf8
from holofsctl.errors import CommandError
from holofsctl.exit_codes import Exit
from holofsctl.session import CommandSession

_ALREADY_RUNNING: Final = 6
"""Their exit code where another process has the state directory."""


def run_closed(session: CommandSession, module: str, arguments: Sequence[str], busy: str) -> bytes:
    """Run a program on the closed state directory; returns what it prints.

    Raises CommandError with its sentence, or `busy` where the directory is in use.
    """
    command = [sys.executable, *utf8.MODE, "-m", module, "--state-dir", str(session.state), *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode == _ALREADY_RUNNING:
        raise CommandError(busy, Exit.FAILED, "already-running")
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise CommandError(told[-1] if told else "It ended without saying why.")
    return done.stdout
