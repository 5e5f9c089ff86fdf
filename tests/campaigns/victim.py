# SPDX-License-Identifier: GPL-3.0-or-later
"""A device that is killed all the time: its daemon starts quickly, and is told while it runs where to die."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from campaigns.elsewhere import Elsewhere
from campaigns.writers import Team
from holofs_api.v1 import control_pb2 as pb
from holofsctl.client import Client
from holofsctl.errors import CommandError
from support.device import Device
from support.processes import kill
from support.wait import until
from support.zygote import Zygote

EXPECTED_LOG = [
    r"connection|peer|unreachable|mount|timed out|shutting down|the daemon went away",
    r"could not be saved yet|execute_batch|said that it does not|a new author",
    r"never made is swept|damaged|was not written down|a backup could not be made now",
    r"content that this device said it holds is lost",
]


class Victim:
    """`device` was started, is a member of "docs", and has it mounted at `root`; its daemon is taken over."""

    def __init__(self, device: Device, root: Path, seed: int, writers: int) -> None:
        self.device, self.root, self.name = device, root, device.name
        self.state = device.state
        device.allowed += EXPECTED_LOG
        self._orders = device.home / "faults"
        self._orders.touch()
        environment = {**device.environment, "HOLOFS_FAULTS": str(self._orders), "HOLOFS_LISTS": "1"}
        self.zygote = Zygote(environment, device.world.root / f"{device.name}.foreground.log")
        self.team = Elsewhere(Team, device.name, root, seed, writers)
        device.stop_daemon()
        self.pid = 0
        self.begin()
        self.team.call("prepare")

    def end(self) -> None:
        self.team.end()
        self.zygote.end()

    # ---- the daemon
    def begin(self) -> None:
        self.pid = self.zygote.daemon()

    def kill_daemon(self) -> None:
        kill([self.pid])
        # Its lock goes with the last of its threads.
        until(lambda: self.is_dead, f"the daemon of {self.name} to end")

    def kill_mount(self) -> None:
        kill(self.device.mount_pids())

    def kill_all(self) -> None:
        kill([self.pid, *self.device.mount_pids()])
        self.kill_daemon()

    def restart(self) -> None:
        """Restart after a death of its own, or by force."""
        self._write_order("")
        self.kill_daemon()
        self.begin()

    # ---- faults
    def arm(self, point: str, times: int = 1) -> None:
        self._write_order(f"{point}=kill@{times}")

    def _write_order(self, order: str) -> None:
        new = self._orders.with_suffix(".new")
        new.write_text(order)
        new.rename(self._orders)

    def died_within(self, seconds: float) -> bool:
        try:
            until(lambda: self.is_dead, "", seconds)
        except AssertionError:
            return False
        return True

    @property
    def is_dead(self) -> bool:
        return not Path(f"/proc/{self.pid}").exists()

    # ---- what a person does
    def ask(self, method: str, request: Any) -> Any:
        """Waits for the daemon to answer at all. Raises CommandError."""
        with self._client() as client:
            return client.call(method, request)

    def stream(self, method: str, request: Any) -> list[Any]:
        with self._client() as client:
            return list(client.stream(method, request))

    def try_to(self, method: str, request: Any) -> bool:
        """False if it died meanwhile, or says no."""
        with contextlib.suppress(CommandError):
            self.ask(method, request)
            return True
        return False

    def _client(self) -> Client:
        return until(self._connected, f"the daemon of {self.name} to answer")

    def _connected(self) -> Client:
        try:
            return Client(self.state)
        except CommandError as error:
            raise AssertionError(str(error)) from None

    def volume(self, name: str = "docs") -> Any:
        """Status of the device; None if it is not here."""
        for found in self.ask("Status", pb.StatusRequest()).volumes:
            if found.volume.name == name:
                return found
        return None

    def folder(self, name: str = "docs") -> Path:
        return self.state / "volumes" / str(self.volume(name).volume.id)

    @contextlib.contextmanager
    def meanwhile(self, work: Callable[[], object]) -> Iterator[None]:
        """Work that fails when the daemon dies is done, in a thread, while the block runs."""

        def quietly() -> None:
            with contextlib.suppress(CommandError, AssertionError, OSError):
                work()

        thread = threading.Thread(target=quietly, daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join(60)
            assert not thread.is_alive(), f"a call to {self.name} hangs"

    # ---- its files
    def check(self) -> None:
        """Check that what its writers noted is there and whole."""
        until(lambda: self.team.call("is_back_at", self.root), f"the mount of {self.name} to answer")
        self.team.call("check", self.root)
