# SPDX-License-Identifier: GPL-3.0-or-later
"""Ignored files on real mounts of two devices: there for programs after a crash, on no other device, and said so."""

from __future__ import annotations

import os
from pathlib import Path

from support.device import World
from support.pair import Pair
from support.wait import until


def state(path: Path) -> str:
    return os.getxattr(path, "user.holofs.state").decode()


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_what_a_rule_matches_stays_on_its_device_until_the_rule_goes(world: World) -> None:
    pair = Pair(world)
    a, here, there = pair.a, pair.here, pair.there
    (here / ".holofsignore").write_text("node_modules/\n.env\n")
    modules = here / "node_modules" / "left-pad"
    modules.mkdir(parents=True)
    (modules / "index.js").write_text("module.exports = 1\n")
    (modules / "large.bin").write_bytes(b"x" * 200_000)
    with (here / ".env").open("w") as secret:
        secret.write("KEY=1\n")
        secret.flush()
        os.fsync(secret.fileno())
    (here / "plan.txt").write_text("for all\n")
    os.link(modules / "index.js", modules / "same.js")
    (modules / "same.js").rename(here / "node_modules" / "moved.js")
    waited = a.ctl("wait", "docs", "--timeout", "30s")
    assert "everything; 3 ignored files are on this device only." in waited.err
    until(lambda: names(there) == {".holofsignore", "plan.txt"}, "b to have what is not ignored")

    found = a.volume_status()
    assert (found["ignored"], found["unpublished"]) == (3, 0)
    assert "Ignored, so only on this device: 3 files" in a.ctl("status").out
    assert (state(here / ".env"), state(modules), state(here / "plan.txt")) == ("ignored", "ignored", "published")
    listed = a.ctl("ignored", "docs")
    assert [line.split() for line in listed.out.splitlines()] == [
        [".env", "6", "bytes", ".holofsignore:2:", ".env"],
        ["node_modules/", ".holofsignore:1:", "node_modules/"],
    ]
    assert "3 ignored files" in listed.err
    assert pair.b.ctl("ignored", "docs").err == "Nothing is ignored.\n"
    told = a.json("info", here / ".env")
    assert (told["state"], told["ignored_by"]) == ("ignored", ".holofsignore:2: .env")
    assert "Rule: .holofsignore:1: node_modules/" in a.ctl("info", modules / "index.js").out
    (here / "node_modules" / "link").symlink_to("left-pad")
    for wrong in (a.home, here / "missing", here / "node_modules" / "link"):
        assert a.ctl("info", wrong, check=False).code == 2

    a.kill9_all()
    a.up()
    until(lambda: (here / ".env").exists(), "the mount to come back")
    assert (here / ".env").read_text() == "KEY=1\n"
    assert (here / "node_modules" / "moved.js").read_text() == "module.exports = 1\n"
    assert (here / "node_modules" / "moved.js").stat().st_nlink == 2
    assert (modules / "large.bin").read_bytes() == b"x" * 200_000
    (here / "node_modules" / "later.js").write_text("")
    assert state(here / "node_modules" / "later.js") == "ignored"
    assert a.json("fsck", "docs")["volumes"][0]["findings"] == []

    (here / ".holofsignore").write_text(".env\n")
    a.ctl("wait", "docs", "--timeout", "30s")
    pair_names = names(here) - {".env"}
    until(lambda: names(there) == pair_names, "b to have what is ignored no more")
    assert (there / "node_modules" / "left-pad" / "large.bin").read_bytes() == b"x" * 200_000
    assert (state(here / ".env"), a.volume_status()["ignored"]) == ("ignored", 1)
