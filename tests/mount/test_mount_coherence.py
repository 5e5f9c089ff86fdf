# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes from elsewhere are seen through a mount that has it cached, and a write is based on what its process read."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mount.conftest import MakeMount, only
from mount.harness import FakeDaemon, Mount
from support.wait import until


def names(path: Path) -> set[str]:
    return set(os.listdir(path))


def test_a_new_file_from_elsewhere_appears(daemon: FakeDaemon, mnt: Path) -> None:
    assert names(mnt) == set()
    assert not (mnt / "new").exists()
    daemon.remote_write("new", b"from elsewhere")
    until(lambda: (mnt / "new").exists(), "the name appears")
    assert (mnt / "new").read_bytes() == b"from elsewhere"
    assert names(mnt) == {"new"}


def test_a_file_removed_elsewhere_disappears(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "file").write_bytes(b"x")
    assert names(mnt) == {"file"}
    daemon.ask("remote_unlink", path="file")
    until(lambda: not (mnt / "file").exists(), "the name disappears")
    assert names(mnt) == set()


def test_news_of_one_name_do_not_list_the_whole_directory_again(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "mine").write_bytes(b"x")
    (mnt / "other").write_bytes(b"x")
    assert names(mnt) == {"mine", "other"}
    daemon.ask("reset_calls")
    daemon.remote_write("new", b"from elsewhere", numbered=False)
    daemon.ask("remote_unlink", path="mine")
    until(lambda: not (mnt / "mine").exists(), "the name disappears")
    assert names(mnt) == {"new", "other"}
    assert (mnt / "new").read_bytes() == b"from elsewhere"
    daemon.remote_write("mine", b"again", numbered=False)
    until(lambda: (mnt / "mine").exists(), "the name appears")
    assert names(mnt) == {"mine", "new", "other"}
    assert "read_dir" not in daemon.ask("calls")


def test_news_of_many_names_list_the_directory_again(daemon: FakeDaemon, mnt: Path) -> None:
    assert names(mnt) == set()
    wanted = {f"file {number}" for number in range(40)}
    for name in sorted(wanted):
        daemon.remote_write(name, b"x", numbered=False)
    until(lambda: names(mnt) == wanted, "all names")


@pytest.mark.parametrize("size", [100, 400_000])
def test_new_content_from_elsewhere_is_read(daemon: FakeDaemon, mnt: Path, size: int) -> None:
    path = mnt / "file"
    path.write_bytes(b"a" * size)
    for letter in (b"b", b"c"):
        assert path.read_bytes() != letter * size
        daemon.remote_write("file", letter * size)
        until(lambda: path.read_bytes() == letter * size, "the new content is read")  # noqa: B023
    daemon.remote_write("file", b"short")
    until(lambda: path.stat().st_size == 5, "the new size is shown")
    until(lambda: path.read_bytes() == b"short", "the new content is read")


def test_an_open_file_keeps_its_content_and_the_name_leads_to_the_new(daemon: FakeDaemon, mount: Mount) -> None:
    path = mount.path / "file"
    path.write_bytes(b"o" * 100_000)
    until(lambda: not daemon.ask("staged", path="file"), "the last close finalizes")
    with open(path, "rb", buffering=0) as held:
        assert held.read(10) == b"o" * 10
        daemon.remote_write("file", b"new")
        until(lambda: path.read_bytes() == b"new", "the name leads to the new content")
        assert held.read() == b"o" * 99_990
        if mount.binding == "pyfuse3":  # the high-level interface asks by path even for a descriptor
            assert os.fstat(held.fileno()).st_size == 100_000
    assert path.read_bytes() == b"new"


def test_a_file_being_written_is_not_disturbed(daemon: FakeDaemon, mount: Mount) -> None:
    path = mount.path / "file"
    with open(path, "w+b", buffering=0) as held:
        held.write(b"mine, ")
        until(lambda: daemon.ask("names") == ["file"], "the daemon to know of it")
        daemon.remote_write("file", b"theirs")
        until(lambda: path.read_bytes() == b"theirs", "the name leads to what came from elsewhere")
        held.write(b"all of it")
        if mount.binding == "pyfuse3":
            assert os.fstat(held.fileno()).st_size == 15
        assert os.pread(held.fileno(), 100, 0) == b"mine, all of it"
    assert path.read_bytes() == b"theirs"


def test_two_mounts_see_what_the_other_does(daemon: FakeDaemon, make_mount: MakeMount) -> None:
    one, two = make_mount("one").path, make_mount("two").path
    assert names(two) == set()
    (one / "dir").mkdir()
    (one / "dir" / "file").write_bytes(b"first")
    until(lambda: (two / "dir" / "file").read_bytes() == b"first", "two sees a new file")
    (two / "dir" / "file").write_bytes(b"second, from two")
    until(lambda: (one / "dir" / "file").read_bytes() == b"second, from two", "one sees the change")
    os.chmod(one / "dir" / "file", 0o600)
    until(lambda: (two / "dir" / "file").stat().st_mode & 0o777 == 0o600, "two sees the mode")
    os.setxattr(two / "dir" / "file", "user.note", b"hello")
    until(lambda: os.listxattr(one / "dir" / "file") == ["user.note"], "one sees the attribute")
    os.rename(one / "dir", one / "moved")
    until(lambda: names(two) == {"moved"}, "two sees the rename")
    assert (two / "moved" / "file").read_bytes() == b"second, from two"
    os.unlink(two / "moved" / "file")
    until(lambda: names(one / "moved") == set(), "one sees the removal")


def test_a_reader_in_one_mount_follows_a_writer_in_another(daemon: FakeDaemon, make_mount: MakeMount) -> None:
    one, two = make_mount("one").path, make_mount("two").path
    (one / "log").write_bytes(b"a" * 100_000)
    until(lambda: (two / "log").exists(), "two sees the file")
    with open(two / "log", "rb", buffering=0) as reader, open(one / "log", "ab", buffering=0) as writer:
        assert len(reader.read()) == 100_000
        writer.write(b"tail")
        writer.flush()
        os.close(os.dup(writer.fileno()))  # a flush, as any close
        until(lambda: os.pread(reader.fileno(), 10, 100_000) == b"tail", "the reader sees what was appended")


def test_two_mounts_write_one_open_file_together(daemon: FakeDaemon, make_mount: MakeMount) -> None:
    one, two = make_mount("one").path, make_mount("two").path
    (one / "file").write_bytes(b"." * 100_000)
    until(lambda: not daemon.ask("staged", path="file"), "the last close finalizes")
    until(lambda: (two / "file").exists(), "two sees the file")
    with open(one / "file", "r+b", buffering=0) as first, open(two / "file", "r+b", buffering=0) as second:
        os.pwrite(first.fileno(), b"ONE", 0)
        os.pwrite(second.fileno(), b"TWO", 50_000)
    wanted = b"ONE" + b"." * 49_997 + b"TWO" + b"." * 49_997
    until(lambda: daemon.content("file") == wanted, "both changes are kept")
    until(lambda: (one / "file").read_bytes() == wanted, "one reads both")
    until(lambda: (two / "file").read_bytes() == wanted, "two reads both")


def test_late_news_does_not_undo_what_was_done_here_since(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "file").write_bytes(b"old")
    (mnt / "new").write_bytes(b"new")
    assert names(mnt) == {"file", "new"}
    daemon.ask("hold_news", held=True)
    daemon.ask("remote_unlink", path="file")
    os.rename(mnt / "new", mnt / "file")
    daemon.ask("hold_news", held=False)
    daemon.remote_write("marker", b"")
    until(lambda: names(mnt) == {"file", "marker"}, "all news is here, and the file still is")
    assert (mnt / "file").read_bytes() == b"new"


def test_late_news_does_not_bring_back_what_was_removed_here_since(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "file").write_bytes(b"first")
    assert names(mnt) == {"file"}
    daemon.ask("hold_news", held=True)
    os.link(mnt / "file", mnt / "kept")
    daemon.ask("remote_unlink", path="file")
    daemon.ask("remote_link", old="kept", new="file")
    os.unlink(mnt / "file")
    daemon.ask("hold_news", held=False)
    daemon.remote_write("marker", b"")
    until(lambda: names(mnt) == {"kept", "marker"}, "all news is here, and the name is still gone")
    assert not (mnt / "file").exists()


def test_too_many_changes_empty_every_cache(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "file").write_bytes(b"x")
    assert names(mnt) == {"file"}
    daemon.ask("silent_write", path="file", data="eHl6")
    daemon.ask("silent_write", path="new", data="eHl6")
    assert not (mnt / "new").exists(), "the mount was not told, so it cannot know"
    daemon.ask("reset")
    until(lambda: (mnt / "new").exists(), "the new name is seen")
    until(lambda: (mnt / "file").read_bytes() == b"xyz", "the new content is read")
    assert names(mnt) == {"file", "new"}


@only("pyfuse3")
def test_names_and_attributes_that_are_listed_cost_nothing_more(daemon: FakeDaemon, mnt: Path) -> None:
    daemon.ask("make_files", count=500)
    until(lambda: len(os.listdir(mnt)) == 500, "the directory is listed")

    def quiet() -> bool:
        daemon.ask("reset_calls")
        os.stat(mnt)
        return daemon.ask("calls") == {}

    until(quiet, "all news of the new files is here")
    for name in os.listdir(mnt):
        os.stat(mnt / name)
    for number in range(100):
        assert not (mnt / f"absent {number}").exists()
    assert daemon.ask("calls") == {}


# ---- what a write is based on ----
EDITOR = """
import os, sys
path, how = sys.argv[1:]
content = open(path, "rb").read()
print("read", flush=True)
sys.stdin.readline()
if how == "write over":
    open(path, "wb").write(content + b" edited")
elif how == "change inside":
    with open(path, "r+b") as file: file.write(b"EDITED")
elif how == "truncate":
    os.truncate(path, 3)
elif how == "rename over":
    open(path + ".new", "wb").write(content + b" edited")
    os.rename(path + ".new", path)
"""


class Editor:
    """A process that reads a file, waits, and then changes it."""

    def __init__(self, path: Path, how: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", EDITOR, str(path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"read\n"

    def save(self) -> None:
        self._process.communicate(b"\n", timeout=30)
        assert self._process.returncode == 0


WAYS = {"write over": "open", "change inside": "open", "truncate": "set_attr", "rename over": "rename"}


@pytest.mark.parametrize("how", WAYS)
def test_an_editor_that_saves_over_a_version_it_never_read_says_what_it_read(
    daemon: FakeDaemon, mnt: Path, how: str
) -> None:
    (mnt / "file").write_bytes(b"first")
    read = daemon.ask("version", path="file")
    editor = Editor(mnt / "file", how)
    assert names(mnt) == {"file"}
    daemon.remote_write("file", b"second, from elsewhere")
    # The content may be read before the mount is told of the change; a name after it shows that it was.
    daemon.remote_write("marker", b"")
    until(lambda: names(mnt) == {"file", "marker"}, "the mount was told")
    daemon.ask("reset_calls")
    editor.save()
    assert [WAYS[how], read] in daemon.ask("bases")


@pytest.mark.parametrize("how", WAYS)
def test_a_program_that_read_what_is_shown_names_no_base(daemon: FakeDaemon, mnt: Path, how: str) -> None:
    (mnt / "file").write_bytes(b"first")
    daemon.remote_write("file", b"second, from elsewhere")
    until(lambda: (mnt / "file").read_bytes() == b"second, from elsewhere", "the change is here")
    editor = Editor(mnt / "file", how)
    # Between programs of one device the last write wins.
    (mnt / "file").write_bytes(b"third, from here")
    daemon.ask("reset_calls")
    editor.save()
    assert {base for _, base in daemon.ask("bases")} == {""}


# ---- read-only ----
WRITING: dict[str, Any] = {
    "create": lambda p: (p / "new").write_bytes(b"x"),
    "write": lambda p: (p / "file").write_bytes(b"x"),
    "append": lambda p: os.open(p / "file", os.O_WRONLY | os.O_APPEND),
    "truncate": lambda p: os.truncate(p / "file", 0),
    "mkdir": lambda p: (p / "new").mkdir(),
    "rmdir": lambda p: (p / "dir").rmdir(),
    "unlink": lambda p: (p / "file").unlink(),
    "rename": lambda p: os.rename(p / "file", p / "new"),
    "link": lambda p: os.link(p / "file", p / "new"),
    "symlink": lambda p: os.symlink("x", p / "new"),
    "mknod": lambda p: os.mknod(p / "new", 0o100644),
    "chmod": lambda p: os.chmod(p / "file", 0o600),
    "utime": lambda p: os.utime(p / "file"),
    "setxattr": lambda p: os.setxattr(p / "file", "user.x", b"1"),
    "removexattr": lambda p: os.removexattr(p / "file", "user.kept"),
}


def refusals(path: Path) -> dict[str, str]:
    found = {}
    for name, operation in WRITING.items():
        with pytest.raises(OSError) as refused:
            operation(path)
        found[name] = errno.errorcode[refused.value.errno or 0]
    return found


def furnish(path: Path) -> None:
    (path / "file").write_bytes(b"content")
    (path / "dir").mkdir()
    os.setxattr(path / "file", "user.kept", b"1")


def test_a_read_only_mount_reads_and_answers_erofs(daemon: FakeDaemon, make_mount: MakeMount) -> None:
    furnish(make_mount("writable").path)
    path = make_mount("reading", "--read-only").path
    assert (path / "file").read_bytes() == b"content"
    assert os.getxattr(path / "file", "user.kept") == b"1"
    assert refusals(path) == dict.fromkeys(WRITING, "EROFS")


def test_a_device_that_became_a_reader_answers_erofs_at_once(daemon: FakeDaemon, mnt: Path) -> None:
    furnish(mnt)
    daemon.ask("become_reader")
    daemon.ask("reset_calls")
    until(lambda: set(refusals(mnt).values()) == {"EROFS"}, "every attempt to write is refused")
    assert (mnt / "file").read_bytes() == b"content"


def test_a_device_that_became_a_writer_writes_through_the_mount_that_is_there(
    daemon: FakeDaemon, make_mount: MakeMount
) -> None:
    furnish(make_mount("furnishing").path)
    daemon.ask("become_reader")
    mnt = make_mount("there").path
    asked = make_mount("asked", "--read-only").path
    assert set(refusals(mnt).values()) == {"EROFS"}
    daemon.ask("become_writer")
    until(lambda: _could_write(mnt / "written"), "the mount to be writable")
    assert (mnt / "written").read_bytes() == b"text"
    assert set(refusals(asked).values()) == {"EROFS"}


def _could_write(path: Path) -> bool:
    try:
        path.write_bytes(b"text")
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return False
    return True
