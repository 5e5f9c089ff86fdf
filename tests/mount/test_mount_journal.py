# SPDX-License-Identifier: GPL-3.0-or-later
"""Closed new files that nobody waits for: they are in the journal until the daemon has them."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from holofs_api.journal import record, records
from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.write_behind.journal import Journal
from mount.conftest import MakeMount
from mount.harness import FakeDaemon
from support.wait import until


@pytest.fixture(autouse=True)
def journals(daemon: FakeDaemon) -> None:
    daemon.ask("keep_journals")


def kept(daemon: FakeDaemon) -> list[Any]:
    """The calls in the journal of the only mount; their numbers follow each other."""
    (path,) = (path for path in (daemon.state / "volume").iterdir() if path.is_file())
    found = list(records(path.read_bytes()))
    assert [number for number, _ in found] == list(range(found[0][0], found[-1][0] + 1)) if found else True
    calls = [pb.CallRequest.FromString(body) for _, body in found]
    return [getattr(call, call.WhichOneof("call") or "") for call in calls]


def is_empty(daemon: FakeDaemon) -> bool:
    return kept(daemon) == []


def test_closing_waits_for_nobody_and_what_was_shown_stays_true(daemon: FakeDaemon, mnt: Path) -> None:
    os.listdir(mnt)
    daemon.ask("hold", call="create")
    shown = {}
    for size in (0, 5, 60_000):
        fd = os.open(mnt / f"file {size}", os.O_WRONLY | os.O_CREAT, 0o640)
        os.write(fd, b"x" * size)
        shown[size] = os.fstat(fd)
        os.close(fd)
    assert [(request.name, len(request.data)) for request in kept(daemon)] == [
        (b"file 0", 0),
        (b"file 5", 5),
        (b"file 60000", 60_000),
    ]
    assert len(os.listdir(mnt)) == 3

    def is_as_shown(size: int) -> bool:
        found, before = os.stat(mnt / f"file {size}"), shown[size]
        return all(
            getattr(found, name) == getattr(before, name)
            for name in ("st_ino", "st_mode", "st_nlink", "st_size", "st_mtime_ns", "st_ctime_ns")
        )

    assert all(is_as_shown(size) for size in shown)
    daemon.ask("hold", call="")
    until(lambda: is_empty(daemon), "the journal to be empty")
    assert all(is_as_shown(size) for size in shown)
    for size in shown:
        assert (mnt / f"file {size}").read_bytes() == daemon.content(f"file {size}") == b"x" * size


def test_after_a_burst_that_used_up_all_numbers_there_are_new_ones(daemon: FakeDaemon, mnt: Path) -> None:
    os.listdir(mnt)
    daemon.ask("hold", call="create")
    daemon.ask("reset_calls")
    with ThreadPoolExecutor(1) as pool:
        burst = pool.submit(lambda: [(mnt / str(number)).write_bytes(b"") for number in range(310)])
        until(lambda: len(kept(daemon)) < daemon.ask("calls").get("create", 0), "one that has to be waited for")
        daemon.ask("hold", call="")
        burst.result(30)
    until(lambda: is_empty(daemon), "the journal to be empty")
    daemon.ask("reset_calls")
    for number in range(20):
        (mnt / f"later {number}").write_bytes(b"x")
    until(lambda: is_empty(daemon), "the journal to be empty")
    asked = daemon.ask("calls")
    asked.pop(
        "get_attr", None
    )  # of the directory: on a busy machine half a second passes, and its times are no guess any more
    assert asked == {"create": 20}, "each is one call"


def test_what_follows_on_a_closed_file_comes_after_it(daemon: FakeDaemon, mnt: Path) -> None:
    os.listdir(mnt)
    (mnt / "file").write_bytes(b"content")
    os.chmod(mnt / "file", 0o604)
    os.utime(mnt / "file", ns=(5_000_000_000, 5_000_000_000))
    os.rename(mnt / "file", mnt / "moved")
    with open(mnt / "moved", "ab") as file:
        file.write(b", and more")
    found = os.stat(mnt / "moved")
    assert (found.st_mode & 0o777, found.st_size) == (0o604, 17)
    assert (mnt / "moved").read_bytes() == b"content, and more"
    until(lambda: daemon.content("moved") == b"content, and more", "the daemon to have it")


def test_a_descriptor_that_is_used_after_a_close_of_its_copy(daemon: FakeDaemon, mnt: Path) -> None:
    os.listdir(mnt)
    fd = os.open(mnt / "file", os.O_WRONLY | os.O_CREAT, 0o640)
    os.write(fd, b"one")
    os.close(os.dup(fd))
    os.write(fd, b", two")
    os.close(fd)
    assert (mnt / "file").read_bytes() == b"one, two"
    until(lambda: daemon.content("file") == b"one, two", "the daemon to have it")


@pytest.mark.parametrize("size", [0, 7])
def test_a_daemon_that_dies_before_it_answers_has_made_it_once(daemon: FakeDaemon, mnt: Path, size: int) -> None:
    os.listdir(mnt)
    daemon.ask("drop_reply", call="create")
    (mnt / "file").write_bytes(b"x" * size)
    assert (mnt / "file").read_bytes() == b"x" * size
    assert (daemon.ask("names"), daemon.content("file")) == (["file"], b"x" * size)
    (mnt / "file").unlink()
    until(lambda: daemon.ask("names") == [], "it goes")
    until(lambda: is_empty(daemon), "the journal to be empty")


def test_a_new_directory_and_what_is_in_it_wait_for_nobody(daemon: FakeDaemon, mnt: Path) -> None:
    os.listdir(mnt)
    daemon.ask("hold", call="make_dir")
    (mnt / "one" / "two").mkdir(parents=True, mode=0o750)
    (mnt / "one" / "two" / "file").write_bytes(b"x")
    assert os.stat(mnt / "one").st_nlink == 3
    assert os.listdir(mnt / "one" / "two") == ["file"]
    assert [request.name for request in kept(daemon)] == [b"one", b"two", b"file"]
    daemon.ask("hold", call="")
    until(lambda: is_empty(daemon), "the journal to be empty")
    assert daemon.ask("names") == ["one", "one/two", "one/two/file"]
    assert os.stat(mnt / "one" / "two").st_mode & 0o777 == 0o750


def test_a_tree_that_is_removed_waits_for_nobody(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "one" / "two").mkdir(parents=True)
    (mnt / "one" / "two" / "file").write_bytes(b"x")
    until(lambda: is_empty(daemon), "the journal to be empty")
    daemon.ask("hold", call="unlink")
    shutil.rmtree(mnt / "one")
    assert os.listdir(mnt) == []
    assert os.stat(mnt).st_nlink == 2
    assert [request.name for request in kept(daemon)] == [b"file", b"two", b"one"]
    (mnt / "one").mkdir()
    daemon.ask("hold", call="")
    until(lambda: is_empty(daemon), "the journal to be empty")
    assert daemon.ask("names") == ["one"]


def test_a_folder_that_is_filled_from_elsewhere_as_it_is_removed_stays(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "one").mkdir()
    until(lambda: is_empty(daemon), "the journal to be empty")
    daemon.ask("hold_news", held=True)
    try:
        daemon.remote_write("one/file", b"theirs")
        (mnt / "one").rmdir()
    finally:
        daemon.ask("hold_news", held=False)
    until(lambda: (mnt / "one" / "file").exists(), "the folder to show again")
    assert (mnt / "one" / "file").read_bytes() == b"theirs"
    until(lambda: os.stat(mnt).st_nlink == 3, "it to be counted again")


def test_all_that_is_not_waited_for_is_in_one_order(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "old").write_bytes(b"old")
    os.stat(mnt / "old")
    os.listdir(mnt)
    until(lambda: is_empty(daemon), "the journal to be empty")
    daemon.ask("hold", call="unlink")
    (mnt / "old").unlink()
    (mnt / "old").write_bytes(b"new")
    os.chmod(mnt / "old", 0o604)
    os.utime(mnt / "old", ns=(5_000_000_000, 5_000_000_000))
    until(lambda: len(kept(daemon)) >= 3, "times and mode to be written down")
    kinds = [type(request) for request in kept(daemon)]
    assert kinds[:3] == [pb.UnlinkRequest, pb.CreateRequest, pb.SetAttrRequest]
    daemon.ask("hold", call="")
    until(lambda: is_empty(daemon), "the journal to be empty")
    assert daemon.content("old") == b"new"
    assert daemon.ask("mtime_ns", path="old") == 5_000_000_000


def test_what_the_daemon_refuses_stays_in_the_journal_until_it_takes_it(daemon: FakeDaemon, mnt: Path) -> None:
    os.listdir(mnt)
    daemon.ask("hold_news", held=True)
    try:
        daemon.ask("become_reader")
        (mnt / "file").write_bytes(b"promised")
        until(lambda: os.listdir(mnt) == [], "the name is not there yet")
        assert [request.name for request in kept(daemon)] == [b"file"]
        directory = os.open(mnt, os.O_RDONLY)
        with pytest.raises(OSError, match="Input/output error"):
            os.fsync(directory)
        os.close(directory)
        with pytest.raises(OSError, match="Read-only"):
            (mnt / "other").write_bytes(b"whoever closes now waits, and hears it")
        until(lambda: os.listdir(mnt) == [], "the other one is given up")
    finally:
        daemon.ask("become_writer")
        daemon.ask("hold_news", held=False)
    until(lambda: os.listdir(mnt) == ["file"], "it is stored")
    assert daemon.content("file") == b"promised"
    until(lambda: is_empty(daemon), "the journal to be empty")


def test_while_several_mounts_are_here_closing_waits(daemon: FakeDaemon, make_mount: MakeMount) -> None:
    """The last one: this daemon thinks from here on that there is company."""
    one = make_mount("one").path
    os.listdir(make_mount("two").path)
    os.listdir(one)
    daemon.ask("hold", call="create")
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit((one / "file").write_bytes, b"x")
        until(lambda: daemon.ask("names") == ["file"], "the daemon to have it")
        assert not writing.done()
        daemon.ask("hold", call="")
        writing.result()


def test_a_record_that_is_cut_off_ends_the_journal() -> None:
    data = record(7, b"one") + record(8, b"") + record(9, b"three")
    assert list(records(data)) == [(7, b"one"), (8, b""), (9, b"three")]
    for end in range(len(data)):
        assert len(list(records(data[:end]))) < 3
    assert list(records(data.replace(b"one", b"two"))) == []
    assert list(records(data.replace(b"\7one", b"\6one"))) == [], "the number is covered, too"


def test_a_journal_has_one_owner_and_a_limit(tmp_path: Path) -> None:
    one, two = Journal(), Journal()
    path = tmp_path / "journal"
    one.open(str(path))
    two.open(str(path))
    large = pb.CallRequest(create=pb.CreateRequest(ino=5, data=b"x" * 1_000_000))
    assert not two.append(large)
    assert one.append(large) == 1
    while one.append(large):
        assert path.stat().st_size < 20_000_000
    one.clear()
    assert path.stat().st_size == 0
    number = one.append(large)
    assert number > 2, "numbers never come again"
    one.open(str(path))
    assert path.stat().st_size > 1_000_000
    one.open("")
    assert not one.append(large)
    assert path.stat().st_size > 1_000_000, "what is in it stays"
    one.close()
    two.open(str(path))
    assert two.append(large)
    two.close()


def test_a_journal_that_was_taken_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal()
    journal.open(str(path))
    path.unlink()
    journal.open(str(path))
    assert journal.append(pb.CallRequest(create=pb.CreateRequest(ino=5)))
    assert path.stat().st_size > 0
    journal.close()


def test_without_room_nothing_is_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal()
    journal.open(str(tmp_path / "journal"))
    full = os.statvfs_result((4096, 4096, 1000, 1000, 1000, 9, 9, 9, 0, 255))
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: full)
    assert journal.append(pb.CallRequest(create=pb.CreateRequest(ino=5))) == 0
    journal.close()
