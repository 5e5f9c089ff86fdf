# SPDX-License-Identifier: GPL-3.0-or-later
"""Times and link counts of files as `make`, `find -newer` and `stat` rely on them: never back, never stale."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.device import World

OLD_NS = 1_000_000_000_000_000_000
ROUNDS = 60


def mtime(path: Path) -> int:
    return os.stat(path).st_mtime_ns


@pytest.fixture(params=["pyfuse3", "fusepy"])
def folder(request: pytest.FixtureRequest, world: World) -> Path:
    (device,) = world.running("a")
    device.create()
    return device.mount("docs", "--binding", request.param)


def open_and_close(path: Path) -> None:
    with path.open("w"):
        pass


def shell_redirection(path: Path) -> None:
    subprocess.run(["sh", "-c", ': > "$1"', "sh", path], check=True)


def truncate_to_same_size(path: Path) -> None:
    os.truncate(path, path.stat().st_size)


def truncate_open_to_same_size(path: Path) -> None:
    with path.open("r+") as file:
        file.truncate(path.stat().st_size)


RENEWALS: list[Callable[[Path], object]] = [
    open_and_close,
    shell_redirection,
    truncate_to_same_size,
    truncate_open_to_same_size,
    Path.touch,
]


@pytest.mark.parametrize("size", [0, 100, 100_000], ids=["empty", "small", "large"])
def test_whatever_marks_a_file_as_written_renews_its_time(folder: Path, size: int) -> None:
    before = folder / "before"
    for number, renew in enumerate(RENEWALS):
        path = folder / f"{number} {size}"
        path.write_bytes(bytes(size))
        os.utime(path, ns=(OLD_NS, OLD_NS))
        assert mtime(path) == OLD_NS
        before.touch()
        renew(path)
        assert mtime(path) >= mtime(before), f"{renew}"


def test_an_empty_file_that_is_open_elsewhere_is_renewed_as_well(folder: Path) -> None:
    path = folder / "stamp"
    path.touch()
    with path.open("r+"):
        os.utime(path, ns=(OLD_NS, OLD_NS))
        open_and_close(path)
        assert mtime(path) > OLD_NS
    assert mtime(path) > OLD_NS


def made(path: Path) -> Path:
    path.touch()
    return path


def renamed(path: Path) -> Path:
    path.with_suffix(".new").write_bytes(b"new")
    path.with_suffix(".new").rename(path)
    return path.parent


def touched(path: Path) -> Path:
    os.utime(path.parent / "known")
    return path.parent / "known"


def written(path: Path) -> Path:
    (path.parent / "known").write_bytes(b"more")
    return path.parent / "known"


def directory_made(path: Path) -> Path:
    path.mkdir()
    return path


def linked(path: Path) -> Path:
    os.link(path.parent / "known", path)
    return path.parent


def link_made(path: Path) -> Path:
    path.symlink_to("known")
    return path


def removed(path: Path) -> Path:
    path.touch()
    path.unlink()
    return path.parent


def large_written(path: Path) -> Path:
    path.write_bytes(bytes(100_000))
    return path


STAMPS: list[Callable[[Path], Path]] = [
    *(made, touched, directory_made, touched, written, touched, link_made, touched, linked, touched),
    *(renamed, touched, removed, touched, large_written, touched),
]


def test_what_is_done_later_is_never_older(folder: Path) -> None:
    (folder / "known").touch()
    last, by = 0, "nothing"
    for number in range(ROUNDS):
        for at, stamp in enumerate(STAMPS):
            found = os.lstat(stamp(folder / f"{number} {at}")).st_mtime_ns
            assert found >= last, f"{stamp.__name__} is {(last - found) / 1e6} ms older than {by} before it"
            last, by = found, stamp.__name__


def subdirectories(path: Path) -> int:
    return sum(entry.is_dir(follow_symlinks=False) for entry in os.scandir(path))


def test_link_counts_are_right_at_once(folder: Path) -> None:
    def check(done: str) -> None:
        for path in (folder, folder / "other"):
            assert path.stat().st_nlink == 2 + subdirectories(path), f"{path.name} after {done}"

    for name in ("other", "a", "b", "c", "other/x", "other/y"):
        (folder / name).mkdir()
        check(f"mkdir {name}")
    (folder / "f").touch()
    os.rename(folder / "a", folder / "b")
    check("rename over an empty directory")
    os.rename(folder / "b", folder / "other/x")
    check("rename over an empty directory elsewhere")
    os.rename(folder / "other/y", folder / "z")
    check("rename to another directory")
    os.rename(folder / "z", folder / "zz")
    check("rename")
    os.rename(folder / "f", folder / "g")
    check("rename of a file")
    os.rmdir(folder / "zz")
    check("rmdir")
    (folder / "g").write_bytes(b"g")
    os.link(folder / "g", folder / "h")
    assert [(folder / name).stat().st_nlink for name in "gh"] == [2, 2]
    with (folder / "h").open("rb") as file:
        os.unlink(folder / "g")
        assert (folder / "h").stat().st_nlink == os.fstat(file.fileno()).st_nlink == 1
        os.link(folder / "h", folder / "i")
        (folder / "j").touch()
        os.rename(folder / "j", folder / "i")
        assert (folder / "h").stat().st_nlink == os.fstat(file.fileno()).st_nlink == 1
    check("everything")


def test_a_rename_to_another_name_of_the_same_file_does_nothing(folder: Path) -> None:
    (folder / "a").touch()
    os.link(folder / "a", folder / "b")
    os.utime(folder, ns=(OLD_NS, OLD_NS))
    os.rename(folder / "a", folder / "b")
    assert mtime(folder) == OLD_NS


def test_a_directory_dated_into_the_future_gets_the_time_of_what_is_made_in_it(folder: Path) -> None:
    future = 4_000_000_000_000_000_000
    (folder / "d").mkdir()
    os.utime(folder / "d", ns=(future, future))
    assert mtime(folder / "d") == future
    (folder / "d/file").touch()
    assert mtime(folder / "d") < future
