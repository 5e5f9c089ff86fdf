# SPDX-License-Identifier: GPL-3.0-or-later
"""Mistakes of a first-time user, made from the parser: every command with every argument wrong in every way.

Each gives one sentence on standard error and a documented exit code; none a traceback, an internal error or data.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from holofsctl.parser import build
from support.device import Device, World

LONG = "x" * 5000
BINARY = os.fsdecode(b"\xff\xfe\x80")
CONTROL = "\x1b[31mred\x07"
TEXT = ("", LONG, BINARY, CONTROL)
NAMES = ("nowhere", "../docs", ".", *TEXT)
NUMBERS = ("-1", "99999999999999999999", "x", "", "1e3", "1.5", "٣", BINARY)
DURATIONS = ("soon", "-5", "99999999999d", "", "1.5h", "5 m", CONTROL, BINARY)
TIMES = ("2099-01-01", "yesteryear", "", "0000-00-00", "25:99", "1000000y", "1900-01-01", BINARY)
SECRETS = ("junk", "holofs1", "holofs1aaaaaaaa", "holofs-recovery-1-abc", "-", *TEXT)
WRONG: dict[str, Sequence[str]] = {
    "NAME": NAMES,
    "N": NUMBERS,
    "P": NUMBERS,
    "T": DURATIONS,
    "TIME": TIMES,
    "TICKET|-": SECRETS,
    "CODE|-": SECRETS,
    "NEW": (".", "-x", "a/b", "f" * 64, "deadbeef", *TEXT),
    "COPY": ("nobody", *TEXT),
    "ID": ("nothing", "zz", *TEXT),
    "DIR": ("",),
    "VALUE": ("bogus", *TEXT),
    "ADDRESS:PORT": ("nowhere", "1.2.3.4", "1.2.3.4:99999", *TEXT),
    "default|none": ("maybe", *TEXT),
    "URLS": ("relay", "https://x,y", *TEXT),
    "LEVEL": ("loud", *TEXT),
    "FOLDER": (BINARY,),
    "COMMAND": ("nothing", *TEXT),
    "DEVICE": ("nobody", *TEXT),
    "TOKEN": ("nothing", "0-", "00000000-x", *TEXT),
    "LINE": ("",),
    "DEVICE[@ADDRESS]": ("nobody", "nobody@1.2.3.4:5", *TEXT),
    "shown|copy|both|newest|DEVICE": ("device:", *TEXT),
    "role DEVICE reader|writer|admin | remove DEVICE": ("nothing", "role", "remove", *TEXT),
}
RIGHT = {
    "NAME": "docs",
    "DEVICE": "nobody",
    "TICKET|-": "holofs1aaaaaaaa",
    "CODE|-": "holofs-recovery-1-abc",
    "NEW": "laptop",
    "N": "3",
    "P": "3",
    "T": "1h",
    "TIME": "1m",
    "bash|zsh|fish": "bash",
    "KEY": "log.level",
    "VALUE": "debug",
}
RUN_WITHOUT_DAEMON = {
    ("up",),
    ("down",),
    ("doctor",),
    ("fsck",),
    ("help",),
    ("device", "new-key"),
    ("version",),
    ("completion",),
    ("install",),
    ("uninstall",),
    *(("config", action) for action in ("list", "get", "set", "unset", "edit", "path")),
}


def commands(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not nested:
        yield words, parser
    for action in nested:
        for name, inner in action.choices.items():
            yield from commands(inner, (*words, name))


def arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Options that take a value."""
    return [action for action in parser._actions if action.nargs != 0 and action.dest != "help"]


class Mistakes:
    def __init__(self, device: Device, folder: Path) -> None:
        self.folder = folder
        outside = device.home / "outside"
        outside.mkdir()
        outside.joinpath("file").write_text("mine")
        folder.joinpath("file").write_text("1")
        folder.joinpath("sub").mkdir()
        self.paths = (
            "/nowhere",
            "nope/x",
            str(outside),
            str(outside / "file"),
            str(outside / "file" / "below"),
            "nowhere:x",
            "/dev/null",
            *TEXT,
        )
        self.inside = (str(folder / "missing"), str(folder / "file" / "below"), "docs:missing", "docs:" + LONG)

    def wrong(self, words: tuple[str, ...], action: argparse.Action) -> Sequence[str]:
        if action.choices is not None:
            return ("bogus", *TEXT)
        what = _metavar(action)
        if words == ("help",) and action.dest == "state_dir":
            return ()
        if words == ("create",):
            return ("docs", *NAMES[1:])
        if what in WRONG:
            return WRONG[what]
        if words == ("unmount",):
            return (*self.paths, str(self.folder / "sub"))
        if words == ("mount",):
            return (*self.paths, str(self.folder))
        listing = words[0] in ("conflicts", "trash") and words != ("trash", "restore")
        return self.paths if listing or action.dest == "to" else (*self.paths, *self.inside)

    def right(self, action: argparse.Action) -> str:
        return RIGHT.get(_metavar(action), str(self.folder / "file"))

    def of(self, words: tuple[str, ...], parser: argparse.ArgumentParser) -> Iterator[list[str]]:
        positional = [action for action in arguments(parser) if not action.option_strings]
        required = [self.right(action) for action in positional if action.nargs not in ("?", "*")]
        yield [*words, *required, "--bogus"]
        if not any(action.nargs == "*" for action in positional):
            yield [*words, *(self.right(action) for action in positional), "one-too-many"]
        if required:
            yield [*words, *required[:-1]]
        for action in arguments(parser):
            for value in self.wrong(words, action):
                if action.option_strings:
                    name = action.option_strings[0]
                    values = [value, value] if action.nargs == 2 else [value]
                    yield (
                        [*words, *required, name, *values]
                        if value[:1] != "-"
                        else [*words, *required, f"{name}={value}"]
                    )
                else:
                    yield [
                        *words,
                        *(
                            value if other is action else self.right(other)
                            for other in positional
                            if other is action or other.nargs not in ("?", "*")
                        ),
                    ]


def _metavar(action: argparse.Action) -> str:
    return action.metavar if isinstance(action.metavar, str) else "NAME"


def complaint(device: Device, words: Sequence[str], codes: Sequence[int] = (1, 2, 3, 4, 5)) -> str:
    """Complaint about how the command took it; empty if nothing is."""
    done = device.ctl(*words, check=False, timeout=60)
    shown = " ".join(repr(word if len(word) < 100 else word[:20] + "...") for word in words)
    if done.code not in codes:
        return f"{shown}: exit code {done.code}: {done.out[:200]!r} {done.err[:200]!r}"
    reasons = [line for line in done.err.splitlines() if line.startswith("holofsctl: ")]
    if len(reasons) != 1 or not done.err.endswith(reasons[0] + "\n"):
        return f"{shown}: not one sentence at the end: {done.err[:300]!r}"
    if done.out or "internal error" in done.err.lower() or "\x1b" in done.err:
        return f"{shown}: {done.out[:200]!r} {done.err[:300]!r}"
    if not re.fullmatch(r"holofsctl: [^a-z].*[.?]|holofsctl: (holofsd|nowhere|nope|docs|x{60}|--).*[.?]", reasons[0]):
        return f"{shown}: no sentence: {reasons[0][:300]!r}"
    return ""


@pytest.mark.timeout(300)
def test_every_command_says_in_one_sentence_what_was_wrong(world: World) -> None:
    (device,) = world.running("a")
    device.create()
    mistakes = Mistakes(device, device.mount())
    tried = [words for command, parser in commands(build()) for words in mistakes.of(command, parser)]
    assert len(tried) > 500
    complaints = [found for words in tried if (found := complaint(device, words))]
    assert not complaints, "\n".join(complaints)
    assert [volume["name"] for volume in device.json("list")] == ["docs"]


@pytest.mark.timeout(120)
def test_every_command_without_a_daemon_says_so(world: World) -> None:
    device = world.device("a")
    mistakes = Mistakes(device, device.home)
    for words, parser in commands(build()):
        if words not in RUN_WITHOUT_DAEMON:
            positional = [action for action in arguments(parser) if not action.option_strings and action.nargs != "*"]
            done = complaint(device, [*words, *(mistakes.right(action) for action in positional)], (3,))
            assert not done
    assert not device.state.exists()


@pytest.mark.timeout(120)
def test_a_state_directory_that_is_none_is_refused_by_every_command(world: World) -> None:
    device = world.device("a")
    mistakes = Mistakes(device, device.home)
    file = device.home / "a file"
    file.write_text("mine")
    for words, parser in commands(build()):
        positional = [action for action in arguments(parser) if not action.option_strings and action.nargs != "*"]
        given = [*words, *(mistakes.right(action) for action in positional), "--state-dir"]
        if words[0] not in ("down", "help", "doctor", "completion"):
            assert not complaint(device, [*given, str(file)])
            assert not complaint(device, [*given, "/dev/null"])
    assert file.read_text() == "mine"
