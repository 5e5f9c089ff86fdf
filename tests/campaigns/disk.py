# SPDX-License-Identifier: GPL-3.0-or-later
"""Random work on two devices while the disk of one fills up and empties; then both agree and nothing is missing.

scripts/soak disk SEED DURATION
"""

from __future__ import annotations

import errno
import os
import random
import sys
from collections import Counter

from campaigns.soak import all_agree, asked_for, rounds, told
from campaigns.work import Worker
from support.device import Device, World
from support.disk import MIB, SmallDisk, device_on_small_disk
from support.trees import walk

STEPS_PER_ROUND = 60
LEAVE = (0, 64 << 10, 2 * MIB, 20 * MIB, 40 * MIB)
"""Down to nothing; and above and below what the daemon, the mount and the arrival of content keep free."""


class Saver(Worker):
    """Changes files as a careful program does: all of a new content beside the old one, then a rename. So either the
    operation is done, or it says ENOSPC and everything is as before, but for a temporary file."""

    refused = 0

    def __init__(self, name: str, device: Device, seed: int) -> None:
        super().__init__(name, device.mount(), seed)
        self._weighted = [
            (self._save_new, 10),
            (self._replace, 8),
            (self._rename, 4),
            (self._unlink, 3),
            (self._make_directory, 2),
            (self._rename_directory, 1),
            (self._common_new, 4),
        ]

    def step(self) -> None:
        try:
            super().step()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self.refused += 1

    def tidy(self) -> None:
        for path in list(walk(self.root)):
            if path.endswith(".tmp"):
                os.unlink(path)

    def _save(self, path: str, data: bytes) -> None:
        self.root.joinpath(path + ".tmp").write_bytes(data)
        os.rename(self.root / (path + ".tmp"), self.root / path)

    def _save_new(self) -> None:
        path, data = self._new_name(self._random.choice(self._directories())), self._bytes()
        self._save(path, data)
        self.model.exact[path] = data

    def _common_new(self) -> None:
        self._number += 1
        path, data = f"common/{self.name}-{self._number}", self._bytes()
        self._save(path, data)
        self.model.survivors[path] = data


class Campaign:
    def __init__(self, world: World, seed: int) -> None:
        self._random = random.Random(f"disk {seed}")
        self.did: Counter[str] = Counter()
        self._full, self._disk = device_on_small_disk(world, "a")
        self._device = world.device("b")
        for device in (self._full, self._device):
            device.up()
            device.allowed += [r"connection|peer|unreachable|mount|timed out|shutting down|disk|full|has to wait"]
        self._full.create()
        self._device.join(self._full.share())
        for device in (self._full, self._device):
            # Many removals at once are part of the work here.
            device.ctl("brake", "docs", "--off")
        self._workers = [Saver("a", self._full, seed), Saver("b", self._device, seed)]
        for worker in self._workers:
            worker.prepare()

    def round(self) -> None:
        for _ in range(STEPS_PER_ROUND):
            for worker in self._workers:
                worker.step()
                self.did["operations"] += 1
            if self._random.random() < 0.15:
                self._disturb(self._disk)
        self._disk.empty()
        self._full.up()
        for worker in self._workers:
            worker.tidy()
        all_agree(list(self._workers))

    def _disturb(self, disk: SmallDisk) -> None:
        disk.empty()
        if self._random.random() < 0.3:
            self._full.kill9_daemon()
            self._full.up()
            self.did["kills"] += 1
        if self._random.random() < 0.7:
            disk.fill(self._random.choice(LEAVE))
            self.did["times full"] += 1

    def figures(self) -> str:
        refused = sum(worker.refused for worker in self._workers)
        return f"{told(self.did)}, {refused} operations refused for want of room"


def main() -> int:
    seed, ends = asked_for("disk", __doc__)
    with World() as world:
        campaign = Campaign(world, seed)
        return rounds("disk", seed, ends, campaign.round, campaign.figures)


if __name__ == "__main__":
    sys.exit(main())
