# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders made, moved and removed on two devices that are apart, by the tools that people use (issue 12, 4)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from support.device import World
from support.pair import Pair
from support.trees import contents


def write(root: Path, text: str, *names: str) -> None:
    for name in names:
        root.joinpath(name).parent.mkdir(exist_ok=True)
        root.joinpath(name).write_text(text)


def run(root: Path, *command: str) -> None:
    subprocess.run(command, cwd=root, check=True, timeout=60)


def on_a(root: Path) -> None:
    run(root, "mkdir", "New")
    run(root, "mv", "New", "Photos")
    write(root, "a", "Photos/a")
    run(root, "rm", "-rf", "feat")
    write(root, "anew", "feat/0", "feat/1", "feat/2")
    run(root, "mv", "d/s", "s")
    os.rename(root / "over", root / "empty")
    write(root, "a", "both/a")


def on_b(root: Path) -> None:
    run(root, "mkdir", "New")
    run(root, "mv", "New", "Music")
    write(root, "b", "Music/b")
    write(root, "edited", "feat/1")
    run(root, "rm", "-rf", "d")
    write(root, "b", "empty/b")
    write(root, "b", "both/b")


def test_folders_are_what_people_mean_by_them(world: World) -> None:
    pair = Pair(world)
    write(pair.here, "first", "feat/0", "feat/1", "feat/2", "d/x", "over/x")
    shutil.copytree(pair.here / "feat", pair.here / "d/s")
    pair.here.joinpath("empty").mkdir()
    pair.together()
    pair.apart(on_a, on_b)
    shown = contents(pair.here)
    copies = [name for name in shown if "conflict" in name]
    assert len(copies) == 1
    assert copies[0].startswith("feat/1 (conflict ")
    assert {shown.pop(copies[0]), shown.pop("feat/1")} == {b"anew", b"edited"}
    assert {name: data for name, data in shown.items() if data is not None} == {
        "Photos/a": b"a",
        "Music/b": b"b",
        "feat/0": b"anew",
        "feat/2": b"anew",
        "s/0": b"first",
        "s/1": b"first",
        "s/2": b"first",
        "empty/x": b"first",
        "empty/b": b"b",
        "both/a": b"a",
        "both/b": b"b",
    }
    assert {path.name for path in pair.here.iterdir()} == {"Photos", "Music", "feat", "s", "empty", "both"}
    assert [found["shown_path"] for found in pair.a.json("conflicts")] == ["feat/1"]

    # What is one folder now is one to everybody: renamed and removed as a whole, with the shell that stands in it.
    standing = os.open(pair.there / "both", os.O_RDONLY | os.O_DIRECTORY)
    try:
        run(pair.here, "mv", "both", "one")
        pair.together()
        assert sorted(os.listdir(standing)) == ["a", "b"]
        run(pair.there, "rm", "-r", "one")
        pair.together()
        assert not pair.here.joinpath("one").exists()
        assert not pair.here.joinpath("both").exists()
    finally:
        os.close(standing)
    pair.a.ctl("restore", pair.here / "one")
    pair.together()
    assert sorted(os.listdir(pair.there / "one")) == ["a", "b"]
