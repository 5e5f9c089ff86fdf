# SPDX-License-Identifier: GPL-3.0-or-later
"""`--json` of every command, with real daemons and mounts, compared with the schemas; and the example of the API."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.json_documents import DOCUMENTS
from support import json_documents
from support.device import Device, World
from support.sources import ROOT
from support.wait import until

GIVEN_ELSEWHERE = {"install", "install-dry-run", "uninstall"}
"""In `test_installing.py`, where no systemd of this machine is touched; compared with their schemas there."""


class Asked:
    """Commands with `--json` that were given, by the names of their schemas."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __call__(self, device: Device, *words: str | Path, stdin: str = "") -> Any:
        self.names.add(json_documents.name_of([str(word) for word in words]))
        return device.json(*words, stdin=stdin)


@pytest.mark.timeout(300)
def test_every_command_prints_what_its_schema_says(world: World) -> None:
    asked = Asked()
    a, b = world.device("a"), world.device("b")
    asked(a, "up")
    asked(a, "create", "docs")
    b.up()
    asked(b, "join", "-", stdin=asked(a, "share", "docs")["ticket"] + "\n")
    here, there = a.home / "docs", b.mount()
    here.mkdir()
    asked(a, "mount", "docs", here)
    _the_api(a, here)
    _conflicts(asked, (a, here), (b, there))
    _the_past(asked, a, here)
    asked(a, "export", "docs:plan", a.home / "out")
    asked(a, "import", a.home / "out", "docs:in")
    _what_only_tells(asked, a)
    _people(asked, a, b)
    asked(a, "unmount", here)
    _failures(a)
    _leaving(asked, b)
    assert asked.names == {document.name for document in DOCUMENTS} - GIVEN_ELSEWHERE


def _the_api(device: Device, mounted: Path) -> None:
    socket = device.state / "holofsd.sock"
    command = [sys.executable, str(ROOT / "examples" / "files.py"), str(socket), "docs", "hello.txt"]
    for _ in range(2):  # the file is new, then it is there
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "volume docs: ready\nhello.txt: Hello from the API.\n"
    until(lambda: (mounted / "hello.txt").read_text() == "Hello from the API.\n", "the mount to show it")


def _conflicts(asked: Asked, one: tuple[Device, Path], other: tuple[Device, Path]) -> None:
    (a, here), (b, there) = one, other
    asked(a, "wait", "docs", "--timeout", "30s")
    b.down()
    for name in ("plan", "list"):
        (here / name).write_text("of a\n")
    asked(a, "down")
    b.up()
    for name in ("plan", "list"):
        (there / name).write_text("of b\n")
    a.up()
    until(lambda: len(asked(a, "conflicts")) == 2, "both conflicts on a")
    until(lambda: all(found["here"] for found in a.json("conflicts")), "their content to be on a")
    asked(a, "diff", here / "plan")
    asked(a, "resolve", here / "plan", "--keep", "shown")
    asked(a, "resolve", "--all", "--keep", "newest")


def _the_past(asked: Asked, a: Device, here: Path) -> None:
    asked(a, "info", here / "plan")
    (here / "plan").write_text("another\n")
    until(lambda: len(asked(a, "history", here / "plan")) > 1, "the version before to be kept")
    asked(a, "restore", here / "plan")
    (here / "list").unlink()
    until(lambda: asked(a, "trash", "list", "docs"), "the file to be in the trash")
    asked(a, "trash", "restore", "docs:list")
    (here / "list").unlink()
    until(lambda: a.json("trash", "list", "docs"), "the file to be in the trash again")
    asked(a, "trash", "empty", "docs")
    asked(a, "history-policy", "docs")
    asked(a, "gc", "docs")


def _what_only_tells(asked: Asked, a: Device) -> None:
    for command in ("status", "list", "peers", "version", "fsck"):
        asked(a, command)
    for command in ("brake", "record-budget", "scrub", "members", "ignored"):
        asked(a, command, "docs")
    asked(a, "device", "name")
    asked(a, "ui", "--no-open")
    _settings(asked, a)
    asked.names |= {"doctor", "log", "events", "ping"}
    for words in (("events", "--no-wait"), ("ping", "b", "-c", "1")):
        json_documents.check(words, a.ctl(*words, "--json").out, "")
    doctor = a.ctl("doctor", "--json", check=False)  # something may be wrong with this machine
    json_documents.check(["doctor"], doctor.out, doctor.err)
    json_documents.check(["log"], a.ctl("log", "--json").out, "")


def _settings(asked: Asked, a: Device) -> None:
    for words in (("path",), ("list",), ("get", "log.level"), ("set", "log.level", "debug"), ("unset", "log.level")):
        asked(a, "config", *words)
    a.environment["EDITOR"] = "true"
    asked(a, "config", "edit")
    asked(a, "config", "reload")
    asked(a, "pause", "docs", "--for", "1h")
    asked(a, "resume")
    asked(a, "limit", "--up", "1G")


def _people(asked: Asked, a: Device, b: Device) -> None:
    a.share("docs")
    assert asked(a, "share", "--list", "docs")
    assert asked(a, "share", "--revoke", "docs", "all")
    asked(a, "members", "role", "docs", b.device_id(), "reader")
    asked(a, "members", "remove", "docs", b.device_id())
    code = asked(a, "recovery", "docs")["code"]
    asked(a, "recover", "-", stdin=code + "\n")


def _failures(a: Device) -> None:
    """An error is JSON, whatever failed: the daemon's answer, a name, or the command line itself."""
    for words, exit_code in ((("mount", "nothing", a.home), 1), (("gc", "docs", "--bad"), 2), (("frobnicate",), 2)):
        failed = a.ctl(*words, "--json", check=False)
        json_documents.check([str(word) for word in words], failed.out, failed.err)
        assert (failed.code, failed.out) == (exit_code, "")
        assert failed.err.startswith("{")


def _leaving(asked: Asked, b: Device) -> None:
    asked(b, "leave", "docs")
    b.down()
    asked(b, "device", "new-key")
