# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that watch a folder hear of what another device does: files, folders and symlinks, for readers as well."""

from __future__ import annotations

import os
from pathlib import Path

from support.device import World
from support.inotify import Inotify
from support.trees import assert_same_tree
from support.wait import until


def heard(watch: Inotify, *wanted: tuple[str, str]) -> None:
    until(lambda: set(wanted) <= set(watch.events()), f"{wanted} to be heard")


def change_all(folder: Path) -> None:
    (folder / "edited").write_text("as it is now")
    (folder / "moved").rename(folder / "here")
    (folder / "removed").unlink()
    (folder / "gone").rmdir()
    (folder / "made").mkdir()
    (folder / "link").symlink_to("edited")
    (folder / "program").write_text("#!/bin/sh\n")
    (folder / "program").chmod(0o755)


def test_what_another_device_does_is_heard_once_and_changes_nothing(world: World) -> None:
    a, b = world.running("a", "b")
    a.create()
    b.join(a.share("docs", "--read-only"))
    here, there = a.mount() / "folder", b.mount() / "folder"
    here.mkdir()
    for name in ("edited", "moved", "removed"):
        (here / name).write_text("as it was")
    (here / "gone").mkdir()
    until(lambda: there.is_dir() and len(os.listdir(there)) == 4, "the folder")
    until(lambda: (there / "edited").read_text() == "as it was", "its content")
    with Inotify(there) as watch:
        change_all(here)
        heard(watch, ("modify", "edited"), ("close_write", "edited"), ("delete", "moved"), ("create", "here"))
        heard(watch, ("delete", "removed"), ("delete", "gone"), ("create", "made"), ("create", "link"))
        heard(watch, ("create", "program"))
        until(lambda: _same(here, there), "both to show the same")
        made = [name for what, name in watch.events() if what == "create"]
        assert len(made) == len(set(made)), made
    until(lambda: a.is_settled() and b.is_settled(), "both to rest")


def _same(here: Path, there: Path) -> bool:
    assert_same_tree(here, there)
    return True
