# SPDX-License-Identifier: GPL-3.0-or-later
"""Writers on real mounts note what fsync promised; daemons and mounts are killed, also at fault points; all is there.

scripts/soak crash SEED DURATION        for example: scripts/soak crash 1 10m
scripts/soak crash SEED --rounds N      every fault point in turn, and as many kills at any moment
scripts/soak crash SEED --rounds N --only POINT
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from campaigns.crash_scenes import Stage, scene_of
from campaigns.soak import duration
from campaigns.victim import Victim
from holofs_api.v1 import control_pb2 as pb
from holofsctl.errors import CommandError
from holofsd.store.faults import POINTS
from support.device import World
from support.wait import until

AGREE_S: Final = 120.0
CHECK_ALL_EVERY: Final = 25
LEFT_OVER: Final = ("content-stray",)
"""What fsck may find: files that garbage collection had not removed when it was killed; it does an hour later."""
FAIR_TRIES: Final = 3
"""A point that is not reached in so many rounds of its own fails the campaign..."""
FAIR_ROUNDS: Final = 1000
"""... and one that is not reached in a campaign of so many rounds, whatever the reason."""


class Campaign:
    """Two devices that share a volume, each with a mount and writers on it."""

    def __init__(self, world: World, seed: int, writers: int = 2) -> None:
        self._random = random.Random(seed)
        self.rounds = 0
        self.tried: Counter[str] = Counter()
        self.reached: Counter[str] = Counter()
        self._victims: list[Victim] = []
        for device in world.sharing("a", "b"):
            # Writers remove a lot at once, and what they remove has to go.
            device.ctl("brake", "docs", "--off")
            self._victims.append(Victim(device, device.mount(), seed, writers))
        a, b = self._victims
        self.stage = Stage(a, b, self._random, self._start, self._stop)

    def close(self) -> None:
        for victim in self._victims:
            victim.end()

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        for victim in self._victims:
            victim.team.call("start")

    def _stop(self) -> None:
        for victim in self._victims:
            victim.team.call("stop")

    # ---- rounds
    def random_kill(self) -> str:
        """Returns what it did."""
        victim = self._random.choice(self._victims)
        harm: dict[str, Callable[[], None]] = {
            "daemon": victim.kill_daemon,
            "daemon and mount": victim.kill_all,
            "mount": victim.kill_mount,
        }
        chosen = self._random.choice(list(harm))
        self.rounds += 1
        self._start()
        try:
            time.sleep(self._random.uniform(0.05, 0.5))
            harm[chosen]()
            if victim.is_dead:
                victim.begin()
                if self._random.random() < 0.25:
                    time.sleep(self._random.uniform(0.0, 0.6))
                    victim.restart()
                    chosen += ", and again while it started"
        finally:
            self._stop()
        self._check()
        return f"{chosen} of {victim.name}"

    def kill_at(self, point: str) -> bool:
        """Whether a daemon died at that point; what is there is looked at in any case."""
        self.rounds += 1
        self.tried[point] += 1
        reached = scene_of(point)(self.stage, point)
        self.reached[point] += reached
        self._check()
        return reached

    def _check(self) -> None:
        for victim in self._victims:
            victim.check()

    def check_all(self) -> None:
        """Each device has what every writer noted, and its index is what it should be."""
        self._check()
        for seen, wrote in itertools.product(self._victims, self._victims):
            what = f"what writers of {wrote.name} noted, at {seen.name}"
            until(lambda: wrote.team.call("agrees", seen.root), what, AGREE_S)  # noqa: B023
        for victim in self._victims:
            told = victim.ask("Fsck", pb.FsckRequest(volume="docs"))
            wrong = [found for volume in told.volumes for found in volume.findings if found.code not in LEFT_OVER]
            assert not wrong, f"fsck of {victim.name}: {wrong}"

    # ---- what was reached
    def never_reached(self, only: str | None = None) -> list[str]:
        return sorted(point for point in POINTS if only in (None, point) and not self.reached[point])

    def wrongly_missed(self, only: str | None = None) -> list[str]:
        """Fault points that were not reached and that a campaign of this length has to reach."""
        missed = self.never_reached(only)
        return [point for point in missed if self.tried[point] >= FAIR_TRIES or self.rounds >= FAIR_ROUNDS]

    def table(self, only: str | None = None) -> str:
        points = [only] if only is not None else sorted(POINTS)
        lines = [f"{point:24} {self.reached[point]:6} of {self.tried[point]:4} rounds" for point in points]
        never = f"never reached: {', '.join(self.never_reached(only)) or 'none'}"
        return "\n".join(["fault points, and how often somebody died there:", *lines, never])


def orders(seed: int) -> Iterator[str]:
    """Fault points, each as often as the others, in an order that the seed gives; "" is a kill at any moment."""
    chosen = random.Random(seed)
    while True:
        turn = [*sorted(POINTS), *[""] * len(POINTS)]
        chosen.shuffle(turn)
        yield from turn


def run(campaign: Campaign, turn: Iterable[str], seed: int, rounds: int, ends: float) -> None:
    began = time.monotonic()
    for point in turn:
        last = time.monotonic()
        if point:
            point += "" if campaign.kill_at(point) else " (not reached)"
        else:
            point = campaign.random_kill()
        over = time.monotonic() > ends or campaign.rounds >= rounds
        if over or campaign.rounds % CHECK_ALL_EVERY == 0:
            campaign.check_all()
        now = time.monotonic()
        print(f"{campaign.rounds}: {point}, {now - last:.1f} s", flush=True)
        if over or campaign.rounds % CHECK_ALL_EVERY == 0:
            mean = (now - began) / campaign.rounds
            missed = [point for point in campaign.tried if not campaign.reached[point]]
            note = f"; not reached: {', '.join(missed)}" if missed else ""
            print(f"seed {seed}: {campaign.rounds} rounds, {mean:.1f} s each; nothing is lost{note}", flush=True)
        if over:
            return


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak crash", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("seed", type=int)
    parser.add_argument("duration", type=duration, nargs="?", default=float("inf"))
    parser.add_argument("--rounds", type=int, default=0, help="end after so many rounds")
    parser.add_argument("--only", metavar="POINT", choices=sorted(POINTS), help="this fault point in each round")
    arguments = parser.parse_args()
    if not arguments.rounds and arguments.duration == float("inf"):
        parser.error("say how long: a duration like 10m, or --rounds N")
    rounds = arguments.rounds or sys.maxsize
    repeat = f"scripts/soak crash {arguments.seed}{' --only ' + arguments.only if arguments.only else ''} --rounds "
    turn = itertools.repeat(arguments.only) if arguments.only else orders(arguments.seed)
    campaign: Campaign | None = None
    try:
        with World() as world, Campaign(world, arguments.seed) as campaign:
            run(campaign, turn, arguments.seed, rounds, time.monotonic() + arguments.duration)
    except (AssertionError, OSError, CommandError) as error:
        traceback.print_exception(error)
        done = campaign.rounds if campaign else 0
        print(f"\nFAILED in round {done}: {error}\nto repeat: {repeat}{done}", flush=True)
        return 1
    print(campaign.table(arguments.only), flush=True)
    missed = campaign.wrongly_missed(arguments.only)
    if missed:
        print(f"FAILED: never reached: {', '.join(missed)}\nto repeat: {repeat}{campaign.rounds}", flush=True)
        return 1
    deaths = f"{campaign.reached.total()} deaths at {len(+campaign.reached)} of {len(POINTS)} fault points"
    print(f"passed: seed {arguments.seed}: {campaign.rounds} rounds, {deaths}, nothing lost.", flush=True)
    print(f"The same again: {repeat}{campaign.rounds}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
