# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding another daemon with the same node key on the same machine: one of a state directory that was copied.

The first one listens on a socket whose name follows from the key, in no folder (Linux's abstract names, which end with
their process). Any other finds it there; each tells the other where its state directory is. Nothing that is said there
does more than show a sentence, and only processes of the same user are believed.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from holofs_api.sockets import peer_of
from holofsd.core.ids import DeviceId
from holofsd.daemon.processes import wait_gone
from holofsd.sync.tasks import Tasks

LOOK_AGAIN_S: Final = 10.0
_ANSWER_S: Final = 5.0
_LONGEST: Final = 8192


class SameMachine:
    """`found` is told the place of each other one, again and again for as long as it runs, and `gone` when it ended."""

    def __init__(
        self,
        device: DeviceId,
        state: Path,
        found: Callable[[str], None],
        gone: Callable[[str], None] = lambda place: None,
    ) -> None:
        self._name = f"\0holofs-device-{device.hex()}"
        self._state = state
        self._found = found
        self._gone = gone
        self._watched: set[tuple[int, str]] = set()
        self._tasks = Tasks("same machine")

    async def run(self) -> None:
        if not hasattr(socket, "SO_PEERCRED"):
            return  # abstract names are Linux's
        try:
            while True:
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                with listener:
                    try:
                        listener.bind(self._name)
                    except OSError:
                        await self._ask()
                    else:
                        listener.listen()
                        listener.setblocking(False)
                        await self._serve(listener)
                await asyncio.sleep(LOOK_AGAIN_S)
        finally:
            await self._tasks.close()

    async def _serve(self, listener: socket.socket) -> None:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            self._tasks.spawn(self._exchange(connection), "exchange")

    async def _ask(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            async with asyncio.timeout(_ANSWER_S):
                await asyncio.get_running_loop().sock_connect(connection, self._name)
        except (OSError, TimeoutError):
            connection.close()  # it just ended: the name is free at the next attempt
        else:
            await self._exchange(connection)

    async def _exchange(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with connection, suppress(OSError, TimeoutError):
            connection.setblocking(False)
            if not _is_ours(connection):
                return
            async with asyncio.timeout(_ANSWER_S):
                await loop.sock_sendall(connection, os.fsencode(self._state) + b"\n")
                said = b""
                while b"\n" not in said and len(said) < _LONGEST:
                    piece = await loop.sock_recv(connection, _LONGEST)
                    if not piece:
                        return
                    said += piece
            place = said.partition(b"\n")[0]
            if place != os.fsencode(self._state):
                self._note(place.decode("utf-8", "replace"), peer_of(connection)[0])

    def _note(self, place: str, pid: int) -> None:
        self._found(place)
        if pid > 0 and (pid, place) not in self._watched:  # 0: of a process that cannot be seen from here
            self._watched.add((pid, place))
            self._tasks.spawn(self._watch(pid, place), "end of another one")

    async def _watch(self, pid: int, place: str) -> None:
        await wait_gone(pid)
        self._watched.discard((pid, place))
        if all(place != other for _pid, other in self._watched):
            self._gone(place)


def _is_ours(connection: socket.socket) -> bool:
    return peer_of(connection)[1] == os.geteuid()
