# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzzing of every decoder from outside (`tests/fuzz/targets.py`), guided by what code it reaches.

scripts/soak decoders SEED DURATION [--target NAME] [--keep]

The time is shared out among the targets. What reaches new code is tried further; with --keep some of it is put into
tests/fuzz/seeds, where `scripts/test` replays it. A crash is kept as a file, and told.

Coverage comes from atheris, which is no dependency of HoloFS: `.venv/bin/pip install '.[fuzz]'`. Without it this
campaign mutates blindly, and says so.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from campaigns.soak import duration
from fuzz.targets import TARGETS
from fuzz.test_decoders import ALL_BYTES, SEEDS, near, seeds_of

LEAST_S = 5.0
MOST_INPUT = 1 << 16
ONE_INPUT_S = 20
MEMORY_MIB = 1024
SMALL = 2048
"""Larger seeds are not kept."""
KEPT = 24
"""Of each target."""
EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)|#(\d+)\s+DONE")


class Found(Exception):
    """A decoder did what it must not do."""


def has_coverage() -> bool:
    return importlib.util.find_spec("atheris") is not None


class Campaign:
    def __init__(self, seed: int, seconds: float, names: Sequence[str], keep: bool, folder: Path) -> None:
        self._seed, self._keep, self._folder = seed, keep, folder
        self._names = names
        self._each = max(LEAST_S, seconds / len(names))
        self.executed: dict[str, int] = {}
        self.kept: dict[str, int] = {}

    def run(self) -> None:
        """Raises Found."""
        for name in self._names:
            if has_coverage():
                self._with_coverage(name)
            else:
                self._blindly(name)
            print(f"{name}: {self.executed[name]} inputs", flush=True)

    def _corpus(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        for number, seed in enumerate(seeds_of(name)):
            folder.joinpath(f"seed-{number}").write_bytes(seed)
        return folder

    def _with_coverage(self, name: str) -> None:
        corpus = self._corpus(name)
        crashes = self._folder / f"crashes-{name}"
        crashes.mkdir()
        done = self._libfuzzer(
            name,
            str(corpus),
            f"-max_total_time={self._each:.0f}",
            f"-seed={self._seed & 0x7FFFFFFF or 1}",
            f"-artifact_prefix={crashes}/",
            "-print_final_stats=1",
            timeout=self._each + 120,
        )
        counts = [int(one or other) for one, other in EXECUTED.findall(done.stdout)]
        self.executed[name] = max(counts, default=0)
        found = sorted(crashes.iterdir())
        if found or done.returncode:
            raise Found(self._told(name, found, done.stdout))
        if self._keep:
            self._keep_some(name, corpus)

    def _libfuzzer(self, name: str, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
        limits = [f"-max_len={MOST_INPUT}", f"-timeout={ONE_INPUT_S}", f"-rss_limit_mb={MEMORY_MIB}"]
        return subprocess.run(
            [sys.executable, "-m", "fuzz.with_coverage", name, *limits, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            check=False,
        )

    def _told(self, name: str, found: Sequence[Path], output: str) -> str:
        kept = []
        for path in found:
            target = Path(tempfile.gettempdir()) / f"holofs-{name}-{path.name}"
            shutil.copyfile(path, target)
            kept.append(f"{target}: {path.read_bytes()[:200]!r}")
        return "\n".join([f"{name} did what it must not do:", *output.splitlines()[-40:], *kept])

    def _keep_some(self, name: str, corpus: Path) -> None:
        """Keep inputs that reached new code, as evenly spread over the sizes as there is room for."""
        given = set(TARGETS[name].seeds)
        found = {path.read_bytes(): path.name for path in corpus.iterdir() if path.stat().st_size <= SMALL}
        datas = sorted(found.keys() - given, key=lambda data: (len(data), data))
        chosen = [datas[number * len(datas) // KEPT] for number in range(KEPT)] if len(datas) > KEPT else datas
        target = SEEDS / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        share = ALL_BYTES // len(TARGETS)
        for data in chosen:
            share -= len(data)
            if share >= 0 and data:
                target.joinpath(hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        self.kept[name] = len(list(target.iterdir()))

    def _blindly(self, name: str) -> None:
        chance, read = random.Random(f"{self._seed} {name}"), TARGETS[name].read
        seeds, ends, count = seeds_of(name), time.monotonic() + self._each, 0
        while time.monotonic() < ends:
            data = near(chance.choice(seeds), chance)
            count += 1
            try:
                read(data)
            except Exception as error:
                raise Found(f"{name} raised {error!r} on {data!r}") from error
        self.executed[name] = count


def asked_for() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/soak decoders", description="Every decoder of bytes from outside.")
    parser.add_argument("seed", type=int)
    parser.add_argument("duration", type=duration)
    parser.add_argument("--target", choices=TARGETS, help="only this one")
    parser.add_argument("--keep", action="store_true", help="put what reaches new code into tests/fuzz/seeds")
    return parser.parse_args()


def main() -> int:
    options = asked_for()
    if not has_coverage():
        print("atheris is not installed: without coverage. `.venv/bin/pip install '.[fuzz]'` installs it.", flush=True)
    names = [options.target] if options.target else list(TARGETS)
    with tempfile.TemporaryDirectory(prefix="hfs-decoders-") as folder:
        campaign = Campaign(options.seed, options.duration, names, options.keep, Path(folder))
        try:
            campaign.run()
        except Found as error:
            print(f"FAILED: scripts/soak decoders {options.seed}: {error}", flush=True)
            return 1
    how = "guided by coverage" if has_coverage() else "without coverage"
    print(
        f"passed: scripts/soak decoders, seed {options.seed}: {sum(campaign.executed.values())} inputs to"
        f" {len(names)} decoders, {how}" + (f"; kept {sum(campaign.kept.values())} seeds" if options.keep else ""),
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
