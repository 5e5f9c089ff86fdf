# SPDX-License-Identifier: GPL-3.0-or-later
"""Open files that lose their names answer as on a local disk, wherever they were removed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.device import World
from support.wait import until

PROGRAM = Path(__file__).with_name("removed_while_open.py")
BY_HANDLE = {"fsync", "create", "mkdir", "symlink", "write", "read", "ftruncate", "extend", "a new one of the name"}
"""What libfuse 2 says of something without a name: it asks by path for the rest, and there is none."""
WHERE = ("this mount", "another mount", "another device")


def answers(what: str, root: Path, there: Path) -> list[str]:
    command = [sys.executable, str(PROGRAM), what, str(root), str(there)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module", params=["pyfuse3", "fusepy"])
def places(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[Path]]]:
    """The binding, and the roots of two mounts of one device and one of another."""
    with World(limit_s=300) as world:
        a, b = world.sharing("a", "b")
        mounts = [device.mount("docs", "--binding", request.param) for device in (a, a, b)]
        yield request.param, mounts


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("what", ["directory", "file"])
def test_it_answers_as_on_a_local_disk(places: tuple[str, list[Path]], what: str, where: str, tmp_path: Path) -> None:
    binding, mounts = places
    mounts[0].joinpath(f"{what} {where}").mkdir()
    root, there = (mount / f"{what} {where}" for mount in (mounts[0], mounts[WHERE.index(where)]))
    until(there.is_dir, "the folder")
    local = answers(what, tmp_path, tmp_path)
    found = answers(what, root, there)
    if binding == "fusepy" and (what == "directory" or where != "this mount"):
        found, local = ([line for line in lines if line.partition(":")[0] in BY_HANDLE] for lines in (found, local))
        assert len(local) >= 4
    assert found == local
