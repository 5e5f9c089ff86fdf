# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks of a test's own: network namespaces, switches between them, and everything that goes wrong with cables.

    with Lan() as lan:
        here = lan.host("a")          # a machine on the switch, 10.77.0.1
        run([*here.prefix, "ip", "address"])
        here.cut(); here.heal()

Nothing here has a name outside: a namespace lives for as long as its holder, a process that ends when the pipe from
this process closes, so nothing stays behind however the run ends. Needs the rights of root, perhaps only those of
a user namespace (`unshare --map-root-user --net --mount`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
WIRE = [sys.executable, "-m", "support.wire"]
NOBODY = "02:00:00:00:00:ff"
"""A hardware address that no host has."""


class LanFailed(AssertionError):
    pass


def problem() -> str:
    """Reason why no network can be made here, or an empty string."""
    for tool in ("ip", "unshare", "nsenter"):
        if shutil.which(tool, path=PATH) is None:
            return f"{tool} is missing (scripts/setup --dev installs it)"
    try:
        with ExitStack() as stack:
            space = Namespace()
            stack.callback(space.close)
            space.run("ip", "link", "add", "name", "br0", "type", "bridge")
            space.run("ip", "link", "add", "name", "v0", "type", "veth", "peer", "name", "v1")
    except (OSError, LanFailed) as error:
        return f"no network namespace with a bridge can be made: {error}"
    return ""


class Namespace:
    """An anonymous network namespace, gone when `close` is called or this process ends and nobody runs in it."""

    def __init__(self) -> None:
        # `cat` answers when the namespace is there, and ends when the pipe does.
        self._holder = subprocess.Popen(
            ["unshare", "--net", "cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={"PATH": PATH},
        )
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        try:
            self._holder.stdin.write(b"there\n")
            self._holder.stdin.flush()
        except BrokenPipeError:
            pass
        if self._holder.stdout.readline() != b"there\n":
            raise LanFailed(self._holder.communicate()[1].decode().strip())
        self.pid = self._holder.pid
        self.prefix = ["nsenter", "--target", str(self.pid), "--net", "--"]
        """Put before a command, it runs there."""
        self.run("ip", "link", "set", "dev", "lo", "up")

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [*self.prefix, *command],
            capture_output=True,
            check=False,
            timeout=30,
            cwd=Path(__file__).parents[1],
            env={"PATH": PATH},
        )
        if done.returncode:
            raise LanFailed(f"{' '.join(command)}: {done.stderr.decode().strip()}")
        return done.stdout.decode()

    def close(self) -> None:
        self._holder.communicate(timeout=45)


class Wire:
    """A process that takes the frames between two interfaces of a namespace through delay and loss (`support.wire`)."""

    def __init__(self, space: Namespace, ends: tuple[str, str], seed: int) -> None:
        self._process = subprocess.Popen(
            [*space.prefix, *WIRE, str(seed), *ends],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
            start_new_session=True,
            env={"PATH": PATH},
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise LanFailed("the wire did not start")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(45)

    def say(self, text: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != b"ok\n":
            raise LanFailed("the wire is gone")


class Port:
    """One cable: an interface of a host, and its end at the switches of the lan."""

    def __init__(self, lan: Lan, space: Namespace, number: int, interface: str, switch: str) -> None:
        self._lan, self._space = lan, space
        self.interface, self._end = interface, f"port{number}"
        self._far, self._near = f"far{number}", f"near{number}"
        self._switch = switch
        self._wire: Wire | None = None
        self._number = number
        hub = lan.hub
        hub.run("ip", "link", "add", "name", self._end, "type", "veth", "peer", "name", f"new{number}")
        hub.run("ip", "link", "set", "dev", f"new{number}", "netns", str(space.pid), "name", interface)
        hub.run("ip", "link", "set", "dev", self._end, "master", switch, "up")
        space.run("ip", "link", "set", "dev", interface, "up")

    def move(self, switch: str) -> None:
        """Move the cable to another switch; no host is told."""
        self._switch = switch
        self._lan.hub.run("ip", "link", "set", "dev", self._bridged, "master", switch)

    def cut(self) -> None:
        """Silently: the cable seems to be in."""
        self._lan.hub.run("ip", "link", "set", "dev", self._bridged, "nomaster")

    def heal(self) -> None:
        self._lan.hub.run("ip", "link", "set", "dev", self._bridged, "master", self._switch)
        self._lan.hub.run("ip", "link", "set", "dev", self._end, "up")

    def pull(self) -> None:
        """The host sees that the cable is out."""
        self._lan.hub.run("ip", "link", "set", "dev", self._end, "down")

    @property
    def _bridged(self) -> str:
        return self._far if self._wire else self._end

    def trouble(self, *, delay_ms: float = 0, jitter_ms: float = 0, loss: float = 0, deaf: bool = False) -> None:
        """Every frame, in both directions, is late by `delay_ms` and up to `jitter_ms` more (so some overtake others),
        and lost with probability `loss`. `deaf`: nothing reaches the host, while what it says gets through."""
        if self._wire is None:
            self._insert_wire()
        assert self._wire is not None
        self._wire.say(f"{delay_ms} {jitter_ms} {loss} {1.0 if deaf else loss}")

    def calm(self) -> None:
        """The end of `trouble`."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None
            self._lan.hub.run("ip", "link", "delete", "dev", self._far)
            self._lan.hub.run("ip", "link", "set", "dev", self._end, "master", self._switch)

    def _insert_wire(self) -> None:
        hub = self._lan.hub
        hub.run("ip", "link", "add", "name", self._far, "type", "veth", "peer", "name", self._near)
        for interface in (self._far, self._near):
            hub.run("ip", "link", "set", "dev", interface, "up")
        hub.run(*WIRE, "whole", self._far)
        self._space.run(*WIRE, "whole", self.interface)
        hub.run("ip", "link", "set", "dev", self._end, "nomaster")
        self._wire = Wire(hub, (self._end, self._near), self._number)
        hub.run("ip", "link", "set", "dev", self._far, "master", self._switch)

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()


class Host:
    """A machine: a namespace with at least one cable."""

    def __init__(self, lan: Lan, name: str, number: int) -> None:
        self._lan = lan
        self.name, self._number = name, number
        self.space = Namespace()
        lan.closing.callback(self.space.close)
        self.ports: list[Port] = []
        self.addresses: list[str] = []

    @property
    def prefix(self) -> list[str]:
        return self.space.prefix

    def plug(self, switch: str, subnet: str) -> Port:
        """One more cable, to `switch`, with the address of this host in `subnet` (like 10.77.0)."""
        port = self._lan.new_port(self.space, f"eth{len(self.ports)}", switch)
        self.ports.append(port)
        self.addresses.append("")
        self.readdress(f"{subnet}.{self._number}", len(self.ports) - 1)
        return port

    def readdress(self, address: str, port: int = 0) -> None:
        """Another address on that cable; the former one is gone."""
        interface = self.ports[port].interface
        self.space.run("ip", "address", "flush", "dev", interface, "scope", "global")
        self.space.run("ip", "address", "add", f"{address}/24", "broadcast", "+", "dev", interface)
        self.addresses[port] = address

    def cannot_reach(self, other: Host) -> None:
        """Drop what this host sends to the other one; the other direction works."""
        # An entry that says "it lives there", where nobody lives: no program is told that anything is wrong.
        self.space.run(
            "ip", "neighbour", "replace", other.addresses[0], "lladdr", NOBODY, "nud", "permanent", "dev", "eth0"
        )

    def can_reach_all(self) -> None:
        """The end of every `cannot_reach`."""
        self.space.run("ip", "neighbour", "flush", "dev", "eth0", "nud", "permanent")

    def route(self, subnet: str, gateway: str) -> None:
        self.space.run("ip", "route", "replace", f"{subnet}.0/24", "via", gateway)

    def forward(self) -> None:
        """Make this host a router."""
        self.space.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")


class Lan:
    """Switches `main` and `other` (and more by `switch`), and hosts with cables to them."""

    SUBNET = "10.77.0"

    def __init__(self) -> None:
        self.closing = ExitStack()
        self._ports = self._hosts = 0
        self.hub = Namespace()
        self.closing.callback(self.hub.close)
        try:
            for name in ("main", "other"):
                self.switch(name)
        except BaseException:
            self.close()
            raise

    def switch(self, name: str) -> str:
        # No spanning tree and no delay before forwarding: the test knows that there are no loops.
        self.hub.run("ip", "link", "add", "name", name, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        self.hub.run("ip", "link", "set", "dev", name, "up")
        return name

    def host(self, name: str, switch: str = "main", subnet: str = SUBNET) -> Host:
        self._hosts += 1
        host = Host(self, name, self._hosts)
        host.plug(switch, subnet)
        return host

    def new_port(self, space: Namespace, interface: str, switch: str) -> Port:
        self._ports += 1
        port = Port(self, space, self._ports, interface, switch)
        self.closing.callback(port.close)
        return port

    def close(self) -> None:
        self.closing.close()

    def __enter__(self) -> Lan:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def islands(*hosts: Host) -> Iterator[None]:
    """Meanwhile these hosts reach each other and nobody else."""
    for host in hosts:
        host.ports[0].move("other")
    try:
        yield
    finally:
        for host in hosts:
            host.ports[0].move("main")
