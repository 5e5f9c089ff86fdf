# SPDX-License-Identifier: GPL-3.0-or-later
"""Contenders that bring bytes over a cable with delay and loss, between two machines in network namespaces."""

from __future__ import annotations

import abc
import contextlib
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from benchmarks import work
from benchmarks.contenders.pairs import HoloPair, seconds_to_arrive, size_of
from benchmarks.measuring import HOLOFS
from benchmarks.stage import Stage
from support.commands import enter_network
from support.device import Device
from support.lan import Host

LONGEST_S: Final = 10.0
"""One TCP connection is measured for so long: with much loss a large file takes minutes."""
_PIECE: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Trouble:
    """Delay of each frame there and back, and the probability that it is lost, in each direction."""

    name: str
    round_trip_ms: float
    loss: float


class Cable(abc.ABC):
    """Two machines, and the cable of the second one, which is without trouble at first."""

    name: ClassVar[str]

    def __init__(self, stage: Stage) -> None:
        self.near, self.far = stage.host(f"{self.name}-a"), stage.host(f"{self.name}-b")

    def trouble(self, trouble: Trouble) -> None:
        """Sets what the cable does from now on."""
        self.far.ports[0].trouble(delay_ms=trouble.round_trip_ms / 2, loss=trouble.loss)

    @abc.abstractmethod
    def megabits(self, name: str, pieces: Sequence[bytes]) -> float:
        """Rate at which they come from one machine to the other."""


class HoloCable(Cable):
    """Two devices with one volume. `pair`: their folders."""

    name = HOLOFS

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.pair = _PairOnMachines(stage, self.near, self.far)

    def megabits(self, name: str, pieces: Sequence[bytes]) -> float:
        """Rate from the close of a file until it is complete on the other machine."""
        size = sum(map(len, pieces))
        self.pair.here.joinpath(name).mkdir()
        work.write_large(self.pair.here / name / "big", pieces)
        large = self.pair.there / name / "big"
        return size * 8 / 1e6 / seconds_to_arrive(self.pair, name, 1, is_whole=lambda: size_of(large) == size)

    def files_a_second(self, name: str, files: work.Files) -> float:
        """Rate from the first byte that is written until all are complete on the other machine."""
        began = time.perf_counter()
        work.create(self.pair.here / name, files)
        seconds_to_arrive(self.pair, name, len(files))
        return len(files) / (time.perf_counter() - began)


class _PairOnMachines(HoloPair):
    def __init__(self, stage: Stage, near: Host, far: Host) -> None:
        self._machines = (near, far)
        super().__init__(stage)

    def _devices(self) -> tuple[Device, Device]:
        near, far = self._machines
        return self.stage.device_on(near), self.stage.device_on(far)


class TcpCable(Cable):
    name = "tcp"

    def megabits(self, name: str, pieces: Sequence[bytes]) -> float:
        """Rate from the first byte that is sent until the last one is here, or until `LONGEST_S`."""
        with _socket_on(self.far) as listening, _socket_on(self.near) as sending:
            sending.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
            listening.bind((self.far.addresses[0], 0))
            listening.listen()
            sending.connect(listening.getsockname())
            receiving, _ = listening.accept()
            sender = threading.Thread(target=_send, args=(sending, pieces))
            began = time.perf_counter()
            sender.start()
            with receiving:
                received = _receive(receiving, sum(map(len, pieces)), began + LONGEST_S)
                took = time.perf_counter() - began
            sending.close()
            sender.join()
        return received * 8 / 1e6 / took


def _socket_on(host: Host) -> socket.socket:
    """A socket in the network of that machine: it stays where it was made."""
    made: list[socket.socket] = []

    def make() -> None:
        enter_network(host.space.pid)
        made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))

    thread = threading.Thread(target=make)  # a thread of its own, for it does not come back
    thread.start()
    thread.join()
    return made[0]


def _send(sending: socket.socket, pieces: Sequence[bytes]) -> None:
    with contextlib.suppress(OSError):  # the other side closes when its time is over
        for piece in pieces:
            sending.sendall(piece)


def _receive(receiving: socket.socket, size: int, deadline: float) -> int:
    received = 0
    with contextlib.suppress(TimeoutError):
        while received < size and (left := deadline - time.perf_counter()) > 0:
            receiving.settimeout(left)
            piece = receiving.recv(_PIECE)
            if not piece:
                break
            received += len(piece)
    return received


CABLES: Final[dict[str, type[Cable]]] = {found.name: found for found in (HoloCable, TcpCable)}
