# SPDX-License-Identifier: GPL-3.0-or-later
"""Random work on four machines of a network whose cables fail at random; then all agree and nothing is missing.

scripts/soak network SEED DURATION
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable

from campaigns.soak import all_agree, asked_for, rounds, told
from campaigns.work import Worker
from network.machines import Machine, Machines

STEPS_PER_ROUND = 40
NAMES = ("a", "b", "c", "d")


class Campaign:
    def __init__(self, machines: Machines, seed: int) -> None:
        self._random = random.Random(f"network {seed}")
        self._machines = machines.sharing(*NAMES)
        for machine in self._machines:
            # Many removals at once are part of the work here.
            machine.device.ctl("brake", "docs", "--off")
        self._workers = [Worker(machine.device.name, machine.folder, seed) for machine in self._machines]
        for worker in self._workers:
            worker.prepare()
        self._address = 100
        self.did: Counter[str] = Counter()

    def round(self) -> None:
        for _ in range(STEPS_PER_ROUND):
            for worker in self._workers:
                worker.step()
                self.did["operations"] += 1
            if self._random.random() < 0.2:
                self._weather(self._random.choice(self._machines))
        for machine in self._machines:
            self._heal(machine)
        all_agree(self._workers)

    def _weather(self, machine: Machine) -> None:
        """One event that happens to a machine, or its end."""
        port = machine.host.ports[0]
        kinds: dict[str, Callable[[], None]] = {
            "cut": port.cut,
            "pulled": port.pull,
            "on another switch": lambda: port.move("other"),
            "slow and lossy": lambda: port.trouble(
                delay_ms=self._random.uniform(0, 150), jitter_ms=50, loss=self._random.uniform(0, 0.1)
            ),
            "deaf": lambda: port.trouble(deaf=True),
            "deaf to one": lambda: self._deafen(machine),
            "another address": lambda: self._move(machine),
            "killed": machine.device.kill9_daemon,
        }
        self._heal(machine)
        if self._random.random() < 0.6:
            happens = self._random.choice(list(kinds))
            self.did[happens] += 1
            kinds[happens]()
            if happens == "killed":
                machine.device.up()

    def _deafen(self, machine: Machine) -> None:
        """Towards one other."""
        other = self._random.choice([other for other in self._machines if other is not machine])
        machine.host.cannot_reach(other.host)

    def _move(self, machine: Machine) -> None:
        self._address += 1
        machine.host.readdress(f"10.77.0.{100 + self._address % 150}")

    def _heal(self, machine: Machine) -> None:
        port = machine.host.ports[0]
        port.calm()
        port.move("main")
        port.heal()
        machine.host.can_reach_all()


def main() -> int:
    seed, ends = asked_for("network", __doc__)
    with Machines() as machines:
        try:
            campaign = Campaign(machines, seed)
            code = rounds("network", seed, ends, campaign.round, lambda: told(campaign.did))
        except BaseException:
            print(machines.world.logs())
            for machine in machines.machines:
                print(machine.device.name, machine.device.ctl("peers", check=False).out)
                print(machine.device.ctl("status", "docs", check=False).out)
                print(machine.device.ctl("conflicts", check=False).out)
            raise
        machines.world.check()
        return code


if __name__ == "__main__":
    sys.exit(main())
