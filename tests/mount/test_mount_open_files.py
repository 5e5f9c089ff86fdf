# SPDX-License-Identifier: GPL-3.0-or-later
"""Files while they are open: without a name, replaced, mapped, appended to, growing out of memory."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path

import pytest

from mount.conftest import MakeMount, only
from mount.harness import FakeDaemon
from support.wait import until

LIMIT = 65_536


def test_a_file_that_lost_its_name_stays_readable_and_writable(daemon: FakeDaemon, mnt: Path) -> None:
    path = mnt / "file"
    path.write_bytes(b"before")
    fd = os.open(path, os.O_RDWR)
    os.unlink(path)
    assert os.listdir(mnt) == []
    assert daemon.ask("names") == []
    assert os.pread(fd, 100, 0) == b"before"
    os.pwrite(fd, b"AFTER, and longer", 0)
    assert os.pread(fd, 100, 0) == b"AFTER, and longer"
    assert os.fstat(fd).st_size == 17
    assert os.fstat(fd).st_nlink == 0
    os.ftruncate(fd, 5)
    assert os.pread(fd, 100, 0) == b"AFTER"
    os.fsync(fd)
    os.close(fd)


def test_a_new_file_without_a_name_can_be_used(mnt: Path) -> None:
    fd = os.open(mnt / "temporary", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.unlink(mnt / "temporary")
    os.write(fd, b"x" * 100_000)
    assert os.fstat(fd).st_size == 100_000
    assert os.pread(fd, 10, 99_995) == b"xxxxx"
    os.close(fd)
    assert os.listdir(mnt) == []


def test_no_hidden_names_reach_the_volume(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "dir").mkdir()
    (mnt / "dir" / "target").write_bytes(b"old")
    (mnt / "dir" / "source").write_bytes(b"new")
    with open(mnt / "dir" / "target", "rb") as held, open(mnt / "dir" / "source", "rb"):
        os.rename(mnt / "dir" / "source", mnt / "dir" / "target")
        assert daemon.ask("names") == ["dir", "dir/target"]
        os.unlink(mnt / "dir" / "target")
        os.rmdir(mnt / "dir")
        assert daemon.ask("names") == []
        assert held.read() == b"old"
    assert os.listdir(mnt) == []


def test_replacing_an_open_file_keeps_what_is_open(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "file").write_bytes(b"old content")
    (mnt / "new").write_bytes(b"new")
    with open(mnt / "file", "rb") as held:
        os.rename(mnt / "new", mnt / "file")
        assert (mnt / "file").read_bytes() == b"new"
        assert held.read() == b"old content"
        assert os.fstat(held.fileno()).st_ino != (mnt / "file").stat().st_ino
    assert daemon.content("file") == b"new"


def test_a_small_new_file_costs_one_call(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "d").mkdir()
    (mnt / "d" / "warm").write_bytes(b"x")
    rounds = count()

    def costs_one_call() -> bool:
        """Makes 20 files. What a busy machine holds up for a twentieth of a second is made known first."""
        again = next(rounds)
        daemon.ask("reset_calls")
        for number in range(20):
            (mnt / "d" / f"file {again} {number}").write_bytes(b"small")
        until(lambda: daemon.ask("handles") == 0, "every handle is released")
        calls = daemon.ask("calls")
        assert calls.pop("create") == 20
        assert calls.pop("commit", 0) + calls.pop("release", 0) <= 10
        # The directory's own attributes may be asked for now and then, never for each file.
        assert calls.pop("get_attr", 0) <= 10
        assert calls.pop("lookup", 0) <= 3
        assert calls == {}
        return True

    until(costs_one_call, "20 files to be made at the speed of a machine that is not busy")


def test_what_was_written_is_with_the_daemon_when_close_returns(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "small").write_bytes(b"small")
    assert daemon.content("small") == b"small"
    big = os.urandom(3 * LIMIT)
    (mnt / "big").write_bytes(big)
    assert daemon.content("big") == big


def test_a_file_that_outgrows_memory_is_staged(daemon: FakeDaemon, mnt: Path) -> None:
    path = mnt / "growing"
    pieces = [os.urandom(30_000) for _ in range(8)]
    with open(path, "wb", buffering=0) as file:
        for number, piece in enumerate(pieces):
            file.write(piece)
            assert path.stat().st_size == 30_000 * (number + 1)
        assert daemon.ask("staged", path="growing")
    assert path.read_bytes() == b"".join(pieces)
    until(lambda: not daemon.ask("staged", path="growing"), "the last close finalizes")
    assert daemon.content("growing") == b"".join(pieces)


def test_a_hole_far_beyond_the_end_reads_as_zeros(mnt: Path) -> None:
    with open(mnt / "sparse", "w+b", buffering=0) as file:
        file.write(b"start")
        os.pwrite(file.fileno(), b"end", 5_000_000)
        assert os.pread(file.fileno(), 10, 4_999_995) == b"\0\0\0\0\0end"
        assert os.pread(file.fileno(), 10, 0) == b"start\0\0\0\0\0"
    assert (mnt / "sparse").stat().st_size == 5_000_003


def test_writing_inside_a_large_file_changes_only_that(daemon: FakeDaemon, mnt: Path) -> None:
    content = bytearray(os.urandom(2_000_000))
    (mnt / "file").write_bytes(content)
    until(lambda: not daemon.ask("staged", path="file"), "the last close finalizes")
    with open(mnt / "file", "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"CHANGED", 1_000_000)
        content[1_000_000:1_000_007] = b"CHANGED"
        assert os.pread(file.fileno(), 20, 999_995) == content[999_995:1_000_015]
    assert (mnt / "file").read_bytes() == content


def test_two_descriptors_of_one_file_see_the_same(mnt: Path) -> None:
    path = mnt / "file"
    with open(path, "wb", buffering=0) as writer:
        writer.write(b"one")
        with open(path, "r+b", buffering=0) as second:
            assert second.read() == b"one"
            second.write(b" two")
            writer.write(b" THREE"[:1])
            assert path.read_bytes() == b"one two"
            os.ftruncate(second.fileno(), 2)
            assert path.read_bytes() == b"on"
            assert os.fstat(writer.fileno()).st_size == 2


def test_truncating_on_open_empties_what_others_have_open(mnt: Path) -> None:
    path = mnt / "file"
    path.write_bytes(b"x" * 1000)
    with open(path, "rb", buffering=0) as reader:
        with open(path, "wb", buffering=0) as writer:
            assert path.stat().st_size == 0
            assert reader.read() == b""
            writer.write(b"new")
        assert os.pread(reader.fileno(), 10, 0) == b"new"


def test_appending_from_several_processes_loses_nothing(daemon: FakeDaemon, mnt: Path) -> None:
    path = mnt / "log"
    program = (
        "import os, sys\n"
        "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
        "for n in range(40): os.write(fd, b'%s:%03d\\n' % (sys.argv[2].encode(), n))\n"
        "os.close(fd)\n"
    )
    path.write_bytes(b"")
    workers = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in "abc"]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    lines = path.read_text().splitlines()
    assert sorted(lines) == sorted(f"{name}:{n:03}" for name in "abc" for n in range(40))
    for name in "abc":
        assert [line for line in lines if line[0] == name] == [f"{name}:{n:03}" for n in range(40)]


def test_the_time_of_a_file_being_written_can_be_set(daemon: FakeDaemon, mnt: Path) -> None:
    fd = os.open(mnt / "file", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"x")
    os.utime(fd, ns=(0, 1_000_000_000_123_456_789))
    assert os.fstat(fd).st_mtime_ns == 1_000_000_000_123_456_789
    os.close(fd)
    assert (mnt / "file").stat().st_mtime_ns == 1_000_000_000_123_456_789
    assert daemon.ask("mtime_ns", path="file") == 1_000_000_000_123_456_789


def test_the_time_of_a_staged_file_survives_its_close(daemon: FakeDaemon, mnt: Path) -> None:
    fd = os.open(mnt / "file", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"x" * 200_000)
    os.utime(fd, ns=(0, 1_000_000_000_123_456_789))
    os.close(fd)
    until(lambda: not daemon.ask("staged", path="file"), "the last close finalizes")
    assert (mnt / "file").stat().st_mtime_ns == 1_000_000_000_123_456_789


def test_fsync_answers_for_files_and_directories(daemon: FakeDaemon, mnt: Path) -> None:
    with open(mnt / "small", "wb", buffering=0) as file:
        file.write(b"x")
        os.fsync(file.fileno())
        file.write(b"y" * 100_000)
        os.fdatasync(file.fileno())
    directory = os.open(mnt, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    assert daemon.ask("calls")["fsync"] == 3


def test_many_threads_use_many_files_at_once(mnt: Path) -> None:
    failures: list[str] = []

    def work(number: int) -> None:
        for turn in range(5):
            data = os.urandom(50_000 * (turn + 1))
            path = mnt / f"thread {number} turn {turn}"
            path.write_bytes(data)
            if path.read_bytes() != data:
                failures.append(path.name)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(os.listdir(mnt)) == 40


# ---- mmap: the kernel's pages, so pyfuse3; direct I/O cannot be mapped for sharing ----
# Each mapping is used in a process of its own: a page fault holds the interpreter's lock, and nothing else may need it.
MAPPER = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
with mmap.mmap(fd, 0) as mapped:
    if sys.argv[2] == "close first":
        os.close(fd)
    mapped[0:5] = b"MMAP!"
    mapped[-3:] = b"end"
    if sys.argv[2] == "flush":
        mapped.flush()
"""


@pytest.mark.parametrize("how", ["flush", "leave it to the kernel", "close first"])
@only("pyfuse3")
@pytest.mark.parametrize("size", [10_000, 300_000])
def test_what_is_written_through_a_mapping_is_kept(daemon: FakeDaemon, mnt: Path, how: str, size: int) -> None:
    (mnt / "file").write_bytes(b"." * size)
    subprocess.run([sys.executable, "-c", MAPPER, str(mnt / "file"), how], check=True, timeout=30)
    wanted = b"MMAP!" + b"." * (size - 8) + b"end"
    assert (mnt / "file").read_bytes() == wanted
    until(lambda: daemon.content("file") == wanted, "the daemon has what was written through the mapping")


@only("fusepy")
def test_sharing_a_mapping_is_refused_where_it_would_not_be_safe(mnt: Path) -> None:
    (mnt / "file").write_bytes(b"x" * 100)
    with open(mnt / "file", "r+b") as file, pytest.raises(OSError) as refused:
        mmap.mmap(file.fileno(), 0)
    assert refused.value.errno == errno.ENODEV


# ---- handles that outlive the first close ----
def test_a_duplicated_descriptor_goes_on_after_the_first_close(daemon: FakeDaemon, mnt: Path) -> None:
    fd = os.open(mnt / "file", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"one")
    os.close(os.dup(fd))
    assert daemon.content("file") == b"one"
    os.write(fd, b" two")
    os.close(os.dup(fd))
    assert daemon.content("file") == b"one two"
    os.unlink(mnt / "file")
    os.write(fd, b" three" + b"!" * 100_000)
    assert os.pread(fd, 14, 0) == b"one two three!"
    os.close(fd)
    assert daemon.ask("names") == []
    until(lambda: daemon.ask("handles") == 0, "no handle is left open")


def test_a_duplicated_descriptor_survives_its_file_being_replaced(daemon: FakeDaemon, mnt: Path) -> None:
    fd = os.open(mnt / "file", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"one")
    os.close(os.dup(fd))
    (mnt / "new").write_bytes(b"new")
    os.rename(mnt / "new", mnt / "file")
    os.write(fd, b" two")
    os.close(os.dup(fd))
    assert os.pread(fd, 100, 0) == b"one two"
    os.close(fd)
    assert daemon.content("file") == b"new"


@only("pyfuse3")
def test_a_duplicated_descriptor_is_not_disturbed_from_elsewhere(daemon: FakeDaemon, mnt: Path) -> None:
    fd = os.open(mnt / "file", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"one")
    os.close(os.dup(fd))
    until(lambda: daemon.ask("handles") == 1, "the daemon knows that it is still open")
    daemon.remote_write("file", b"from elsewhere")
    until(lambda: (mnt / "file").read_bytes() == b"from elsewhere", "the change is here")
    os.write(fd, b" two")
    assert os.pread(fd, 100, 0) == b"one two"
    os.close(fd)
    assert (mnt / "file").read_bytes() == b"from elsewhere"


# ---- quiet files ----
def test_a_file_that_stays_open_becomes_a_version_when_it_is_quiet(daemon: FakeDaemon, mnt: Path) -> None:
    with open(mnt / "log", "w+b", buffering=0) as file:
        file.write(b"in memory")
        until(lambda: daemon.ask("names") == ["log"], "the daemon to know of it")
        assert daemon.content("log") == b""
        until(lambda: daemon.content("log") == b"in memory", "it is handed over after five quiet seconds")
        file.write(b", more")
        assert os.pread(file.fileno(), 100, 0) == b"in memory, more"
    assert daemon.content("log") == b"in memory, more"


def test_a_staging_file_is_written_by_handles_that_the_daemon_knows_to_write(daemon: FakeDaemon, mnt: Path) -> None:
    """The daemon finalizes when the last handle that staged is gone; one it does not know of would write on."""
    path = mnt / "file"
    path.write_bytes(b"." * 100_000)
    until(lambda: not daemon.ask("staged", path="file"), "the last close finalizes")
    with open(path, "r+b", buffering=0) as second:
        with open(path, "r+b", buffering=0) as first:
            first.write(b"FIRST")
        until(lambda: not daemon.ask("staged", path="file"), "the only writer is gone")
        assert second.read(6) == b"FIRST."
        second.write(b"SECOND")
        assert os.pread(second.fileno(), 13, 0) == b"FIRST.SECOND."
        with open(path, "r+b", buffering=0) as third:
            third.write(b"THIRD")
            second.write(b"again")
        assert daemon.ask("staged", path="file")
    wanted = b"THIRD.SECONDagain" + b"." * 99_983
    until(lambda: daemon.content("file") == wanted, "all of it is kept")
    assert path.read_bytes() == wanted


# ---- reading ----
def test_content_elsewhere_is_fetched_when_it_is_read(daemon: FakeDaemon, mnt: Path) -> None:
    data = os.urandom(500_000)
    daemon.remote_write("far", data, here=False)
    until((mnt / "far").exists, "the name is here")
    assert (mnt / "far").read_bytes() == data
    assert daemon.ask("calls")["fetch"] >= 1


def test_content_that_cannot_be_fetched_ends_in_a_clear_error(daemon: FakeDaemon, mnt: Path) -> None:
    daemon.remote_write("far", b"x" * 10_000, here=False)
    until((mnt / "far").exists, "the name is here")
    daemon.ask("slow_fetch", delay=0.0, error=errno.EHOSTUNREACH)
    with pytest.raises(OSError) as failed:
        (mnt / "far").read_bytes()
    assert failed.value.errno == errno.EHOSTUNREACH
    daemon.ask("slow_fetch", delay=0.0)
    assert (mnt / "far").read_bytes() == b"x" * 10_000


def test_other_files_can_be_used_while_content_is_fetched(daemon: FakeDaemon, mnt: Path) -> None:
    daemon.remote_write("far", b"x" * 10_000, here=False)
    until((mnt / "far").exists, "the name is here")
    daemon.ask("slow_fetch", delay=3.0)
    reader = threading.Thread(target=(mnt / "far").read_bytes)
    reader.start()
    (mnt / "near").write_bytes(b"y")
    assert (mnt / "near").read_bytes() == b"y"
    assert reader.is_alive(), "the fetch was over too soon to show anything"
    reader.join()


def test_a_path_that_is_gone_makes_the_mount_ask_again(daemon: FakeDaemon, mnt: Path) -> None:
    daemon.remote_write("file", b"z" * 50_000)
    until((mnt / "file").exists, "the name is here")
    with open(mnt / "file", "rb", buffering=0) as file:
        daemon.ask("forget_content")
        assert file.read() == b"z" * 50_000


def test_handles_are_let_go_at_the_daemon(daemon: FakeDaemon, mnt: Path, make_mount: MakeMount) -> None:
    for number in range(5):
        (mnt / f"{number}").write_bytes(b"x" * 100_000 * number)
        (mnt / f"{number}").read_bytes()
    until(lambda: daemon.ask("handles") == 0, "no handle is left open")
