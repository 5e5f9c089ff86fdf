# SPDX-License-Identifier: GPL-3.0-or-later
"""The activation socket: what the daemon takes over from a service manager, and how clients wait at it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import structlog

from holofs_api import activation
from holofs_api.activation import ACTIVATION_SOCKET_NAME, Activation, activate
from holofs_api.paths import SOCKET_NAME
from holofs_api.sockets import SocketFolder
from holofs_api.state_directory import StateDirError
from holofsd.daemon.activation import ActivationSockets
from support.fake_systemd import listening_at

FREE = 200
"""Number of a descriptor that nothing else in this process has."""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def listener(state: Path) -> Iterator[socket.socket]:
    with listening_at(str(state / ACTIVATION_SOCKET_NAME)) as listening:
        yield listening


@pytest.fixture
def logs() -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


def handed(*descriptors: int) -> dict[str, str]:
    """Environment of a process that got these, in the place of 3 and what follows."""
    for number, descriptor in enumerate(descriptors, FREE):
        os.dup2(descriptor, number, inheritable=True)
    words = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(descriptors)), "LISTEN_FDNAMES": "a"}
    return {**words, "OTHER": "stays"}


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


async def test_who_waits_is_told_when_the_daemon_answers(state: Path, listener: socket.socket) -> None:
    environment = handed(listener.fileno())
    taken = ActivationSockets(environment, state, FREE)
    assert environment == {"OTHER": "stays"}, "mounts and helpers are handed nothing"
    assert fcntl.fcntl(FREE, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    with SocketFolder(state) as folder, socket.socket(socket.AF_UNIX) as daemon:
        early = asyncio.ensure_future(asyncio.to_thread(activate, folder))
        assert await asyncio.to_thread(_has_client, listener)
        assert not early.done()
        daemon.bind(str(state / SOCKET_NAME))
        daemon.listen()
        with taken.answering():
            assert await early is Activation.STARTED
            assert await asyncio.to_thread(activate, folder) is Activation.STARTED, "it comes later"
        assert not is_open(FREE)
        # From here on a client is in the queue of the service manager, for the next daemon.
        with socket.socket(socket.AF_UNIX) as late:
            late.connect(folder.address(ACTIVATION_SOCKET_NAME))
            assert _has_client(listener)


def _has_client(listener: socket.socket) -> bool:
    return bool(select.select([listener], [], [], 30)[0])


def _elsewhere(state: Path) -> socket.socket:
    (state / "other").mkdir(mode=0o700)
    return listening_at(str(state / "other" / ACTIVATION_SOCKET_NAME))


def _for_everybody(state: Path) -> socket.socket:
    listening = listening_at(str(state / ACTIVATION_SOCKET_NAME))
    (state / ACTIVATION_SOCKET_NAME).chmod(0o666)
    return listening


def _without_a_file(state: Path) -> socket.socket:
    listening = listening_at(str(state / ACTIVATION_SOCKET_NAME))
    (state / ACTIVATION_SOCKET_NAME).unlink()
    return listening


def _in_a_shared_folder(state: Path) -> socket.socket:
    listening = listening_at(str(state / ACTIVATION_SOCKET_NAME))
    state.chmod(0o777)
    return listening


def _not_listening(state: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(state / ACTIVATION_SOCKET_NAME))
    (state / ACTIVATION_SOCKET_NAME).chmod(0o600)
    return bound


def _of_datagrams(state: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bound.bind(str(state / ACTIVATION_SOCKET_NAME))
    (state / ACTIVATION_SOCKET_NAME).chmod(0o600)
    return bound


def _of_the_network(_state: Path) -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def _abstract(state: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"\0{state}/{ACTIVATION_SOCKET_NAME}")
    listening.listen()
    return listening


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_elsewhere, "not in the state directory"),
        (lambda state: listening_at(str(state / "other.sock")), "not called"),
        (_for_everybody, "SocketMode=0600"),
        (_without_a_file, "No such file"),
        (_in_a_shared_folder, "written by others"),
        (_not_listening, "does not listen"),
        (_of_datagrams, "not a Unix stream socket"),
        (_of_the_network, "not a Unix stream socket"),
        (_abstract, "not called"),
    ],
)
def test_a_socket_that_is_not_this_devices_own_is_refused_and_closed(
    make: Callable[[Path], socket.socket], why: str, state: Path, logs: list[structlog.typing.EventDict]
) -> None:
    with make(state) as wrong:
        assert ActivationSockets(handed(wrong.fileno()), state, FREE).sockets == []
    assert not is_open(FREE)
    assert why in logs[0]["why"]


def test_a_file_in_the_place_of_a_socket_is_refused_and_the_next_one_taken(
    state: Path, listener: socket.socket, logs: list[structlog.typing.EventDict]
) -> None:
    with (state / "file").open("w") as file:
        taken = ActivationSockets(handed(file.fileno(), listener.fileno()), state, FREE)
    assert [found.fileno() for found in taken.sockets] == [FREE + 1]
    taken.sockets[0].close()
    assert not is_open(FREE)
    assert "no socket" in logs[0]["event"]


@pytest.mark.parametrize(
    "changed", [{"LISTEN_PID": "1"}, {"LISTEN_PID": ""}, {"LISTEN_FDS": "-1"}, {"LISTEN_FDS": "²"}]
)
def test_what_was_meant_for_another_process_stays_as_it_is(
    changed: dict[str, str], state: Path, listener: socket.socket
) -> None:
    environment = {**handed(listener.fileno()), **changed}
    try:
        assert ActivationSockets(environment, state, FREE).sockets == []
        assert environment == {"OTHER": "stays"}
        assert is_open(FREE)
        assert os.get_inheritable(FREE)
    finally:
        os.close(FREE)


def test_where_no_service_manager_listens_nobody_waits(state: Path) -> None:
    with SocketFolder(state) as folder:
        assert activate(folder) is Activation.ABSENT
        listening_at(str(state / ACTIVATION_SOCKET_NAME)).close()
        assert activate(folder) is Activation.ABSENT, "it was killed and left its file"


def test_a_service_manager_that_gives_up_ends_the_wait(state: Path) -> None:
    listening = listening_at(str(state / ACTIVATION_SOCKET_NAME))
    with SocketFolder(state) as folder, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(activate, folder)
        assert _has_client(listening)
        listening.close()
        assert waiting.result(30) is Activation.FAILED


def test_a_daemon_that_never_comes_is_waited_for_no_longer_than_said(state: Path, listener: socket.socket) -> None:
    with SocketFolder(state) as folder:
        assert activate(folder, 0.02) is Activation.FAILED
    assert listener.fileno() >= 0


def test_a_process_of_another_user_is_not_waited_for(
    state: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activation, "is_peer", lambda connection, owner: owner != os.geteuid())
    with SocketFolder(state) as folder, pytest.raises(StateDirError, match="another user"):
        activate(folder)
    assert listener.fileno() >= 0
