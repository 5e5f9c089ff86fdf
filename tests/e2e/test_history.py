# SPDX-License-Identifier: GPL-3.0-or-later
"""Replaced and removed files, of this device or others, come back through holofsctl."""

from __future__ import annotations

import os
import shutil
import stat
import time
from datetime import datetime
from pathlib import Path

import pytest

from support.device import Device, World
from support.trees import contents, names
from support.wait import until

OLD, NEW = b"old " * 50_000, b"new " * 50_000


def published(device: Device) -> None:
    until(device.is_settled, "everything to be published")


def versions(device: Device, path: Path | str) -> list[tuple[int, bool, bool]]:
    found = device.json("history", path)
    return [(version["size"], version["replaced_ms"] > 0, version["here"]) for version in found]


def test_a_version_replaced_on_another_device_comes_back_on_both(world: World) -> None:
    a, b = world.sharing("a", "b")
    here, there = a.mount(), b.mount()
    (here / "report").write_bytes(OLD)
    published(a)
    until(lambda: contents(there) == {"report": OLD}, "b to have it")
    (there / "report").write_bytes(NEW)
    until(lambda: contents(here) == {"report": NEW}, "a to have the new version")
    assert versions(a, here / "report") == [(len(NEW), False, True), (len(OLD), True, True)]
    old = a.json("history", "docs:report")[1]
    assert (old["device"], old["shown"]) == ("a", False)

    restored = a.json("restore", here / "report", "--version", old["id"])
    assert restored == [{"schema": 1, "path": "report", "what": "restored", "why": ""}]
    until(lambda: (here / "report").read_bytes() == OLD, "a to show what it restored")
    until(lambda: contents(there) == {"report": OLD}, "b to have the old version again")
    assert a.ctl("restore", here / "report", "--to", here / "other" / "copy").out == "other/copy\n"
    until(lambda: (here / "other" / "copy").read_bytes() == NEW, "a to show what it restored beside")


def test_a_removed_folder_comes_back_everywhere(world: World) -> None:
    a, b = world.sharing("a", "b")
    here, there = a.mount(), b.mount()
    (here / "photos" / "summer").mkdir(parents=True)
    for name in ("one", "summer/two", "summer/three"):
        (here / "photos" / name).write_bytes(name.encode() * 10_000)
    published(a)
    until(lambda: contents(there) == contents(here), "b to have all")
    before = contents(here)
    shutil.rmtree(there / "photos")
    until(lambda: names(here) == set(), "a to have seen it go, with its folders")
    for device in (a, b):
        (item,) = device.json("trash", "list", "docs")
        assert (item["path"], item["kind"], item["files"], item["here"]) == ("photos", "directory", 3, True)
    assert "photos" in a.ctl("trash", "list", "docs").out
    a.ctl("restore", here / "photos")
    until(lambda: contents(here) == before, "a to have it back")
    until(lambda: contents(there) == before, "b to have it back")
    until(lambda: a.json("trash", "list", "docs") == b.json("trash", "list", "docs") == [], "no trash")


def test_trash_is_emptied_and_its_room_given_back(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    here = a.mount()
    (here / "big").write_bytes(OLD)
    (here / "kept").write_bytes(NEW)
    published(a)
    (here / "big").unlink()
    assert a.json("trash", "empty", "docs", "--older", "1d") == {"schema": 1, "files": 0, "bytes": 0}
    assert a.json("gc", "docs", "--now")["files"] == 0
    assert a.json("trash", "empty", here / "big") == {"schema": 1, "files": 1, "bytes": len(OLD)}
    waits = a.json("gc", "docs")
    assert (waits["files"], waits["waiting"]) == (0, 1)
    done = a.json("gc", "docs", "--now")
    assert (done["files"], done["bytes"]) == (1, len(OLD))
    assert a.ctl("restore", here / "big", check=False).code == 1
    assert contents(here) == {"kept": NEW}


def test_how_long_history_is_kept_is_said_and_changed(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    here = a.mount()
    for text in ("one", "two"):
        (here / "a").write_text(text)
        published(a)
    told = a.volume_status()["history"]
    assert 0 < told.pop("max_bytes") == a.status()["space"]["history_max_bytes"]
    assert told == {
        "all_seconds": 2592000,
        "daily_seconds": 31536000,
        "versions": 1,
        "bytes": 3,
        "trash_bytes": 0,
        "garbage_bytes": 0,
        "own_max": False,
    }
    assert "every version for 30 days, then one a day for 365 days" in a.ctl("status").out
    changed = a.json("history-policy", "docs", "--all", "0", "--daily", "0")
    assert (changed["all_seconds"], changed["versions"]) == (0, 0)
    assert a.ctl("history-policy", "docs", "--all", "2d", check=False).code == 2
    assert a.ctl("history-policy", "docs", "--daily", "7d").out == "one a day for 7 days\n"


def test_history_and_trash_keep_within_the_size_that_is_set(world: World) -> None:
    (a,) = world.running("a")
    for name in ("docs", "photos"):
        a.create(name)
    docs, photos = a.mount("docs"), a.mount("photos")
    for number in range(10):
        (docs / "a").write_bytes(b"%04d" % number * 50_000)
        (photos / f"{number}").write_bytes(b"%04d" % number * 50_001)
        until(lambda: a.is_settled("docs") and a.is_settled("photos"), "both to be published")
    for number in range(10):
        (photos / f"{number}").unlink()
    until(lambda: a.volume_status("photos")["history"]["trash_bytes"] == 10 * 200_004, "the trash to be counted")
    assert a.volume_status("docs")["history"]["bytes"] == 9 * 200_000
    space = a.status()["space"]
    assert (space["refused"], space["history_used_bytes"]) == (False, 9 * 200_000 + 10 * 200_004)
    assert "at most" in a.ctl("status").out

    # One volume has a size of its own, which acts at once; the other shares what the device keeps.
    own = a.json("history-policy", "docs", "--max", "1M")
    assert (own["own_max"], own["max_bytes"]) == (True, 1 << 20)
    assert own["bytes"] + own["trash_bytes"] <= 1 << 20
    assert a.volume_status("photos")["history"]["trash_bytes"] == 10 * 200_004
    shared = a.json("history-policy", "--max", "500k")
    assert (shared["own_max"], shared["max_bytes"]) == (True, 500 << 10)
    assert a.volume_status("photos")["history"]["trash_bytes"] == 2 * 200_004
    assert len(a.json("trash", "list", "photos")) == 2
    content = a.state / "volumes"
    until(lambda: _content_bytes(content) <= 200_000 * (1 + 5) + 200_004 * 2, "the room to be given back")
    # And what comes next keeps within it by itself.
    for number in range(10, 20):
        (docs / "a").write_bytes(b"%04d" % number * 50_000)
        until(lambda: a.is_settled("docs"), "it to be published")
    until(lambda: a.volume_status("docs")["history"]["bytes"] <= 1 << 20, "history to be let go")
    assert (docs / "a").read_bytes() == b"0019" * 50_000
    assert not a.json("history-policy", "docs", "--max", "auto")["own_max"]
    assert a.json("history-policy", "--max", "auto")["max_bytes"] > 1 << 20
    for wrong in (("docs", "--max", "much"), ("docs", "--max", "-1"), ("docs", "--max", "12"), ("--all", "1d")):
        assert a.ctl("history-policy", *wrong, check=False).code == 2, wrong


def _content_bytes(volumes: Path) -> int:
    return sum(path.stat().st_size for path in volumes.glob("*/content/*/*"))


def test_a_removed_folder_comes_back_with_its_hard_links(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    here = a.mount()
    (here / "d").mkdir()
    (here / "kept").write_bytes(OLD)
    os.link(here / "kept", here / "d" / "a")
    (here / "d" / "b").write_bytes(NEW)
    os.link(here / "d" / "b", here / "d" / "c")
    published(a)
    before = contents(here)
    shutil.rmtree(here / "d")
    a.ctl("restore", here / "d")
    until(lambda: contents(here) == before, "the folder to be back")
    assert (here / "d" / "a").stat().st_ino == (here / "kept").stat().st_ino
    assert (here / "d" / "b").stat().st_nlink == 2


def test_what_cannot_be_done_is_said_in_one_sentence(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    here = a.mount()
    for arguments in (
        ("history", here / "nothing"),
        ("history", here),
        ("restore", here / "nothing"),
        ("restore", here / "nothing", "--at", "2001-01-01"),
        ("restore", here / "nothing", "--at", "someday"),
        ("restore", "/tmp/elsewhere"),
        ("trash",),
        ("trash", "list", "nowhere"),
        ("gc", "nowhere"),
        ("history-policy", "nowhere"),
    ):
        told = a.ctl(*arguments, check=False)
        assert told.code != 0, arguments
        assert len(told.err.strip().splitlines()) == 1, told.err


def test_the_volume_is_shown_as_it_was(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    here = a.mount()
    (here / "d").mkdir()
    (here / "d" / "small").write_text("old")
    (here / "d" / "large").write_bytes(OLD)
    published(a)
    before = contents(here)
    at = a.json("history", here / "d" / "large")[0]["written_ms"] / 1000 + 0.5
    then = datetime.fromtimestamp(at).isoformat(" ")
    until(lambda: time.time() > at, "that moment to be over")
    (here / "d" / "small").write_text("new")
    shutil.rmtree(here / "d")
    (here / "later").write_text("later")
    assert os.listdir(here) == ["later"]
    past = here / ".holofs" / "at" / then
    assert contents(past) == before
    assert os.listdir(here) == ["later"]
    assert os.listdir(here / ".holofs") == ["at"]
    with pytest.raises(OSError, match="Read-only"):
        (past / "d" / "small").write_text("no")
    # What a mount knows well enough elsewhere, it asks the daemon for here.
    assert {entry.name for entry in os.scandir(past / "d") if entry.stat()} == {"small", "large"}
    for change in (
        lambda: (past / "d" / "new").write_text("no"),
        lambda: (past / "d" / "small").unlink(),
        lambda: (past / "d" / "small").chmod(0o600),
    ):
        with pytest.raises(OSError, match="Read-only"):
            change()
    shutil.copytree(past / "d", here / "d")
    assert contents(here / "d") == contents(past / "d")


@pytest.mark.parametrize("binding", ["pyfuse3", "fusepy"])
def test_a_mount_of_a_time_stays_as_it_was(world: World, binding: str) -> None:
    (a,) = world.running("a")
    a.create()
    here = a.mount()
    (here / "d").mkdir()
    (here / "d" / "small").write_text("old")
    (here / "d" / "large").write_bytes(OLD)
    (here / "d" / "small").chmod(0o640)
    os.setxattr(here / "d" / "small", "user.colour", b"red")
    published(a)
    before = contents(here)
    at = a.json("history", here / "d" / "large")[0]["written_ms"] / 1000 + 0.5
    until(lambda: time.time() > at, "that moment to be over")
    then = datetime.fromtimestamp(at).isoformat(" ")
    past = a.mount("docs", "--at", then, "--binding", binding)
    (here / "d" / "small").write_text("new")
    shutil.rmtree(here / "d")
    assert contents(past) == before
    small = past / "d" / "small"
    assert (stat.S_IMODE(small.stat().st_mode), os.getxattr(small, "user.colour")) == (0o640, b"red")
    with pytest.raises(OSError, match="Read-only"):
        (past / "new").write_text("no")
    with (past / "d" / "large").open("rb", buffering=0) as opened:
        a.kill9_daemon()
        a.up()
        assert opened.read(len(OLD)) == OLD
    (mount,) = [mount for mount in a.status()["mounts"] if mount["path"] == str(past)]
    assert (mount["at_ms"], mount["read_only"]) == (int(at * 1000), True)
    a.down()
    a.up()
    assert contents(past) == before
    a.unmount(past)


def test_content_let_go_here_comes_from_the_history_and_the_trash_of_another_device(world: World) -> None:
    a, b = world.sharing("a", "b")
    here, there = a.mount(), b.mount()
    (here / "report").write_bytes(OLD)
    until(lambda: contents(there) == {"report": OLD}, "b to have it")
    (here / "report").write_bytes(NEW)
    until(lambda: contents(there) == {"report": NEW}, "b to have the new version")
    # As if the content of the old version had never come here.
    b.ctl("history-policy", "docs", "--all", "0", "--daily", "0")
    b.ctl("gc", "docs", "--now")
    assert versions(b, there / "report") == [(len(NEW), False, True)]
    assert versions(a, here / "report") == [(len(NEW), False, True), (len(OLD), True, True)]
    a.ctl("restore", here / "report")
    until(lambda: contents(there) == {"report": OLD}, "b to have fetched the old version from a's history")
    (there / "report").unlink()
    until(lambda: contents(here) == {}, "a to have seen it go")
    b.ctl("trash", "empty", "docs")
    b.ctl("gc", "docs", "--now")
    assert b.json("trash", "list", "docs") == []
    a.ctl("restore", here / "report")
    until(lambda: contents(there) == {"report": OLD}, "b to have fetched it from a's trash")
