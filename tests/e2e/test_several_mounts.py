# SPDX-License-Identifier: GPL-3.0-or-later
"""Two mounts on one device and one on another, all writing at once; and several volumes on one device."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.device import World
from support.trees import assert_same_tree, contents
from support.wait import until


def test_three_mounts_write_in_their_own_directories_and_a_common_one(world: World) -> None:
    a, b = world.sharing("a", "b")
    mounts = [a.mount(), a.mount(), b.mount()]
    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(_write, root, number) for number, root in enumerate(mounts)]
        expected = {name: data for future in done for name, data in future.result().items()}
    for root in mounts:
        until(lambda: contents(root) == expected, f"{root} to show what all three wrote")  # noqa: B023
    assert_same_tree(mounts[0], mounts[1])
    assert_same_tree(mounts[0], mounts[2])


def _write(root: Path, number: int) -> dict[str, bytes]:
    written = {}
    own = root / f"own {number}"
    own.mkdir()
    common = root / "common"
    common.mkdir(exist_ok=True)
    for count in range(60):
        for folder in (own, common):
            path = folder / f"{number}-{count}"
            data = f"{number} {count} ".encode() * (1 + count * 40)
            path.write_bytes(data)
            written[str(path.relative_to(root))] = data
        if count % 10 == 9:
            path.rename(own / f"moved {count}")
            written[f"own {number}/moved {count}"] = written.pop(str(path.relative_to(root)))
    return written


def test_two_mounts_of_one_device_agree_at_once(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    one, two = a.mount(), a.mount()
    for number in range(50):
        one.joinpath("file").write_text(f"text {number}")
        until(lambda: two.joinpath("file").read_text() == f"text {number}", "the text")  # noqa: B023
    with one.joinpath("file").open("a") as writing:
        writing.write(" and more")
        writing.flush()
        until(lambda: two.joinpath("file").stat().st_size == len("text 49 and more"), "what is flushed to show")
    one.joinpath("file").rename(one / "other")
    until(lambda: not two.joinpath("file").exists() and two.joinpath("other").exists(), "the rename")
    two.joinpath("other").unlink()
    until(lambda: not one.joinpath("other").exists(), "the removal")


def test_volumes_of_one_device_have_nothing_to_do_with_each_other(world: World) -> None:
    a, b = world.running("a", "b")
    for volume in ("private", "work"):
        a.create(volume)
    b.join(a.share("work"))
    private, work = a.mount("private"), a.mount("work")
    there = b.mount("work")
    private.joinpath("diary").write_text("mine alone")
    work.joinpath("plan").write_text("ours")
    until(lambda: contents(there) == {"plan": b"ours"}, "the plan")
    assert contents(private) == {"diary": b"mine alone"}
    assert [found["volume"]["name"] for found in b.status()["volumes"]] == ["work"]


def test_a_volume_may_be_mounted_read_only_beside_a_writable_mount(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    writable, reading = a.mount(), a.mount("docs", "--read-only")
    writable.joinpath("file").write_text("text")
    until(lambda: reading.joinpath("file").read_text() == "text", "the file on the read-only mount")
    with pytest.raises(OSError) as caught:
        reading.joinpath("file").write_text("no")
    assert caught.value.errno == errno.EROFS
    with pytest.raises(OSError) as caught:
        reading.joinpath("folder").mkdir()
    assert caught.value.errno == errno.EROFS


@pytest.fixture(scope="module", params=["pyfuse3 pyfuse3", "pyfuse3 fusepy", "fusepy pyfuse3"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Path, Path]]:
    """Two mounts of one volume on one device, by these bindings."""
    one, two = request.param.split()
    with World(limit_s=300) as world:
        (a,) = world.running("a")
        a.create()
        yield a.mount("docs", "--binding", one), a.mount("docs", "--binding", two)


ROUNDS = range(20)


def test_a_log_that_is_rotated_through_another_mount_is_not_written_over(pair: tuple[Path, Path]) -> None:
    here, there = pair
    for number in ROUNDS:
        folder = here / f"rotated {number}"
        folder.mkdir()
        log, rotated = folder / "log", folder / "log.1"
        log.write_text("old\n")
        assert (there / folder.name / "log").read_text() == "old\n"
        (there / folder.name / "log").rename(there / folder.name / "log.1")
        assert not log.exists()
        with log.open("a" if number % 2 else "w") as writing:
            writing.write("new\n")
        assert rotated.read_text() == "old\n"
        assert sorted(os.listdir(folder)) == ["log", "log.1"]
        assert log.read_text() == "new\n"


def test_whatever_is_done_to_a_name_is_seen_through_the_other_mount_at_once(pair: tuple[Path, Path]) -> None:
    here, there = pair
    for number in ROUNDS:
        ours, theirs = here / f"names {number}", there / f"names {number}"
        ours.mkdir()
        assert theirs.is_dir()
        assert os.listdir(theirs) == []
        (ours / "file").touch()
        assert (theirs / "file").is_file()
        (ours / "folder").mkdir()
        assert (theirs / "folder").is_dir()
        (ours / "symlink").symlink_to("file")
        assert (theirs / "symlink").is_symlink()
        (ours / "hard link").hardlink_to(ours / "file")
        assert (theirs / "hard link").stat().st_nlink == 2
        assert sorted(os.listdir(theirs)) == ["file", "folder", "hard link", "symlink"]
        for name in ("file", "hard link", "symlink"):
            (ours / name).unlink()
            assert not os.path.lexists(theirs / name)
        (ours / "folder").rmdir()
        assert not (theirs / "folder").exists()
        ours.rename(here / f"renamed {number}")
        assert not theirs.exists()
        theirs.mkdir()
        assert os.listdir(here / f"renamed {number}") == []


def test_a_name_that_is_replaced_through_another_mount_is_never_missing(pair: tuple[Path, Path]) -> None:
    here, there = pair
    folder = here / "replaced"
    folder.mkdir()
    (folder / "file").write_text("0")
    for number in range(40):
        with (folder / "file").open() as reading:
            (there / "replaced" / "tmp").write_text(str(number))
            os.listdir(folder)
            os.replace(there / "replaced" / "tmp", there / "replaced" / "file")
            assert os.listdir(folder) == ["file"]
            assert (folder / "file").read_text() == str(number)
            assert (folder / "file").stat().st_nlink == 1
            reading.read()
