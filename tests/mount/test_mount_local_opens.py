# SPDX-License-Identifier: GPL-3.0-or-later
"""Small files whose content is known are opened without the daemon, and nobody can tell the difference."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holofs_api.v1 import filesystem_pb2 as pb
from holofs_mount.core.local_opens import SiblingPrefetch
from holofs_mount.core.volume import MountRequest, Volume
from mount.conftest import MakeMount
from mount.harness import FakeDaemon
from support.wait import until


def opens(daemon: FakeDaemon) -> int:
    return int(daemon.ask("calls").get("open", 0))


def test_a_small_file_that_was_written_or_read_here_is_opened_without_the_daemon(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "written").write_bytes(b"by me")
    daemon.remote_write("read", b"by another device")
    until(lambda: (mnt / "read").exists(), "the file from elsewhere")
    assert (mnt / "read").read_bytes() == b"by another device"
    daemon.ask("reset_calls")
    for _ in range(20):
        assert (mnt / "written").read_bytes() == b"by me"
        assert (mnt / "read").read_bytes() == b"by another device"
    assert opens(daemon) < 10  # of 40; one that lasts is made known


def test_a_small_file_that_the_news_brought_is_looked_up_and_opened_without_the_daemon(
    daemon: FakeDaemon, mnt: Path, binding: str
) -> None:
    (mnt / "other").write_bytes(b"x")
    os.listdir(mnt)
    daemon.ask("reset_calls")
    for content in (b"new", b"newer"):
        daemon.remote_write("file", content)
        until(lambda content=content: (mnt / "file").exists() and (mnt / "file").read_bytes() == content, "the news")
    asked = daemon.ask("calls")
    # By gRPC alone, news and replies overtake each other, so it brings names only.
    assert ("open" in asked, "lookup" in asked) == ((False, False) if binding == "pyfuse3" else (True, True))


def _volume(directory: Path) -> Volume:
    """Volume without a daemon."""
    return Volume(MountRequest("vol", directory, directory / "socket", "mount", read_only=False, patience=1.0))


async def test_news_do_not_bring_back_what_this_mount_changed_meanwhile(tmp_path: Path) -> None:
    volume = _volume(tmp_path)
    told = [pb.AheadFile(attr=pb.Attr(ino=ino, mode=0o644, version=b"v")) for ino in (7, 8)]
    volume.write_behind.queue.set_attr(pb.SetAttrRequest(ino=7, mode=0o600))
    volume.changed(pb.Change(files=told))
    assert volume.state.attrs.get(7) is None, "the daemon has not heard of our mode"
    assert volume.state.attrs.get(8) == told[1].attr


@pytest.mark.parametrize("size", [20, 30_000])
def test_a_new_version_from_elsewhere_leaves_who_reads_the_old_one_alone(
    daemon: FakeDaemon, mnt: Path, size: int
) -> None:
    old, new = b"o" * size, b"new" * (size // 2)
    (mnt / "file").write_bytes(old)
    assert (mnt / "file").read_bytes() == old
    with open(mnt / "file", "rb", buffering=0) as held:
        assert held.read(10) == old[:10]
        daemon.remote_write("file", new)
        until(lambda: (mnt / "file").read_bytes() == new, "the new version")
        assert os.pread(held.fileno(), size + 10, 0) == old
        assert (mnt / "file").read_bytes() == new
    assert (mnt / "file").read_bytes() == new


def test_a_file_that_is_removed_elsewhere_stays_readable_for_who_has_it_open(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "file").write_bytes(b"still here" * 1_000)
    with open(mnt / "file", "rb", buffering=0) as held:
        daemon.ask("remote_unlink", path="file")
        until(lambda: not (mnt / "file").exists(), "the file to go")
        assert held.read() == b"still here" * 1_000


def test_a_file_that_stays_open_is_made_known(daemon: FakeDaemon, mnt: Path) -> None:
    (mnt / "file").write_bytes(b"x")
    until(lambda: daemon.ask("handles") == 0, "the writer's handle to go")
    with open(mnt / "file", "rb"):
        until(lambda: daemon.ask("handles") == 1, "the daemon to hear of it")
    until(lambda: daemon.ask("handles") == 0, "the handle to go")


def test_a_file_that_another_mount_is_writing_is_not_opened_from_memory(
    daemon: FakeDaemon, mnt: Path, make_mount: MakeMount
) -> None:
    other = make_mount("other").path
    (mnt / "file").write_bytes(b"small")
    until(lambda: (other / "file").exists() and (other / "file").read_bytes() == b"small", "the other mount to see it")
    with open(other / "file", "r+b", buffering=0) as writer:
        writer.write(b"s" * 100_000)
        until(lambda: (mnt / "file").stat().st_size == 100_000, "the growth to be seen")
        assert (mnt / "file").read_bytes() == b"s" * 100_000


def test_more_is_asked_for_only_while_it_is_of_use() -> None:
    prefetch, asked = SiblingPrefetch(), []
    for number in range(10):
        asked.append(prefetch.count())
        prefetch.received(range(asked[-1]))
        for ino in range(asked[-1] if number < 6 else 0):
            prefetch.opened(ino)
    assert asked == [0, 0, 0, 2, 4, 8, 16, 8, 4, 2]


def test_many_small_files_come_with_few_calls(daemon: FakeDaemon, mnt: Path) -> None:
    for number in range(60):
        daemon.remote_write(f"file {number:03}", b"content %d" % number)
    until(lambda: len(os.listdir(mnt)) == 60, "all names")
    daemon.ask("reset_calls")
    for number in range(60):
        assert (mnt / f"file {number:03}").read_bytes() == b"content %d" % number
    assert opens(daemon) < 30
