# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual attributes on real mounts: programs can ask for them, and tools that copy attributes copy none of them."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest
from blake3 import blake3

from support.device import World
from support.pair import Pair
from support.wait import until

OURS = "user.holofs."


def ask(path: Path | int, what: str) -> str:
    return os.getxattr(path, OURS + what).decode()


def test_programs_ask_who_wrote_a_file_and_copy_only_real_attributes(world: World, tmp_path: Path) -> None:
    pair = Pair(world)
    file = pair.here / "folder" / "plan.txt"
    file.parent.mkdir()
    with file.open("w") as written:
        written.write("the plan")
        written.flush()
        assert ask(written.fileno(), "state") == "writing"
        with pytest.raises(OSError) as unknown:
            ask(written.fileno(), "hash")
        assert unknown.value.errno == errno.ENODATA
    os.setxattr(file, "user.own", b"kept")
    pair.together()
    there = pair.there / "folder" / "plan.txt"
    for path in (file, there):
        assert (ask(path, "device"), ask(path, "hash")) == ("a", blake3(b"the plan").hexdigest())
    assert ask(file, "written") == ask(there, "written")
    assert ask(there.parent, "device") == "a"
    until(lambda: ask(file, "state") == ask(there, "state") == "published", "both to be published")

    with pytest.raises(OSError) as refused:
        os.setxattr(file, OURS + "device", b"c")
    assert refused.value.errno == errno.EOPNOTSUPP
    assert os.listxattr(file) == ["user.own"]
    targets = [pair.there / "cp", pair.there / "rsync", tmp_path / "tar"]
    targets[2].mkdir()
    archive = tmp_path / "all.tar"
    commands: list[list[str | Path]] = [
        ["cp", "-a", file.parent, targets[0]],
        ["rsync", "-aX", f"{file.parent}/", targets[1]],
        ["tar", "--xattrs", "--xattrs-include=*", "-C", file.parent, "-cf", archive, "."],
        ["tar", "--xattrs", "--xattrs-include=*", "-C", targets[2], "-xf", archive],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), command
    for target in targets:
        assert os.listxattr(target / "plan.txt") == ["user.own"]
    assert ask(targets[0] / "plan.txt", "device") == "b"
