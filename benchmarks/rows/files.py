# SPDX-License-Identifier: GPL-3.0-or-later
"""Many small files through a mount: `create`, `stat-cold` and `stat-warm`, `read-small`, `remove`."""

from __future__ import annotations

from pathlib import Path

from benchmarks import work
from benchmarks.contenders.folders import Folder
from benchmarks.contenders.known import MOUNTS
from benchmarks.measuring import Line, at_least
from benchmarks.run import Row, Run


def create(run: Run) -> None:
    files = work.numbered(run.sizes.small_files, 2)

    def each(folder: Folder, place: Path, number: int) -> None:
        root = place / f"round-{number}"
        run.add(folder.name, "create", len(files) / work.create(root, files))
        if number == run.rounds - 1:
            folder.remount()
            run.expect_files(folder.name, root, files)

    run.each_folder(each)


def stat(run: Run) -> None:
    files = work.in_folders(run.sizes.folders, run.sizes.folders, 2)
    run.fill(lambda root: work.create(root, files))

    def each(folder: Folder, place: Path, number: int) -> None:
        folder.remount()
        for line in ("stat-cold", "stat-warm"):
            run.add(folder.name, line, len(files) / work.list_all(place))
        if number == run.rounds - 1:
            run.expect_files(folder.name, place, files)

    run.each_folder(each)


def read_small(run: Run) -> None:
    files = work.numbered(run.sizes.small_files, 2048)
    run.fill(lambda root: work.create(root, files))

    def each(folder: Folder, place: Path, number: int) -> None:
        folder.remount()
        run.add(folder.name, "read-small", len(files) / work.cat(place, list(files)))
        if number == run.rounds - 1:
            run.expect_files(folder.name, place, files)

    run.each_folder(each)


def remove(run: Run) -> None:
    files = work.numbered(run.sizes.small_files, 2)
    for number in range(run.rounds):
        run.fill(lambda root: work.create(root / f"round-{number}", files))  # noqa: B023 (called at once)

    def each(folder: Folder, place: Path, number: int) -> None:
        root = place / f"round-{number}"
        work.list_all(root)  # as a person does; and all begin with the same in the kernel's memory
        run.add(folder.name, "remove", len(files) / work.remove(root))
        folder.remount()
        run.expect(folder.name, not root.exists(), "what was removed is still there")

    run.each_folder(each)


ROWS = (
    Row(
        "create",
        "mount",
        create,
        lambda _: (Line("create", "files/s", (at_least(0.5, "bare"), at_least(1, "rclone"))),),
        MOUNTS,
    ),
    Row(
        "stat-cold",
        "mount",
        stat,
        lambda _: (
            Line("stat-cold", "files/s", (at_least(0.7, "bare"),)),
            Line("stat-warm", "files/s", (at_least(0.9, "bare"),)),
        ),
        MOUNTS,
        also="stat-warm",
    ),
    Row(
        "read-small",
        "mount",
        read_small,
        lambda _: (Line("read-small", "files/s", (at_least(0.5, "bare"), at_least(2, "rclone"))),),
        MOUNTS,
    ),
    Row("remove", "mount", remove, lambda _: (Line("remove", "files/s", (at_least(0.4, "bare"),)),), MOUNTS),
)
