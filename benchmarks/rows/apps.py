# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that people use: `apps` is git, tar and cp. Seconds, so a ratio of 2 is twice the time."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from benchmarks import work
from benchmarks.contenders.folders import Folder
from benchmarks.contenders.known import MOUNTS
from benchmarks.measuring import HOLOFS, Line, at_most
from benchmarks.run import Row, Run
from support.trees import differences, snapshot


@dataclass(frozen=True, slots=True)
class Sources:
    """Sources on the local disk, new ones for each round: what a volume holds already would cost it less."""

    repository: Path
    archive: Path
    photos: Path


def apps(run: Run) -> None:
    sizes = run.sizes

    @lru_cache(maxsize=1)
    def sources(number: int) -> Sources:
        root = run.stage.scratch / f"apps-{number}"
        repository = work.repository(root / "repository", sizes.repository_files, 2 * number)
        archive = work.archive(root / "sources.tar", sizes.repository_files, 2 * number + 1)
        found = Sources(repository, archive, work.photos(root / "photos", sizes.photos))
        os.sync()  # else whoever is first would share the disk with them
        return found

    def between(folder: Folder) -> None:
        """Wait until what one contender leaves to be done cannot slow the next.

        Some take five seconds for it: not when it is quick.
        """
        if sizes.alone:
            folder.settle()

    def each(folder: Folder, place: Path, number: int) -> None:
        given, root = sources(number), place / f"round-{number}"
        clone, unpacked, copied = (root / name for name in ("clone", "sources", "photos"))
        unpacked.mkdir(parents=True)
        _time(run, folder, "git clone", "git", "clone", "-q", given.repository, clone)
        _time(run, folder, "git status", "git", "-C", clone, "status", "--porcelain")
        between(folder)
        _time(run, folder, "untar", "tar", "-xf", given.archive, "--no-same-owner", "-C", unpacked)
        between(folder)
        _time(run, folder, "cp -a photos", "cp", "-a", given.photos, copied)
        if number == run.rounds - 1:
            folder.remount()
            run.expect(folder.name, _is_clean(clone), "git finds changes in what it cloned")
            for source, target in ((given.archive.with_suffix(""), unpacked), (given.photos, copied)):
                # Not each baseline keeps all times and modes; ours has to.
                found = differences(source, target) if folder.name == HOLOFS else _other_content(source, target)
                run.expect(folder.name, not found, f"{target.name} differs from what was copied: {found[:2]}")

    run.each_folder(each)


def _time(run: Run, folder: Folder, name: str, *command: str | Path) -> None:
    """A baseline that cannot do one of these things can still do the others."""
    try:
        run.add(folder.name, f"apps: {name}", work.run(*command))
    except RuntimeError as error:
        if folder.name == HOLOFS:
            raise
        run.absent[f"{folder.name} ({name})"] = f"{error}"


def _other_content(left: Path, right: Path) -> list[str]:
    one, other = snapshot(left), snapshot(right)
    return [name for name in one if name not in other or one[name].content != other[name].content]


def _is_clean(clone: Path) -> bool:
    command = ["git", "-C", str(clone), "status", "--porcelain"]
    return subprocess.run(command, capture_output=True, check=True).stdout == b""


def _lines() -> tuple[Line, ...]:
    asked = (at_most(2, "bare"),)
    return tuple(Line(f"apps: {name}", "s", asked) for name in ("git clone", "git status", "untar", "cp -a photos"))


ROWS = (Row("apps", "mount", apps, lambda _: _lines(), MOUNTS),)
