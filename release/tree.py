# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the tree to build from: tracked files alone, all of one time and with plain modes, so that what is built
depends on the commit and on nothing else. Manual pages, completions and the user unit are made in it (`share`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]


def commit_time() -> int:
    """Seconds since 1970: the value of SOURCE_DATE_EPOCH for all that is built."""
    return int(_git("log", "-1", "--format=%ct"))


def uncommitted() -> list[str]:
    """Files that are not as in the commit."""
    return [line[3:] for line in _git("status", "--porcelain").splitlines()]


def copy(into: Path, when: int) -> None:
    """Copies the tree and makes `share` in it."""
    for name in _git("ls-files", "-z").split("\0"):
        source = ROOT / name
        if name and source.is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, into / name)
            (into / name).chmod(source.stat().st_mode)
    environment = {**os.environ, "PYTHONPATH": f"{into}:{into}/proto", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "release.share", str(into / "share")]
    subprocess.run(command, cwd=into, env=environment, stdout=subprocess.DEVNULL, check=True)
    make_plain(into, when)


def make_plain(folder: Path, when: int) -> None:
    """Gives every file below one time, and one of the modes 0755 and 0644."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (when, when), follow_symlinks=False)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
