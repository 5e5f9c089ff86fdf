# SPDX-License-Identifier: GPL-3.0-or-later
"""A bad cable: `python -m support.wire SEED ONE OTHER` passes every frame between two interfaces on, late, out of
order, or not at all. `python -m support.wire whole INTERFACE` makes an interface send frames as they are on a cable.

Not every kernel has netem, so it is done here, the same everywhere. A line on standard input sets delay and jitter in
milliseconds, and the probability of loss in each direction; each is answered by "ok". Ends with its standard input.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import select
import socket
import struct
import sys
import time

SIOCETHTOOL = 0x8946
OFFLOADS = {"receive checksums": 0x15, "send checksums": 0x17, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}
ALL_FRAMES = 0x0003
OUTGOING = 4
ROOM = 4 << 20
MOST_WAITING = 20_000


class End:
    """One interface. `peer` is where its frames go."""

    def __init__(self, interface: str) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_FRAMES))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        self.socket.bind((interface, 0))
        self.socket.setblocking(False)
        self.peer: End = self
        self.loss = 0.0

    def frames(self) -> list[bytes]:
        found: list[bytes] = []
        while True:
            try:
                data, where = self.socket.recvfrom(1 << 16)
            except BlockingIOError:
                return found
            if where[2] != OUTGOING:
                found.append(data)

    def send(self, frame: bytes) -> None:
        try:
            self.socket.send(frame)
        except OSError:
            return  # as a cable does: what cannot be passed on is lost


def whole_frames(interface: str) -> None:
    """Let the kernel write checksums and cut packets to size, as it would otherwise leave to a network card."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for command in OFFLOADS.values():
            value = bytearray(struct.pack("II", command, 0))
            buffer = (ctypes.c_char * len(value)).from_buffer(value)
            request = struct.pack("16sP", interface.encode(), ctypes.addressof(buffer))
            with contextlib.suppress(OSError):  # this kind of interface does not do it at all
                fcntl.ioctl(asking, SIOCETHTOOL, request)


def carry(seed: int, one: str, other: str) -> None:
    chance = random.Random(seed)
    ends = (End(one), End(other))
    ends[0].peer, ends[1].peer = ends[1], ends[0]
    delay = jitter = 0.0
    waiting: list[tuple[float, int, End, bytes]] = []
    number = 0
    print("ready", flush=True)
    while True:
        pause = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
        readable, _, _ = select.select([0, *(end.socket.fileno() for end in ends)], [], [], pause)
        if 0 in readable:
            said = os.read(0, 4096).decode()
            if not said:
                return
            numbers = [float(word) for word in said.splitlines()[-1].split()]
            delay, jitter, ends[0].loss, ends[1].loss = numbers[0] / 1000, numbers[1] / 1000, numbers[2], numbers[3]
            print("ok", flush=True)
        now = time.monotonic()
        for end in ends:
            if end.socket.fileno() in readable:
                for frame in end.frames():
                    if chance.random() >= end.loss and len(waiting) < MOST_WAITING:
                        number += 1
                        late = now + delay + chance.uniform(0, jitter)
                        heapq.heappush(waiting, (late, number, end.peer, frame))
        while waiting and waiting[0][0] <= now:
            _, _, end, frame = heapq.heappop(waiting)
            end.send(frame)


if __name__ == "__main__":
    if sys.argv[1] == "whole":
        whole_frames(sys.argv[2])
    else:
        carry(int(sys.argv[1]), *sys.argv[2:])
