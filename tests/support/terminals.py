# SPDX-License-Identifier: GPL-3.0-or-later
"""Terminals of any width that commands print to, as a person reads them."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from support import commands
from support.device import BIN, Device

Start = Callable[[list[bytes], dict[str, str], int], None]
"""Runs a command in a terminal, until it has ended."""


def new_process(words: list[bytes], environment: dict[str, str], terminal: int) -> None:
    """Run the command as a person starts it."""
    command = [os.fsencode(BIN / "holofsctl"), *words]
    subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, timeout=60, check=False
    )


def fork(words: list[bytes], environment: dict[str, str], terminal: int) -> None:
    """Run the command without the wait for a new Python."""
    commands.run([os.fsdecode(word) for word in words], environment, b"", 60, terminal=terminal)


def in_terminal(device: Device, words: list[bytes], columns: int, start: Start = new_process, **more: str) -> bytes:
    """Output of the command, data and remarks, in a terminal of so many columns."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    # dumb: what takes longer than a second shows no bar, which would be taken away again by an escape.
    environment = {**device.environment, "NO_COLOR": "1", "TERM": "dumb", **more}
    with ThreadPoolExecutor(1) as beside:
        done = beside.submit(start, words, environment, theirs)
        done.add_done_callback(lambda _: os.close(theirs))
        said = b""
        while piece := _read(ours):
            said += piece
    done.result()
    os.close(ours)
    return said


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: its last process has ended
        return b""


def columns_of(line: str) -> int:
    """Columns of a text, as a terminal counts them."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in line)
    return len(line) + wide - sum(bool(unicodedata.combining(character)) for character in line)
