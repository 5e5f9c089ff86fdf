# SPDX-License-Identifier: GPL-3.0-or-later
"""The sockets' folder: in the state directory however long its path is, and checked by both sides."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from holofs_api import API_VERSION, sockets
from holofs_api.paths import CALLS_SOCKET_NAME, SOCKET_NAME
from holofs_api.sockets import SocketFolder, open_folder, stand_ins
from holofs_api.state_directory import StateDirError
from holofs_api.v1 import control_pb2
from holofs_api.v1.control_pb2_grpc import ControlStub
from holofsctl import client as ctl
from holofsctl import launcher
from holofsctl.checks import _daemon
from holofsctl.errors import CommandError
from holofsd.core.errors import StateDirUnusable
from holofsd.rpc.server import serving
from support.fake_device import FakeDevice

STRANGER = 54321
"""A user id that owns nothing here."""


@pytest.fixture
def long_state(state: Path) -> Path:
    """State directory with a path in which no socket's address fits, and characters that mean something in URLs."""
    folder = state / ("ä#% ?" + "d" * 100) / ("e" * 60)
    folder.mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    (folder / "holofs-device").touch()
    return folder


@pytest.fixture
def stand_in(long_state: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder where an earlier program had the sockets of that state directory; nothing is there yet."""
    runtime = state / "run"
    runtime.mkdir(mode=0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    found = stand_ins(long_state)[0]
    assert found.parent == runtime
    yield found
    shutil.rmtree(found, ignore_errors=True)


def _answer_at(folder: Path) -> int:
    """A process of another user that listens where the daemon's socket would be, in a folder of its own; its pid."""
    program = """
        import os, socket, sys
        os.setgid(USER); os.setuid(USER)
        os.makedirs(FOLDER, mode=0o755, exist_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(FOLDER + "/holofsd.sock")
        os.chmod(FOLDER + "/holofsd.sock", 0o777)
        listener.listen()
        print("listens", flush=True)
        sys.stdin.read()
        """
    source = textwrap.dedent(program).replace("USER", str(STRANGER)).replace("FOLDER", repr(str(folder)))
    child = subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "listens\n"
    _children.append(child)
    return child.pid


_children: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    yield
    while _children:
        child = _children.pop()
        child.communicate()
        child.wait()


async def test_the_sockets_of_a_long_state_directory_are_in_it_and_answer(
    long_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    async with serving(FakeDevice(), long_state / SOCKET_NAME):
        for name in (SOCKET_NAME, CALLS_SOCKET_NAME):
            found = (long_state / name).lstat()
            assert stat.S_ISSOCK(found.st_mode)
            assert stat.S_IMODE(found.st_mode) == 0o600
        assert not any(path.exists() for path in stand_ins(long_state))

        def ask() -> int:
            with ctl.Client(long_state) as client:
                return client.daemon.pid

        assert await asyncio.to_thread(ask) == 4711
        with open_folder(long_state) as folder:
            reader, writer = await asyncio.open_unix_connection(folder.address(CALLS_SOCKET_NAME))
            writer.close()
            del reader
    assert not (long_state / SOCKET_NAME).exists()
    assert not (long_state / CALLS_SOCKET_NAME).exists()


def test_a_stand_in_that_another_user_made_is_not_spoken_to(long_state: Path, stand_in: Path) -> None:
    stand_in.parent.chmod(0o777)
    for above in (long_state, *long_state.parents):
        if above == Path("/tmp"):
            break
        above.chmod(0o711)
    long_state.chmod(0o700)
    _answer_at(stand_in)
    with pytest.raises(CommandError, match="is not running"):
        ctl.Client(long_state)
    with open_folder(long_state) as folder:
        assert folder.folder == long_state


def test_a_link_in_the_place_of_a_stand_in_is_not_followed(long_state: Path, stand_in: Path, state: Path) -> None:
    own = state / "own"
    own.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(own / SOCKET_NAME))
        listener.listen()
        stand_in.symlink_to(own)
        with open_folder(long_state) as folder:
            assert folder.folder == long_state


def test_a_daemon_of_an_earlier_program_is_found_in_its_stand_in(long_state: Path, stand_in: Path) -> None:
    stand_in.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(stand_in / SOCKET_NAME))
        listener.listen()
        with open_folder(long_state) as folder:
            assert folder.folder == stand_in
        stand_in.chmod(0o770)
        with open_folder(long_state) as folder:
            assert folder.folder == long_state


async def test_a_mount_of_an_earlier_program_finds_the_daemon_where_it_was(long_state: Path, stand_in: Path) -> None:
    stand_in.mkdir(mode=0o700)
    (stand_in / SOCKET_NAME).touch()
    async with serving(FakeDevice(), long_state / SOCKET_NAME):
        async with grpc.aio.insecure_channel(f"unix:{stand_in / SOCKET_NAME}") as channel:
            reply = await ControlStub(channel).Handshake(control_pb2.HandshakeRequest(api_version=API_VERSION))
            assert reply.pid == 4711
        _, writer = await asyncio.open_unix_connection(str(stand_in / CALLS_SOCKET_NAME))
        writer.close()
    assert os.listdir(stand_in) == []


async def test_links_are_left_in_no_stand_in_of_another_user_or_of_everybody(long_state: Path, stand_in: Path) -> None:
    stand_in.mkdir(mode=0o700)
    for user, mode in ((STRANGER, 0o700), (os.geteuid(), 0o777)):
        os.chown(stand_in, user, -1)
        stand_in.chmod(mode)
        async with serving(FakeDevice(), long_state / SOCKET_NAME):
            assert os.listdir(stand_in) == []


def test_a_folder_that_others_can_write_is_refused_by_clients(state: Path) -> None:
    for mode in (0o720, 0o702, 0o777):
        state.chmod(mode)
        with pytest.raises(StateDirError, match="written by others"):
            open_folder(state)
    state.chmod(0o755)
    open_folder(state).close()


def test_up_makes_a_folder_private_that_others_could_write(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's mode is the one that `mkdir` gives with umask 002."""

    def spawn(*_: object) -> None:
        raise InterruptedError("the daemon starts")

    monkeypatch.setattr(launcher, "_spawn", spawn)
    state.chmod(0o775)
    with pytest.raises(InterruptedError, match="starts"):
        launcher.ensure_running(state)
    assert state.stat().st_mode & 0o777 == 0o700


def test_a_process_of_another_user_behind_the_socket_is_not_spoken_to(state: Path) -> None:
    """The folder was open to everybody once, and somebody put a socket into it."""
    state.chmod(0o777)
    _answer_at(state)
    state.chmod(0o700)
    with open_folder(state) as folder, pytest.raises(StateDirError, match="another user"):
        folder.is_listening()
    (state / "holofs-device").touch()
    with pytest.raises(StateDirError, match="another user"):
        ctl.Client(state)


def test_what_is_swapped_after_the_look_does_not_matter(state: Path) -> None:
    theirs, ours = state / "theirs", state / "ours"
    for folder in (theirs, ours):
        folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as right, socket.socket(socket.AF_UNIX) as wrong:
        for listener, folder in ((right, ours), (wrong, theirs)):
            listener.bind(str(folder / SOCKET_NAME))
            listener.listen()
            listener.setblocking(False)
        with SocketFolder(ours) as opened:
            ours.rename(state / "aside")
            theirs.rename(ours)
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(opened.address(SOCKET_NAME))
                right.accept()[0].close()
                with pytest.raises(BlockingIOError):
                    wrong.accept()


async def test_the_fast_lane_cuts_off_a_process_of_another_user(
    state: Path, device: FakeDevice, caplog: pytest.LogCaptureFixture
) -> None:
    state.chmod(0o755)
    (state / CALLS_SOCKET_NAME).chmod(0o777)
    program = (
        f"import os, socket; os.setgid({STRANGER}); os.setuid({STRANGER}); caller = socket.socket(socket.AF_UNIX);"
        f" caller.connect({str(state / CALLS_SOCKET_NAME)!r}); print(caller.recv(100))"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(60):
        told, _ = await child.communicate()
    assert told == b"b''\n"
    assert child.returncode == 0


async def test_a_daemon_does_not_serve_from_a_folder_of_another_user(state: Path) -> None:
    os.chown(state, STRANGER, -1)
    with pytest.raises(StateDirUnusable):
        async with serving(FakeDevice(), state / SOCKET_NAME):
            pass


def test_without_proc_a_path_that_is_too_long_is_refused_in_a_sentence(
    long_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.stat

    def no_proc(path: object, *arguments: object, **options: object) -> os.stat_result:
        if str(path).startswith("/proc"):
            raise FileNotFoundError
        return real(path, *arguments, **options)  # type: ignore[arg-type, call-overload, no-any-return]

    monkeypatch.setattr(sockets.os, "stat", no_proc)
    with SocketFolder(long_state) as folder, pytest.raises(StateDirError, match="too long"):
        folder.address(SOCKET_NAME)


async def test_a_daemon_of_an_earlier_program_that_cannot_be_found_is_said(long_state: Path) -> None:
    """A daemon whose environment had another $XDG_RUNTIME_DIR, which is unknown here."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import sys; sys.stdin.read()", "holofsd"), stdin=asyncio.subprocess.PIPE
    )
    (long_state / "lock").write_text(f"{child.pid}\n")
    try:
        with pytest.raises(CommandError, match=f"process {child.pid}.*earlier program") as caught:
            ctl.Client(long_state)
        assert caught.value.exit_code == 3
        assert [check.fine for check in _daemon(long_state)] == [False]
    finally:
        await child.communicate(b"")  # without input it would not close its end
    with pytest.raises(CommandError, match="is not running"):
        ctl.Client(long_state)
    assert [check.fine for check in _daemon(long_state)] == [True]
    long_state.chmod(0o777)
    assert ["written by others" in check.sentence for check in _daemon(long_state)] == [True]
