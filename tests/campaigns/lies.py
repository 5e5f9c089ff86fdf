# SPDX-License-Identifier: GPL-3.0-or-later
"""Each lie of the grammar in scenes of its own, as a table: which ones do harm, and how.

scripts/soak lies [NAME ...] [--jobs N]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

from model.lie_scenes import scenes_of
from model.lies import LIES
from model.lying import GRAMMAR
from model.run import run

SHOWN = 200
"""Characters of what a scene found."""


def tried(name: str) -> tuple[str, list[tuple[int, str]]]:
    """The scenes that found something, with the last line of the first thing."""
    found = []
    for number, scene in enumerate(scenes_of(name)):
        if problems := run(scene).problems:
            found.append((number, problems[0].strip().splitlines()[-1]))
    return name, found


def asked_for() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak lies", description="Each lie in scenes of its own.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of lies; all of them, if none is given")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    for name in options.names:
        if name not in LIES:
            parser.error(f"there is no lie {name!r}: {', '.join(LIES)}")
    return options


def main() -> int:
    assert GRAMMAR
    options = asked_for()
    names: Iterable[str] = options.names or LIES
    harmful = 0
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=20) as pool:
        for name, found in pool.map(tried, names):
            harmful += bool(found)
            print(f"{name}: {'harms nobody' if not found else f'{len(found)} scenes found something'}", flush=True)
            for number, why in found:
                print(f"    scene {number}: {why[:SHOWN]}", flush=True)
    print(f"{harmful} lies do harm" if harmful else "passed: scripts/soak lies: no lie does harm")
    return 1 if harmful else 0


if __name__ == "__main__":
    sys.exit(main())
