# SPDX-License-Identifier: GPL-3.0-or-later
"""Writers on real mounts note what fsync promised; daemons and mounts are killed, also at fault points; all is there.

scripts/soak crash SEED DURATION        for example: scripts/soak crash 1 10m
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from campaigns.elsewhere import Elsewhere
from campaigns.soak import duration
from campaigns.writers import Team
from support.device import Device, World
from support.processes import kill
from support.wait import until

EXPECTED_LOG: Final = [
    r"connection|peer|unreachable|mount|timed out|shutting down",
    r"could not be saved yet|execute_batch|said that it does not|a new author",
]
# Reached by devices that write and hear of each other; the others have tests of their own.
WHILE_WRITING: Final = (
    *("writing.made", "writing.listed", "writing.sealed", "writing.committed"),
    *("hashing.placed", "hashing.known", "hashing.synced"),
    *("publishing.begun", "publishing.numbered", "publishing.synced", "publishing.sent"),
    *("receiving.advanced", "fetching.placed", "fetching.known"),
)
WHILE_CATCHING_UP: Final = ("receiving.stored", "receiving.merged", "fetching.part")
AT_THE_START: Final = ("rotating.restamped", "rotating.certified")
POINTS: Final = (*WHILE_WRITING, *WHILE_CATCHING_UP, *AT_THE_START)
AGREE_S: Final = 120.0


class Campaign:
    """Two devices that share a volume, each with a mount and writers on it."""

    def __init__(self, world: World, seed: int, writers: int = 2) -> None:
        self._random = random.Random(seed)
        self.a, self.b = world.sharing("a", "b")
        self.rounds = 0
        self.reached: list[str] = []
        """Fault points at which a daemon died."""
        self._writers: dict[str, Elsewhere] = {}
        """Of each device, in a process of their own."""
        self._roots: dict[str, Path] = {}
        for device in (self.a, self.b):
            device.allowed += EXPECTED_LOG
            # Writers remove a lot at once, and what they remove has to go.
            device.ctl("brake", "docs", "--off")
            self._roots[device.name] = device.mount()
            team = Elsewhere(Team, device.name, self._roots[device.name], seed, writers)
            self._writers[device.name] = team
            team.call("prepare")

    def close(self) -> None:
        for team in self._writers.values():
            team.end()

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- rounds
    def random_kill(self) -> str:
        """Returns what it did."""
        device = self._random.choice((self.a, self.b))
        harm: dict[str, Callable[[], None]] = {
            "daemon": device.kill9_daemon,
            "daemon and mount": device.kill9_all,
            "mount": lambda: kill(device.mount_pids()),
        }
        chosen = self._random.choice(list(harm))
        with self._writing():
            time.sleep(self._random.uniform(0.05, 1.0))
            harm[chosen]()
            _up(device)
        self._check(device)
        return chosen

    def kill_at(self, point: str) -> None:
        """Restarts a device so that it dies at that point, lets it, and looks at what is there."""
        if point in WHILE_CATCHING_UP:
            self._kill_while_catching_up(point)
        elif point in AT_THE_START:
            self._kill_at_the_start(point)
        else:
            device = self._random.choice((self.a, self.b))
            times = self._random.choice((1, 1, 2, 5))
            device.stop_daemon()
            device.begin_daemon(HOLOFS_FAULTS=f"{point}=kill@{times}")
            with self._writing():
                self._await_death(device, point)
                _up(device)
            self._check(device)

    def _kill_while_catching_up(self, point: str) -> None:
        self.b.stop_daemon()
        self._writers["a"].call("write_much")
        self._start_to_die(self.b, point)
        self._check(self.b)

    def _kill_at_the_start(self, point: str) -> None:
        """A state directory without its fingerprint may be a copy: it takes a new author."""
        with self._writing():
            self.b.stop_daemon()
            (self.b.state / "fingerprint.json").unlink()
            self._start_to_die(self.b, point)
        self._check(self.b)

    def _start_to_die(self, device: Device, point: str) -> None:
        device.begin_daemon(HOLOFS_FAULTS=f"{point}=kill")
        self._await_death(device, point)
        _up(device)

    def _await_death(self, device: Device, point: str) -> None:
        """Also a daemon that never gets there ends: what it wrote has to be there all the same."""
        died = device.ended_within(10.0)
        if died:
            self.reached.append(point)
        else:
            device.kill9_daemon()

    def _writing(self) -> _Writing:
        return _Writing(list(self._writers.values()))

    # ---- what has to hold
    def _check(self, device: Device) -> None:
        self.rounds += 1
        self._look_at(device)

    def _look_at(self, device: Device) -> None:
        team, root = self._writers[device.name], self._roots[device.name]
        until(lambda: team.call("is_back"), f"the mount of {device.name} to answer")
        team.call("check", root)

    def check_all(self) -> None:
        """Each device has what every writer noted, and its index is what it should be."""
        for device in (self.a, self.b):
            self._look_at(device)
        for root, (name, team) in itertools.product(self._roots.values(), self._writers.items()):
            until(lambda: team.call("agrees", root), f"what writers of {name} noted, at {root}", AGREE_S)  # noqa: B023
        for device in (self.a, self.b):
            told = device.ctl("fsck", check=False)
            assert told.code == 0, f"fsck of {device.name}:\n{told.out}{told.err}"


def _up(device: Device) -> None:
    """A mount that was just killed may be on its way up when it is asked for."""
    until(lambda: device.ctl("up", check=False).code == 0, f"{device.name} to be up")


class _Writing:
    """Writers at work for as long as the block lasts."""

    def __init__(self, teams: list[Elsewhere]) -> None:
        self._teams = teams

    def __enter__(self) -> None:
        for team in self._teams:
            team.call("start")

    def __exit__(self, *_: object) -> None:
        for team in self._teams:
            team.call("stop")


def orders(seed: int) -> Iterator[str]:
    """Fault points, each as often as the others, in an order that the seed gives; "" is a kill at any moment."""
    chosen = random.Random(seed)
    while True:
        turn = [*POINTS, *[""] * len(POINTS)]
        chosen.shuffle(turn)
        yield from turn


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak crash", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("seed", type=int)
    parser.add_argument("duration", type=duration)
    arguments = parser.parse_args()
    ends = time.monotonic() + arguments.duration
    with World() as world, Campaign(world, arguments.seed) as campaign:
        for point in orders(arguments.seed):
            began = time.monotonic()
            if point:
                campaign.kill_at(point)
            else:
                point = campaign.random_kill()
            print(f"{campaign.rounds}: {point}, {time.monotonic() - began:.1f} s", flush=True)
            over = time.monotonic() > ends
            if over or campaign.rounds % 10 == 0:
                campaign.check_all()
                missed = sorted(set(POINTS) - set(campaign.reached))
                print(
                    f"seed {arguments.seed}: {campaign.rounds} rounds, nothing is lost; not reached: {missed}",
                    flush=True,
                )
            if over:
                return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
