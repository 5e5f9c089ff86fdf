# SPDX-License-Identifier: GPL-3.0-or-later
"""`status` in a real terminal: in place while it is watched, in colour where wanted, and the terminal comes back."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from holofsctl.colours import painted
from holofsctl.screen import Screen
from support.fake_device import FakeDevice

ESCAPE = re.compile(rb"\x1b\[[?0-9;]*[a-zA-Z]")
FRAME = b"\x1b[H"
GREEN_SAFE = b"\x1b[32mSafe:\x1b[0m"


def read_until(terminal: int, wanted: bytes, times: int) -> bytes:
    """Output up to the moment at which it holds `wanted` so often, or has ended."""
    said = b""
    while said.count(wanted) < times:
        try:
            said += os.read(terminal, 65536)
        except OSError:  # EIO: its last process has ended
            break
    return said


def begin(state: Path, columns: int, *words: str, **more: str) -> tuple[subprocess.Popen[bytes], int]:
    """The command in a terminal with so many columns, and our end of that."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "holofsctl.main", "--state-dir", str(state), *words],
        env={**environment, "TERM": "xterm", **more},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    return process, ours


@pytest.mark.parametrize(("columns", "ending", "code"), [(80, signal.SIGINT, 130), (40, signal.SIGTERM, 143)])
async def test_a_watched_status_stays_in_place_and_gives_the_terminal_back(
    state: Path, device: FakeDevice, columns: int, ending: signal.Signals, code: int
) -> None:
    process, terminal = begin(state, columns, "status", "--watch")
    try:
        said = await asyncio.to_thread(read_until, terminal, FRAME, 2)
        process.send_signal(ending)
        said += await asyncio.to_thread(read_until, terminal, b"\x1b[?1049l", 1)
        assert await asyncio.to_thread(process.wait, 60) == code
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert said.startswith(b"\x1b[?1049h\x1b[?25l")
    assert b"\x1b[?25h\x1b[?1049l" in said
    assert b"\x1b[2J" not in said, "an empty screen between two frames flickers"
    assert GREEN_SAFE in said
    frame = ESCAPE.sub(b"", said.split(FRAME)[1]).decode()
    assert "docs: " in frame
    assert max(len(line.rstrip("\r")) for line in frame.split("\n")) <= columns


async def test_colours_are_only_in_a_terminal_that_wants_them(state: Path, device: FakeDevice) -> None:
    for more, colourful in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        process, terminal = begin(state, 80, "status", **more)
        said = await asyncio.to_thread(read_until, terminal, b"never", 1)
        os.close(terminal)
        assert await asyncio.to_thread(process.wait, 60) == 0
        assert (GREEN_SAFE in said, b"\x1b" in said) == (colourful, colourful)
    command = [sys.executable, "-m", "holofsctl.main", "--state-dir", str(state), "status"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
    assert b"\x1b" not in done.stdout


def test_only_words_of_this_program_are_painted() -> None:
    assert painted("  Safe: everything") == "  \x1b[32mSafe:\x1b[0m everything"
    for line in ("Safe: admin, ready", "    Safe: x", "x Warning: y", "okay  x"):
        assert painted(line) == line


def test_what_has_no_room_on_the_screen_is_counted() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (3, 80))
    with open(theirs, "w") as stream:
        Screen(stream).show([str(number) for number in range(5)])
        Screen(stream).show(["a", "b", "c"])
        said = read_until(ours, b"\x1b[?2026l", 2)
    os.close(ours)
    assert ESCAPE.sub(b"", said).replace(b"\r", b"") == b"0\n1\n(3 more lines)a\nb\nc"
