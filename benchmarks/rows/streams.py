# SPDX-License-Identifier: GPL-3.0-or-later
"""One large file through a mount: `seq-read`, `seq-write`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from benchmarks import work
from benchmarks.caches import drop_everything, drop_pages_of
from benchmarks.contenders.folders import Folder
from benchmarks.contenders.known import MOUNTS
from benchmarks.measuring import Line, at_least
from benchmarks.run import Row, Run, digest_of


def seq_write(run: Run) -> None:
    mib = run.sizes.big_mib

    @lru_cache(maxsize=1)
    def pieces(number: int) -> tuple[list[bytes], str]:
        fresh = work.random_pieces(mib)
        return fresh, digest_of(fresh)

    def each(folder: Folder, place: Path, number: int) -> None:
        path = place / f"big-{number}"
        data, digest = pieces(number)
        run.add(folder.name, "seq-write", mib / work.write_large(path, data))
        folder.settle()
        run.expect_large(folder.name, path, digest)
        path.unlink()

    run.each_folder(each)


def seq_read(run: Run) -> None:
    mib = run.sizes.big_mib
    pieces = work.random_pieces(mib)
    digest = digest_of(pieces)
    run.fill(lambda root: work.write_large(root / "big", pieces))

    def each(folder: Folder, place: Path, number: int) -> None:
        path = place / "big"
        if not drop_everything():
            drop_pages_of(path)
            run.remark("the page cache was dropped for the mounts' files only (posix_fadvise): root may drop all of it")
        run.add(folder.name, "seq-read", mib / work.read_large(path))
        # Now what lies below is in memory, and only the mount's own way is measured.
        drop_pages_of(path)
        run.add(folder.name, "seq-read, in memory below", mib / work.read_large(path))
        if number == run.rounds - 1:
            run.expect_large(folder.name, path, digest)

    run.each_folder(each)


ROWS = (
    Row(
        "seq-read",
        "mount",
        seq_read,
        lambda _: (
            Line("seq-read", "MiB/s", (at_least(0.9, "bare"),)),
            Line("seq-read, in memory below", "MiB/s"),
        ),
        MOUNTS,
    ),
    Row("seq-write", "mount", seq_write, lambda _: (Line("seq-write", "MiB/s", (at_least(0.7, "bare"),)),), MOUNTS),
)
