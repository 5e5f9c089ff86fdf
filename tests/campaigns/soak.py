# SPDX-License-Identifier: GPL-3.0-or-later
"""Random work on three devices, daemons stopped and killed under it; then all agree and nothing is missing.

scripts/soak SEED DURATION        for example: scripts/soak 1 10m
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from campaigns.work import Worker
from support.device import Device, World
from support.trees import assert_same_tree, contents, names
from support.wait import until

STEPS_PER_ROUND = 60
AGREE_S = 180.0
# A peer that is killed is no reason for a test to fail.
EXPECTED_LOG = [r"connection|peer|unreachable|mount|timed out|shutting down"]


class Campaign:
    def __init__(self, world: World, seed: int) -> None:
        self._random = random.Random(seed)
        self._devices = world.sharing("a", "b", "c")
        for device in self._devices:
            device.allowed += EXPECTED_LOG
            # Many removals at once are part of the work here.
            device.ctl("brake", "docs", "--off")
        self._workers = [Worker(device.name, device.mount(), seed) for device in self._devices]
        for worker in self._workers:
            worker.prepare()
        self._down: set[str] = set()
        self.did: Counter[str] = Counter()

    def round(self) -> None:
        for _ in range(STEPS_PER_ROUND):
            for device, worker in zip(self._devices, self._workers, strict=True):
                if device.name not in self._down:
                    worker.step()
                    self.did["operations"] += 1
            if self._random.random() < 0.1:
                self._disturb(self._random.choice(self._devices))
        for device in self._devices:
            device.up()
        self._down.clear()
        all_agree(self._workers)

    def _disturb(self, device: Device) -> None:
        if device.name in self._down:
            device.up()
            self._down.discard(device.name)
            self.did["starts"] += 1
            return
        harm: list[Callable[[], None]] = [device.kill9_daemon, device.kill9_all, device.stop_daemon, device.down]
        chosen = self._random.choice(harm)
        self.did[chosen.__name__] += 1
        chosen()
        if self._random.random() < 0.5:
            device.up()
        else:
            self._down.add(device.name)


def all_agree(workers: list[Worker]) -> None:
    """Every device shows what its own worker did, waits until all show the same, and nothing is missing."""
    for worker in workers:
        _check_own(worker, worker.root)
    first, *others = [worker.root for worker in workers]
    for other in others:
        until(lambda: _agree(first, other), f"{other} to agree with {first}", AGREE_S)  # noqa: B023
    for root in (first, *others):
        for worker in workers:
            _check_own(worker, root)
    everything = contents(first)
    for worker in workers:
        for path, data in worker.model.survivors.items():
            assert everything.get(path) == data, f"{path} of {worker.name} is lost or changed"


def _agree(one: Path, other: Path) -> bool:
    assert_same_tree(one, other)
    return True


def _check_own(worker: Worker, root: Path) -> None:
    expected = worker.model.exact
    below = {f"{worker.name}/{name}" for name in names(root / worker.name)} | {worker.name}
    assert below == set(expected), f"{root}: {sorted(below ^ set(expected))[:10]}"
    for path, data in expected.items():
        if data is not None:
            found = root.joinpath(path).read_bytes()
            assert found == data, f"{root / path}: {len(found)} bytes, {len(data)} expected, or other bytes"


def duration(text: str) -> float:
    found = re.fullmatch(r"(\d+)([smh]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration like 90s, 10m or 2h")
    return int(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def asked_for(name: str, doc: str | None) -> tuple[int, float]:
    """Seed, and the time at which to stop (of `time.monotonic`), from the command line."""
    parser = argparse.ArgumentParser(prog=f"scripts/soak {name}".strip(), description=(doc or "").splitlines()[0])
    parser.add_argument("seed", type=int)
    parser.add_argument("duration", type=duration)
    arguments = parser.parse_args()
    return arguments.seed, time.monotonic() + arguments.duration


def rounds(name: str, seed: int, ends: float, work: Callable[[], None], figures: Callable[[], str]) -> int:
    """Run at least once, then until the time is up; says how far it is, and at the end what was done. The exit code."""
    done, began = 0, time.monotonic()
    again = f"scripts/soak {name}".strip()
    while time.monotonic() < ends or not done:
        try:
            work()
        except BaseException as error:
            print(f"FAILED in round {done + 1}: {error!r} ({figures()})\nagain: {again} {seed} DURATION", flush=True)
            raise
        done += 1
        print(f"seed {seed}: {done} rounds, all devices agree, nothing is missing", flush=True)
    took = time.monotonic() - began
    print(f"passed: {again}, seed {seed}: {done} rounds in {took:.0f} s, {figures()}", flush=True)
    return 0


def told(did: Counter[str]) -> str:
    """Figures that can be quoted."""
    return ", ".join(f"{count} {what}" for what, count in sorted(did.items())) or "nothing done"


def main() -> int:
    seed, ends = asked_for("", __doc__)
    with World() as world:
        campaign = Campaign(world, seed)
        return rounds("", seed, ends, campaign.round, lambda: told(campaign.did))


if __name__ == "__main__":
    sys.exit(main())
