# SPDX-License-Identifier: GPL-3.0-or-later
"""`kill -9`, of the daemon while mounts are in use and of everything: what was closed is there, mounts go on."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from support.device import Device, World
from support.processes import kill
from support.trees import contents
from support.wait import until


class Writer:
    """Writes numbered files until told to stop, and remembers those whose close returned."""

    def __init__(self, root: Path, size: int) -> None:
        self.root, self.size = root, size
        self.closed: dict[str, bytes] = {}
        self.failures: list[OSError] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        until(lambda: len(self.closed) >= 5, "the first files to be written")
        return self

    def stop(self) -> None:
        self._stop.set()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _write(self) -> None:
        number = 0
        while not self._stop.is_set():
            data = f"{number} ".encode() * (self.size // 4)
            try:
                self.root.joinpath(f"{number:05}").write_bytes(data)
            except OSError as error:
                self.failures.append(error)
                if len(self.failures) > 50:
                    return
            else:
                self.closed[f"{number:05}"] = data
            number += 1

    def check(self, root: Path) -> None:
        seen = contents(root)
        lost = [name for name, data in self.closed.items() if seen.get(name) != data]
        assert not lost, f"{len(lost)} of {len(self.closed)} closed files are not there: {lost[:5]}"


def test_a_killed_daemon_comes_back_and_the_mounts_in_use_go_on(world: World) -> None:
    a, b = world.sharing("a", "b")
    here, there = a.mount(), b.mount()
    mounts = a.mount_pids()
    assert mounts
    here.joinpath("kept").write_bytes(b"kept open\n" * 20_000)
    with (
        here.joinpath("kept").open("rb", buffering=0) as reading,
        here.joinpath("growing").open("wb", buffering=0) as writing,
        Writer(here, 3000) as small,
        Writer(_made(here / "large"), 300_000) as large,
    ):
        assert reading.read(10) == b"kept open\n"
        writing.write(b"before\n" * 30_000)
        for _ in range(2):
            before = len(small.closed), len(large.closed)
            a.kill9_daemon()
            a.up()
            until(lambda: len(small.closed) > before[0] + 3 and len(large.closed) > before[1], "writing to go on")  # noqa: B023
        assert a.mount_pids() == mounts
        assert reading.read(10) == b"kept open\n"
        writing.write(b"after\n")
    assert here.joinpath("growing").read_bytes() == b"before\n" * 30_000 + b"after\n"
    small.check(here)
    large.check(here / "large")
    until(lambda: contents(there) == contents(here), "the other device to have it all")


def test_everything_killed_at_once_comes_back_with_every_closed_file(world: World) -> None:
    a, b = world.sharing("a", "b")
    here, there = a.mount(), b.mount()
    opened = os.open(here / "open and synced", os.O_WRONLY | os.O_CREAT)
    with Writer(here, 3000) as small, Writer(_made(here / "large"), 300_000) as large:
        os.write(opened, b"synced " * 30_000)
        os.fsync(opened)
        until(lambda: len(small.closed) > 40 and len(large.closed) > 5, "some files")
        a.kill9_all()
        small.stop()
        large.stop()
        a.up()  # which also lets go of programs that wait for what was killed
    _close_quietly(opened)

    small.check(here)
    large.check(here / "large")
    until(
        lambda: here.joinpath("open and synced").read_bytes() == b"synced " * 30_000,
        "what was synced through a handle that died with its process",
    )
    here.joinpath("new").write_text("and it goes on")
    until(lambda: contents(there) == contents(here), "the other device to have it all")


def test_what_was_closed_while_the_daemon_stood_still_outlives_them_all(world: World) -> None:
    a, b = world.sharing("a", "b")
    here, there = a.mount(), b.mount()
    os.listdir(here)
    with Writer(here, 3000) as small:
        _stand_still(a, small)
        a.kill9_all()
        small.stop()
        a.up()
    small.check(here)
    until(lambda: contents(there) == contents(here), "the other device to have it all")


def _stand_still(device: Device, writer: Writer) -> None:
    """The daemon is stopped while files are being closed all the same. Now and then the mount has to ask for something
    else, and stands still with it."""
    pid = device.daemon_pid()
    for _ in range(20):
        closed = len(writer.closed)
        until(lambda: len(writer.closed) > closed + 20, "work to go on")  # noqa: B023
        os.kill(pid, signal.SIGSTOP)
        closed = len(writer.closed)
        try:
            until(lambda: len(writer.closed) > closed + 5, "files to be closed", seconds=3)  # noqa: B023
        except AssertionError:
            os.kill(pid, signal.SIGCONT)
        else:
            return
    raise AssertionError("no file is closed while the daemon stands still")


def _close_quietly(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_stopped_daemon_leaves_its_mounts_and_they_go_on_with_the_next(world: World) -> None:
    a = world.device("a")
    a.start_daemon()
    a.create()
    here = a.mount()
    here.joinpath("file").write_text("one")
    mounts = a.mount_pids()
    a.stop_daemon()
    assert a.mount_pids() == mounts
    a.start_daemon()
    assert here.joinpath("file").read_text() == "one"
    here.joinpath("file").write_text("two")
    assert a.mount_pids() == mounts
    a.down()
    until(lambda: not a.pids(), "every process to end")
    assert list(here.iterdir()) == []


def test_down_and_up_bring_the_same_mounts_and_files_back(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    here = a.mount()
    here.joinpath("file").write_text("one")
    a.down()
    assert not here.joinpath("file").exists()
    until(lambda: not a.pids(), "every process to end")
    a.down()
    a.up()
    a.up()
    assert here.joinpath("file").read_text() == "one"


def test_a_killed_mount_process_is_started_again(world: World) -> None:
    (a,) = world.running("a")
    a.create()
    here = a.mount()
    here.joinpath("file").write_text("one")
    a.allowed.append("mount")
    kill(a.mount_pids())
    until(lambda: here.joinpath("file").read_text() == "one", "the mount to be back")
