# SPDX-License-Identifier: GPL-3.0-or-later
"""The harness takes away what a test leaves: mounts whose process is dead or alive, and files in use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.device import World
from support.processes import kill, mounts_below
from support.sources import ROOT
from support.wait import until


@pytest.mark.parametrize("state", ["alive", "in use", "killed"])
def test_mounts_are_taken_away_with_their_world_and_files_behind_them_stay(state: str, tmp_path: Path) -> None:
    tmp_path.joinpath("precious").write_text("precious")
    world = World()
    target = world.root / "mounted"
    target.mkdir()
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.passthrough", tmp_path, target], cwd=ROOT)
    until(target.is_mount, "the mount")
    in_use = target.joinpath("precious").open() if state == "in use" else None
    if state == "killed":
        kill([server.pid])
    world.close()
    assert mounts_below(world.root) == []
    assert not world.root.exists()
    # Ended by the signal, or by itself before: the harness takes the connection of its mount away first.
    server.wait(45)
    if in_use:
        with pytest.raises(OSError, match="not connected"):
            in_use.close()
    assert tmp_path.joinpath("precious").read_text() == "precious"
