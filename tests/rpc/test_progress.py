# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress of long commands: shown in a terminal after a while, and nowhere else."""

from __future__ import annotations

import io

import pytest

from holofsctl.progress import Progress
from support.wait import until


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal_for(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error that is a terminal. Not in a fixture: pytest sets it again after those."""
    found = Terminal()
    monkeypatch.setattr("sys.stderr", found)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return found


def test_what_takes_long_is_shown_and_taken_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    with Progress("Importing", delay_s=0) as bar:
        until(lambda: "Importing" in terminal.getvalue(), "the bar")
        bar.expect(200 << 20, is_bytes=True)
        bar.advance(100 << 20)
        bar.expect(200 << 20, is_bytes=True)
        until(lambda: "50 % of 200 MiB" in terminal.getvalue(), "how far it is")
        with Progress("within", delay_s=0):
            pass
    assert "within" not in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K"), "the line of the bar is empty"
    shown = terminal.getvalue()
    with Progress("short"):
        pass
    assert terminal.getvalue() == shown


def test_no_colour_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    with Progress("\x1b[31mred\n", delay_s=0):
        until(lambda: "red" in terminal.getvalue(), "the spinner")
    assert "\x1b[3" not in terminal.getvalue().replace("\x1b[?25", "")


def test_nothing_is_shown_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    with Progress("Importing", delay_s=0) as bar:
        bar.advance(1)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", plain := io.StringIO())
    with Progress("Importing", delay_s=0) as bar:
        bar.expect(3)
    assert (terminal.getvalue(), plain.getvalue()) == ("", "")
