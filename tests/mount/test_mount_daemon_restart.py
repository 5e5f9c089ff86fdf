# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon dies and comes back while the mount is in use: nothing breaks and nothing is done twice."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mount.conftest import MakeMount, only
from mount.harness import FakeDaemon, Mount
from support.wait import until


def test_a_mount_goes_on_when_the_daemon_is_back(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "dir").mkdir()
    (mnt / "dir" / "file").write_bytes(b"before")
    daemon.restart()
    assert (mnt / "dir" / "file").read_bytes() == b"before"
    (mnt / "dir" / "file").write_bytes(b"after")
    (mnt / "dir" / "second").write_bytes(b"second")
    assert sorted(os.listdir(mnt / "dir")) == ["file", "second"]
    assert daemon.content("dir/file") == b"after"


def test_what_changed_while_the_daemon_was_away_is_seen(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "file").write_bytes(b"old")
    assert os.listdir(mnt) == ["file"]
    daemon.ask("stop")
    daemon.ask("silent_write", path="file", data="bmV3IGNvbnRlbnQ=")
    daemon.ask("silent_write", path="second", data="")
    daemon.ask("start")
    until(lambda: (mnt / "file").read_bytes() == b"new content", "the new content is read")
    assert sorted(os.listdir(mnt)) == ["file", "second"]


def test_open_files_are_read_and_written_without_a_daemon(daemon: FakeDaemon, mount: Mount) -> None:
    mnt = mount.path
    (mnt / "content").write_bytes(b"c" * 200_000)
    until(lambda: not daemon.ask("staged", path="content"), "the last close finalizes")
    with (
        open(mnt / "small", "w+b", buffering=0) as small,
        open(mnt / "large", "w+b", buffering=0) as large,
        open(mnt / "content", "rb", buffering=0) as content,
    ):
        small.write(b"small")
        large.write(b"l" * 200_000)
        content.read(10)
        daemon.ask("stop")
        small.write(b" and more")
        large.write(b"m" * 100_000)
        assert os.pread(small.fileno(), 100, 0) == b"small and more"
        assert os.pread(large.fileno(), 10, 199_995) == b"lllllmmmmm"
        if mount.binding == "pyfuse3":  # the high-level interface asks by path, and paths need the daemon
            assert os.fstat(large.fileno()).st_size == 300_000
        assert os.pread(content.fileno(), 10, 150_000) == b"c" * 10
        daemon.ask("start")
    assert daemon.content("small") == b"small and more"
    until(lambda: not daemon.ask("staged", path="large"), "the last close finalizes")
    assert daemon.content("large") == b"l" * 200_000 + b"m" * 100_000
    until(lambda: daemon.ask("handles") == 0, "no handle is left open")


def test_open_files_without_a_name_survive(daemon: FakeDaemon, mnt: Path) -> None:
    with open(mnt / "file", "w+b", buffering=0) as file:
        file.write(b"kept")
        os.unlink(mnt / "file")
        daemon.restart()
        file.write(b" on")
        assert os.pread(file.fileno(), 100, 0) == b"kept on"


def test_calls_wait_for_the_daemon(daemon: FakeDaemon, mnt: Path) -> None:
    daemon.ask("stop")
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append((mnt / "file").write_bytes(b"waited")))
    waiting.start()
    waiting.join(1.0)
    assert waiting.is_alive(), "without a daemon nothing can be made"
    daemon.ask("start")
    waiting.join(60)
    assert answers == [6]
    assert daemon.content("file") == b"waited"


@only("pyfuse3")
def test_what_could_not_be_handed_over_in_time_is_kept_for_the_daemon(
    daemon: FakeDaemon, make_mount: MakeMount
) -> None:
    mnt = make_mount("impatient", "--patience", "1").path
    fd = os.open(mnt / "file", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"precious")
    daemon.ask("stop")
    with pytest.raises(TimeoutError):  # the program knows
        os.close(fd)
    with pytest.raises(TimeoutError):
        os.stat(mnt / "other")
    daemon.ask("start")
    until(lambda: daemon.content("file") == b"precious", "nothing is lost all the same")


def exclusively(path: Path) -> None:
    with open(path, "xb") as file:
        file.write(b"mine")


def furnish(mnt: Path) -> None:
    (mnt / "file").write_bytes(b"content")
    (mnt / "other").write_bytes(b"other")
    (mnt / "empty").mkdir()
    os.setxattr(mnt / "file", "user.old", b"1")


DONE_ONCE: dict[str, tuple[str, Callable[[Path], Any], list[str]]] = {
    "create": ("create", lambda p: exclusively(p / "new"), ["empty", "file", "new", "other"]),
    "mknod": ("create", lambda p: os.mknod(p / "new", 0o100600), ["empty", "file", "new", "other"]),
    "mkdir": ("make_dir", lambda p: os.mkdir(p / "new"), ["empty", "file", "new", "other"]),
    "symlink": ("symlink", lambda p: os.symlink("target", p / "new"), ["empty", "file", "new", "other"]),
    "link": ("link", lambda p: os.link(p / "file", p / "new"), ["empty", "file", "new", "other"]),
    "unlink": ("unlink", lambda p: os.unlink(p / "file"), ["empty", "other"]),
    "rmdir": ("remove_dir", lambda p: os.rmdir(p / "empty"), ["file", "other"]),
    "rename": ("rename", lambda p: os.rename(p / "file", p / "new"), ["empty", "new", "other"]),
    "rename over": ("rename", lambda p: os.rename(p / "file", p / "other"), ["empty", "other"]),
    "chmod": ("set_attr", lambda p: os.chmod(p / "file", 0o600), ["empty", "file", "other"]),
    "commit": ("commit", lambda p: (p / "file").write_bytes(b"new"), ["empty", "file", "other"]),
    "open": ("open", lambda p: (p / "file").read_bytes(), ["empty", "file", "other"]),
    "stage": ("stage", lambda p: (p / "file").write_bytes(b"x" * 100_000), ["empty", "file", "other"]),
    "setxattr": (
        "set_xattr",
        lambda p: os.setxattr(p / "file", "user.new", b"1", os.XATTR_CREATE),
        ["empty", "file", "other"],
    ),
    "removexattr": ("remove_xattr", lambda p: os.removexattr(p / "file", "user.old"), ["empty", "file", "other"]),
}


def test_what_was_done_when_the_daemon_died_is_not_done_twice(daemon: FakeDaemon, mnt: Path) -> None:
    """The daemon carries each call out, dies before it answers, and comes back: the program sees success."""
    for number, (name, (call, operation, left)) in enumerate(DONE_ONCE.items()):
        place = mnt / str(number)
        place.mkdir()
        furnish(place)
        # Known to the caches, as it would be to a person who works there.
        assert sorted(os.listdir(place)) == ["empty", "file", "other"]
        daemon.ask("drop_reply", call=call)
        operation(place)
        assert sorted(os.listdir(place)) == left, name
        assert daemon.ask("drop_reply", call="") is None
    assert (mnt / "0" / "new").read_bytes() == b"mine"


def test_an_exclusive_create_does_not_take_what_is_older_for_its_own(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "file").write_bytes(b"somebody's")
    daemon.ask("stop")
    failures: list[BaseException] = []

    def create() -> None:
        try:
            exclusively(mnt / "file")
        except FileExistsError as error:
            failures.append(error)

    thread = threading.Thread(target=create)
    thread.start()
    daemon.ask("start")
    thread.join(60)
    assert len(failures) == 1
    assert (mnt / "file").read_bytes() == b"somebody's"


@only("pyfuse3")
def _finalized_behind(daemon: FakeDaemon, name: str, size: int) -> None:
    """Seal while the daemon is away: the staging file becomes a version with what was in it at `size` bytes."""
    daemon.ask("stop")
    daemon.ask("seal_short", path=name, size=size)


def _settled_content(daemon: FakeDaemon, name: str) -> bytes:
    until(lambda: not daemon.ask("staged", path=name), "the last close finalizes")
    return daemon.content(name)


@pytest.mark.parametrize("inside", [0, 5, 300_000])
def test_what_was_appended_to_a_file_that_was_finalized_goes_on_top(daemon: FakeDaemon, mnt: Path, inside: int) -> None:
    with open(mnt / "log", "ab", buffering=0) as log, open(mnt / "log", "ab", buffering=0) as kept:
        log.write(b"a" * 200_000)
        kept.write(b"line\n")
        _finalized_behind(daemon, "log", min(200_000 + inside, 200_005))
        kept.write(b"while the daemon was away\n")
        log.write(b"and another\n")
        daemon.ask("start")
        kept.write(b"and after\n")
    expected = b"a" * 200_000 + b"line\nwhile the daemon was away\nand another\nand after\n"
    assert _settled_content(daemon, "log") == expected
    assert (mnt / "log").read_bytes() == expected
    until(lambda: daemon.ask("handles") == 0, "no handle is left open")


def test_a_close_that_waits_for_the_daemon_hands_over_what_was_not_finalized(daemon: FakeDaemon, mnt: Path) -> None:
    log = open(mnt / "log", "ab", buffering=0)  # noqa: SIM115 (closed below, by another thread)
    log.write(b"a" * 200_000)
    _finalized_behind(daemon, "log", 200_000)
    log.write(b"line")
    failed: list[OSError] = []

    def close() -> None:
        try:
            log.close()
        except OSError as error:
            failed.append(error)

    closing = threading.Thread(target=close)
    closing.start()
    daemon.ask("start")
    closing.join()
    assert failed == []
    assert _settled_content(daemon, "log") == b"a" * 200_000 + b"line"


def test_what_was_written_into_a_file_that_was_finalized_goes_where_it_was_written(
    daemon: FakeDaemon, mnt: Path
) -> None:
    with open(mnt / "file", "w+b", buffering=0) as file:
        file.write(b"a" * 200_000)
        _finalized_behind(daemon, "file", 200_000)
        os.pwrite(file.fileno(), b"inside", 100)
        daemon.ask("start")
        assert os.pread(file.fileno(), 8, 99) == b"ainsidea"
        os.fsync(file.fileno())
        assert daemon.content("file")[99:107] == b"ainsidea"
    assert _settled_content(daemon, "file") == b"a" * 100 + b"inside" + b"a" * 199_894


def test_a_file_that_was_finalized_with_all_of_it_is_closed_without_an_error(daemon: FakeDaemon, mnt: Path) -> None:
    with open(mnt / "file", "wb", buffering=0) as file:
        file.write(b"a" * 200_000)
        _finalized_behind(daemon, "file", 200_000)
        daemon.ask("start")
    assert _settled_content(daemon, "file") == b"a" * 200_000


def test_stopping_the_mount_hands_over_what_is_open(daemon: FakeDaemon, own_mount: Mount) -> None:
    fd = os.open(own_mount.path / "file", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"not closed yet")
    assert own_mount.stop() == 0
    assert daemon.content("file") == b"not closed yet"
    with pytest.raises(OSError):
        os.close(fd)
