# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices that are machines of their own: each with its daemon in a network namespace, on cables that can be cut."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from support.device import Device, World
from support.lan import Host, Lan
from support.trees import assert_same_tree
from support.wait import until

# What a daemon may say when it loses somebody: that is what these tests do to it.
EXPECTED_LOG = [r"connection|peer|unreachable|timed out|session|stream|network|no answer"]


@dataclass
class Machine:
    device: Device
    host: Host
    folder: Path

    def write(self, name: str, data: bytes = b"") -> None:
        self.folder.joinpath(name).write_bytes(data or name.encode())

    def sees(self, name: str, data: bytes = b"") -> bool:
        return self.folder.joinpath(name).read_bytes() == (data or name.encode())

    def knows_that_it_is_alone(self) -> bool:
        return not any(peer.get("connected") for peer in self.device.json("peers"))


class Machines:
    def __init__(self, limit_s: float = 0.0) -> None:
        self._stack = ExitStack()
        self.lan = Lan()
        self._stack.callback(self.lan.close)
        self.world = World(limit_s=limit_s)
        self._stack.callback(self.world.close)
        self.machines: list[Machine] = []

    def device(self, name: str, host: Host) -> Device:
        """A device on that host; not started."""
        device = self.world.device(name)
        device.network = host.space.pid
        device.environment["HOLOFS_BIND"] = "0.0.0.0:0"
        device.allowed += EXPECTED_LOG
        return device

    def add(self, host: Host, via: Machine | None = None) -> Machine:
        """A running device with the volume mounted: invited by `via`, or the one that makes it."""
        device = self.device(host.name, host)
        device.up()
        if via is None:
            device.create()
        else:
            device.join(via.device.share("docs", "--admin"))
        machine = Machine(device, host, device.mount())
        self.machines.append(machine)
        return machine

    def sharing(self, *names: str) -> list[Machine]:
        """Machines on the main switch that share a volume, the first being the one that made it."""
        first = self.add(self.lan.host(names[0]))
        return [first, *(self.add(self.lan.host(name), first) for name in names[1:])]

    def agree(self, *machines: Machine, seconds: float = 90.0) -> None:
        """Waits until all show the same tree, and have nothing on its way."""
        first, *others = machines or self.machines

        def settled() -> bool:
            for other in others:
                assert_same_tree(first.folder, other.folder)
            return all(machine.device.is_settled() for machine in (first, *others))

        until(settled, "all machines to agree", seconds)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Machines:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
