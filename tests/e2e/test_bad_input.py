# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input: one sentence on standard error, an exit code, no traceback, and nothing changed."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from support.device import BIN, Device, Result, World
from support.trees import names
from support.wait import until


def refused(device: Device, *arguments: str | Path, stdin: str = "") -> Result:
    """The command fails with one sentence (`ctl` itself fails on a traceback)."""
    result = device.ctl(*arguments, stdin=stdin, check=False)
    assert result.code != 0, result.out
    assert result.out == ""
    # Remarks about progress may come before; the reason is the last line, and one line.
    reasons = [line for line in result.err.splitlines() if line.startswith("holofsctl")]
    assert len(reasons) == 1, result.err
    assert result.err.rstrip("\n").endswith(reasons[0])
    assert len(reasons[0]) > 30, result.err
    return result


def test_a_ticket_that_is_none_is_refused_and_changes_nothing(world: World) -> None:
    a, b = world.running("a", "b")
    a.create()
    ticket = a.share()
    flipped = ticket[:-5] + ("b" if ticket[-5] != "b" else "c") + ticket[-4:]
    for bad in (
        "",
        "garbage",
        "holofs1",
        "holofs1aaaaaaaa",
        ticket[:-10],
        ticket[10:],
        flipped,
        "holofs1\x00",
        "é" * 50,
    ):
        if "\x00" not in bad:
            assert bad == "" or bad not in refused(b, "join", bad).err or len(bad) < 20, "the ticket is repeated"
        refused(b, "join", "-", stdin=bad + "\n")
    assert b.json("list") == []
    assert len(a.json("members", "docs")) == 1


def test_a_ticket_works_as_often_as_it_says(world: World) -> None:
    a, b, c, d = world.running("a", "b", "c", "d")
    a.allowed.append("an invite was refused")
    a.create()
    ticket = a.share("docs", "--uses", "2")
    b.join(ticket)
    c.join(ticket)
    refused(d, "join", ticket)
    assert len(a.json("members", "docs")) == 3
    assert d.json("list") == []


def test_an_expired_ticket_is_refused(world: World) -> None:
    a, b = world.running("a", "b")
    a.allowed.append("an invite was refused")
    a.create()
    ticket = a.share("docs", "--expires", "1s")
    born = os.times().elapsed
    until(lambda: os.times().elapsed > born + 1.5, "the ticket to expire")
    refused(b, "join", ticket)
    assert len(a.json("members", "docs")) == 1


def test_words_that_make_no_command_are_refused(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    for words in (
        ["frobnicate"],
        ["share"],
        ["share", "nowhere"],
        ["share", "docs", "--expires", "soon"],
        ["share", "docs", "--uses", "-1"],
        ["members", "nowhere"],
        ["members", "docs", "role", "nobody", "admin"],
        ["leave", "nowhere"],
        ["status", "nowhere"],
        ["unmount", "/nowhere"],
        ["create", "docs"],
        ["create", ""],
        ["create", "a/b"],
        ["create", "x" * 300],
    ):
        result = a.ctl(*words, check=False)
        assert result.code != 0, words
        assert result.err.strip(), words
    assert [volume["name"] for volume in a.json("list")] == ["docs"]


def test_a_mount_path_has_to_be_an_empty_directory_that_is_not_mounted(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    refused(a, "mount", "docs", a.home / "missing")
    full = a.home / "full"
    full.mkdir()
    full.joinpath("file").write_text("mine")
    refused(a, "mount", "docs", full)
    refused(a, "mount", "docs", full / "file")
    assert full.joinpath("file").read_text() == "mine"
    mounted = a.mount()
    refused(a, "mount", "docs", mounted)
    refused(a, "mount", "nowhere", mounted)
    refused(a, "mount", "docs", a.state)
    mounted.joinpath("file").write_text("still works")
    assert len(a.status()["mounts"]) == 1


def test_names_that_no_filesystem_takes_are_refused_and_odd_ones_travel(world: World) -> None:
    a, b = world.sharing("a", "b")
    here, there = os.fsencode(a.mount()), os.fsencode(b.mount())
    with pytest.raises(OSError) as caught:
        open(here + b"/" + b"x" * 256, "wb").close()
    assert caught.value.errno == errno.ENAMETOOLONG
    odd = [
        b"x" * 255,
        b"\xff\xfe not utf-8",
        b"new\nline",
        "ünï ☃".encode(),
        b" ",
        b"-rf",
        b"a\\b",
        b"con.txt.",
        b"\x01",
    ]
    for name in odd:
        with open(here + b"/" + name, "wb") as file:
            file.write(name)
    until(lambda: set(os.listdir(there)) == set(odd), "odd names to reach the other device")
    for name in odd:
        with open(there + b"/" + name, "rb") as file:
            assert file.read() == name


def test_a_second_daemon_on_one_state_directory_says_so_and_disturbs_nothing(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    here = a.mount()
    pid = a.daemon_pid()
    done = subprocess.run([BIN / "holofsd"], env=a.environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
    here.joinpath("file").write_text("still works")
    assert a.daemon_pid() == pid


def test_without_a_daemon_every_command_says_how_to_start_one(world: World) -> None:
    a = world.device("a")
    for words in (["status"], ["list"], ["create", "docs"], ["share", "docs"], ["mount", "docs", a.home], ["peers"]):
        assert "holofsctl up" in refused(a, *words).err
    assert a.pids() == []


def test_without_dev_fuse_a_mount_says_what_is_missing(world: World) -> None:
    a = world.device("a")
    a.allowed.append("fuse|mount")
    a.start_daemon(prefix=_without_dev_fuse(a.home / "dev"))
    a.create()
    target = a.home / "docs"
    target.mkdir()
    assert "/dev/fuse" in refused(a, "mount", "docs", target).err
    assert a.status()["mounts"] == []


def _without_dev_fuse(dev: Path) -> list[str]:
    """The beginning of a command that runs the rest of it with a /dev that has what Python needs and nothing else."""
    dev.mkdir()
    kept = ("null", "zero", "random", "urandom")
    binds = "; ".join(f'touch "{dev}/{name}"; mount --bind /dev/{name} "{dev}/{name}"' for name in kept)
    # `exec "$@"` ends the script, so that the daemon is the process that was started.
    script = f'set -e; {binds}; mount --rbind "{dev}" /dev; exec "$@"'
    as_root = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *as_root, "--mount", "sh", "-c", script, "sh"]


def test_a_state_directory_that_cannot_be_used_is_refused(world: World) -> None:
    a = world.device("a")
    a.state.write_text("a file, not a directory")
    refused(a, "up")
    assert a.state.read_text() == "a file, not a directory"
    assert a.pids() == []


def test_the_state_directory_is_its_owners_alone(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    assert a.state.stat().st_mode & 0o777 == 0o700
    for path in a.state.rglob("*"):
        if path.name.endswith((".key", ".sock")):
            assert path.stat().st_mode & 0o777 == 0o600, path
    assert names(a.state)
