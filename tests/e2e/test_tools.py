# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools people use, on the mount: git, rsync, tar, editors, SQLite, mmap; and the other device sees the outcome."""

from __future__ import annotations

import mmap
import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.device import World
from support.trees import assert_same_tree, contents
from support.wait import until


@pytest.fixture(scope="module")
def mounts() -> Iterator[tuple[Path, Path]]:
    with World(limit_s=450) as world:
        a, b = world.sharing("a", "b")
        yield a.mount(), b.mount()


@pytest.fixture
def pair(mounts: tuple[Path, Path], request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """A folder of this test's own, as the two devices see it."""
    name = re.sub(r"\W", "-", request.node.name)
    mounts[0].joinpath(name).mkdir()
    until(lambda: mounts[1].joinpath(name).is_dir(), "the folder")
    return mounts[0] / name, mounts[1] / name


def run(*command: str | Path, cwd: Path | None = None) -> str:
    environment = {
        **os.environ,
        **{f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr}"
    return done.stdout


def fill(folder: Path) -> Path:
    folder.mkdir()
    for number in range(30):
        below = folder / f"part {number % 5}"
        below.mkdir(exist_ok=True)
        below.joinpath(f"file-{number}").write_bytes(os.urandom(number * 997))
    folder.joinpath("link").symlink_to("part 1/file-1")
    # rsync does not mend times within one second, so everything is old.
    for path in [*sorted(folder.rglob("*"), reverse=True), folder]:
        os.utime(path, ns=(1, 981_173_106_123_456_789), follow_symlinks=False)
    return folder


def test_git_works_on_the_mount_and_the_other_device_sees_a_sound_repository(pair: tuple[Path, Path]) -> None:
    here, there = pair
    repository = here / "project"
    run("git", "init", "-q", "-b", "main", repository)
    for number in range(5):
        repository.joinpath(f"file-{number % 3}.txt").write_text(f"change {number}\n" * 50)
        run("git", "add", "-A", cwd=repository)
        run("git", "commit", "-q", "-m", f"change {number}", cwd=repository)
    run("git", "checkout", "-q", "-b", "side", "HEAD~2", cwd=repository)
    run("git", "checkout", "-q", "main", cwd=repository)
    run("git", "gc", "-q", cwd=repository)
    run("git", "fsck", "--strict", cwd=repository)
    assert run("git", "status", "--porcelain", cwd=repository) == ""
    log = run("git", "log", "--format=%H %s", cwd=repository)
    assert len(log.splitlines()) == 5

    until(lambda: contents(there) == contents(here), "the repository to reach the other device")
    run("git", "fsck", "--strict", cwd=there / "project")
    assert run("git", "log", "--format=%H %s", cwd=there / "project") == log


def test_git_clones_onto_the_mount(pair: tuple[Path, Path], tmp_path: Path) -> None:
    here, there = pair
    origin = tmp_path / "origin"
    run("git", "init", "-q", "-b", "main", origin)
    fill(origin / "content")
    run("git", "add", "-A", cwd=origin)
    run("git", "commit", "-q", "-m", "all", cwd=origin)
    run("git", "clone", "-q", "--no-hardlinks", origin, here / "clone")
    assert run("git", "status", "--porcelain", cwd=here / "clone") == ""
    assert_same_tree(origin / "content", here / "clone" / "content", times=False)
    until(lambda: contents(there) == contents(here), "the clone to reach the other device")


def test_rsync_moves_everything_once_and_nothing_the_second_time(pair: tuple[Path, Path], tmp_path: Path) -> None:
    here, there = pair
    source = fill(tmp_path / "source")
    command = ("rsync", "-a", "--itemize-changes", f"{source}/", here / "copy")
    assert run(*command)
    assert run(*command) == ""
    assert_same_tree(source, here / "copy")
    until(lambda: _is_the_same(source, there / "copy"), "the copy to reach the other device")
    # And towards the other side: rsync compares times, so they have to be exact there too.
    assert run("rsync", "-a", "--itemize-changes", f"{source}/", there / "copy") == ""


def _is_the_same(one: Path, other: Path) -> bool:
    assert_same_tree(one, other)
    return _directory_times(one) == _directory_times(other)


def _directory_times(root: Path) -> dict[str, int]:
    """rsync sets them last, after the files are there."""
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in (root, *root.rglob("*/"))}


def test_tar_goes_in_and_out(pair: tuple[Path, Path], tmp_path: Path) -> None:
    here, there = pair
    source = fill(tmp_path / "source")
    # The older format keeps whole seconds only.
    run("tar", "--format=posix", "-cf", tmp_path / "in.tar", "-C", tmp_path, "source")
    run("tar", "-xf", tmp_path / "in.tar", "-C", here)
    run("tar", "--format=posix", "-cf", here / "out.tar", "-C", here, "source")
    until(lambda: there.joinpath("out.tar").read_bytes() == here.joinpath("out.tar").read_bytes(), "the archive")
    out = tmp_path / "out"
    out.mkdir()
    run("tar", "-xf", there / "out.tar", "-C", out)
    assert_same_tree(source, out / "source")


def save_like_vim(path: Path, text: str) -> None:
    """'backup' by renaming: the old file moves to name~, the new one is written under the name, the backup goes."""
    backup = path.with_name(path.name + "~")
    os.rename(path, backup)
    with path.open("x") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(path, os.stat(backup).st_mode & 0o7777)
    os.unlink(backup)


def save_like_libreoffice(path: Path, text: str) -> None:
    """A lock file beside it, a temporary file written whole, renamed over the document."""
    lock = path.with_name(f".~lock.{path.name}#")
    lock.write_text("somebody")
    temporary = path.with_name(f"lu{os.getpid()}.tmp")
    with temporary.open("x") as file:
        file.write(text)
        os.fsync(file.fileno())
    os.chmod(temporary, os.stat(path).st_mode & 0o7777)
    os.rename(temporary, path)
    lock.unlink()


def save_in_place(path: Path, text: str) -> None:
    with path.open("r+") as file:
        file.truncate(0)
        file.write(text)


@pytest.mark.parametrize("save", [save_like_vim, save_like_libreoffice, save_in_place])
def test_saving_many_times_leaves_one_file_with_the_last_text(pair: tuple[Path, Path], save: object) -> None:
    assert callable(save)
    here, there = pair
    document = here / "letter.txt"
    document.write_text("first\n")
    document.chmod(0o640)
    for number in range(12):
        save(document, f"text {number}\n" * (1 + number * 300))
        assert document.read_text().startswith(f"text {number}\n")
        # What the other side shows meanwhile is some whole text, never a part of one, and never two files.
        assert len(set(_text(there / "letter.txt").splitlines())) <= 1
    until(lambda: contents(there) == contents(here), "the last text to reach the other device")
    assert set(contents(there)) == {"letter.txt"}
    assert there.joinpath("letter.txt").stat().st_mode & 0o777 == 0o640


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def test_an_sqlite_database_in_rollback_mode_works_and_arrives_whole(pair: tuple[Path, Path]) -> None:
    here, there = pair
    database = sqlite3.connect(here / "data.db")
    database.execute("PRAGMA journal_mode=DELETE")
    database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)")
    for number in range(20):
        with database:
            database.executemany("INSERT INTO t (text) VALUES (?)", [(f"row {number}.{i}" * 10,) for i in range(50)])
    with pytest.raises(ZeroDivisionError), database:
        database.execute("DELETE FROM t")
        raise ZeroDivisionError
    assert database.execute("SELECT count(*) FROM t").fetchone() == (1000,)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()

    until(lambda: there.joinpath("data.db").read_bytes() == here.joinpath("data.db").read_bytes(), "the database")
    until(lambda: set(contents(there)) == {"data.db"}, "the journal to be gone")
    copy = sqlite3.connect(there / "data.db")
    assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert copy.execute("SELECT count(*) FROM t").fetchone() == (1000,)
    copy.close()


def test_writes_through_a_shared_mapping_count_also_after_the_file_was_closed(pair: tuple[Path, Path]) -> None:
    here, there = pair
    path = here / "mapped"
    path.write_bytes(bytes(300_000))
    descriptor = os.open(path, os.O_RDWR)
    mapping = mmap.mmap(descriptor, 300_000)
    os.close(descriptor)
    mapping[100_000:100_005] = b"hello"
    mapping[299_995:300_000] = b"world"
    mapping.flush()
    mapping.close()
    expected = bytes(100_000) + b"hello" + bytes(199_990) + b"world"
    assert path.read_bytes() == expected
    until(lambda: there.joinpath("mapped").read_bytes() == expected, "what was written through the mapping")


def test_extended_attributes_hard_links_and_times_travel(pair: tuple[Path, Path]) -> None:
    here, there = pair
    one = here / "one"
    one.write_text("text")
    os.setxattr(one, "user.colour", b"green \x00 and blue")
    os.link(one, here / "two")
    os.utime(one, ns=(5, 1_000_000_007_000_000_009))
    until(lambda: there.joinpath("two").stat().st_mtime_ns == 1_000_000_007_000_000_009, "the times")
    assert os.getxattr(there / "one", "user.colour") == b"green \x00 and blue"
    assert there.joinpath("one").stat().st_ino == there.joinpath("two").stat().st_ino
    assert there.joinpath("one").stat().st_nlink == 2
    there.joinpath("two").write_text("changed through the other name, on the other device")
    until(lambda: one.read_text().startswith("changed"), "the change of a file with two names")
    _every_name_is_gone_after_unlink(here, there)


def _every_name_is_gone_after_unlink(here: Path, there: Path) -> None:
    with here.joinpath("one").open("rb") as still_open:
        here.joinpath("one").unlink()
        here.joinpath("two").unlink()
        assert still_open.read().startswith(b"changed")
    until(lambda: contents(there) == {}, "both names to be gone on the other device")
