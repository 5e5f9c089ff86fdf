# SPDX-License-Identifier: GPL-3.0-or-later
"""A real tree, copied into one mount, is the same on the other device: the Python standard library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from support.device import World
from support.trees import assert_same_tree, names
from support.wait import until


def _standard_library(target: Path) -> Path:
    """A copy with several thousand files, and with the symlinks and modes that the library itself lacks."""
    source = Path(sysconfig.get_paths()["stdlib"])
    # The library's own tests are more than all the rest, and some systems pack them separately: caches are everywhere.
    other = ("site-packages", "dist-packages", "*.a", "config-*", "test", "tests", "*.opt-?.pyc")
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*other))
    odd = target / "odd"
    odd.mkdir()
    odd.joinpath("script").write_text("#!/bin/sh\n")
    for name, mode in (("script", 0o755), ("secret", 0o600), ("read-only", 0o444), ("sticky", 0o1777)):
        odd.joinpath(name).touch()
        odd.joinpath(name).chmod(mode)
    odd.joinpath("to-file").symlink_to("script")
    odd.joinpath("to-directory").symlink_to("../json")
    odd.joinpath("to-nothing").symlink_to("/nowhere/at all")
    odd.joinpath("empty directory").mkdir(mode=0o700)
    os.utime(odd / "script", ns=(1, 981_173_106_123_456_789))
    return target


@pytest.mark.timeout(420)
def test_the_standard_library_copied_into_one_mount_is_the_same_on_the_other(world: World) -> None:
    original = _standard_library(world.root / "original")
    assert len(names(original)) > 1500
    a, b = world.sharing("a", "b")
    here, there = a.mount(), b.mount()

    subprocess.run(["cp", "-a", original, here / "lib"], check=True)
    assert_same_tree(original, here / "lib")

    count = len(names(here))
    until(lambda: len(names(there)) == count, "every name to reach b", seconds=240, every=0.5)

    def is_same() -> bool:
        assert_same_tree(here / "lib", there / "lib")
        return a.is_settled() and b.is_settled()

    until(is_same, "b to have everything, with the modes and times that came last", seconds=120, every=0.2)
    subprocess.run(["diff", "-r", "--no-dereference", original, there / "lib"], check=True)

    b.ctl("brake", "docs", "--off")  # this much gone at once would wait for a word
    subprocess.run(["rm", "-rf", here / "lib"], check=True)
    until(lambda: names(there) == set(), "everything to be gone on b", seconds=120, every=0.3)
