# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking in what is on the disk already: `import` is `holofsctl import` beside `cp -a` into the mount. Seconds."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Final

from benchmarks import work
from benchmarks.contenders.folders import VOLUME, Folder, HoloFolder
from benchmarks.measuring import HOLOFS, Line, at_most
from benchmarks.run import Row, Run
from support.trees import differences

COPY: Final = "cp -a"
_SMALL_BYTES: Final = 2048
_WHAT: Final = ("small files", "photos")


def imports(run: Run) -> None:
    """Both ways into one volume, each with files of its own: what a volume holds already would cost less."""
    sizes = run.sizes

    @lru_cache(maxsize=1)
    def sources(number: int) -> dict[tuple[str, str], Path]:
        root = run.stage.scratch / f"import-{number}"
        found = {}
        for way in (HOLOFS, COPY):
            small, photos = root / f"{way} small", root / f"{way} photos"
            _create(small, sizes.small_files)
            found[way, "small files"] = small
            found[way, "photos"] = work.photos(photos, sizes.photos)
        os.sync()
        return found

    def each(folder: Folder, place: Path, number: int) -> None:
        assert isinstance(folder, HoloFolder)
        given = sources(number)
        ways = (HOLOFS, COPY) if number % 2 else (COPY, HOLOFS)
        for what in _WHAT:
            for way in ways:
                name = f"{way} {what} {number}"
                run.add(way, f"import: {what}", _taken(folder, way, given[way, what], place / name))
                folder.settle()
                found = differences(given[way, what], place / name)
                run.expect(HOLOFS, not found, f"{name} differs from what was taken in: {found[:2]}")

    run.each_folder(each)


def _create(root: Path, count: int) -> None:
    each = max(count // 20, 1)
    work.create(root, work.in_folders(min(count, 20), each, _SMALL_BYTES))


def _taken(folder: HoloFolder, way: str, source: Path, target: Path) -> float:
    if way == COPY:
        return work.run("cp", "-a", source, target)
    inside = target.relative_to(folder.root)
    began = time.perf_counter()
    folder.device.ctl("import", source, f"{VOLUME}:{inside}", timeout=600)
    return time.perf_counter() - began


def _lines() -> tuple[Line, ...]:
    return tuple(Line(f"import: {what}", "s", (at_most(1, COPY),)) for what in _WHAT)


ROWS = (Row("import", "mount", imports, lambda _: _lines()),)
