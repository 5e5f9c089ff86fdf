# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a program, step by step or as a whole, and says what is wrong afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from model.chance import Seeded
from model.lying import LyingWorld
from model.program import Program, Step
from model.world import Result, World


def memory_folder() -> Path:
    fast = Path("/dev/shm")
    parent = fast if tempfile.tempdir is None and fast.is_dir() and os.access(fast, os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="hfs-model-", dir=parent))


class Play:
    """A run that others may drive: each call returns when that part of it is over. Close it in any case.

    Whatever goes wrong is what the run found: it is in `result`, and nothing is done after it.
    """

    def __init__(self, program: Program) -> None:
        """The steps of the program are not taken yet."""
        self.result = Result()
        self._folder = memory_folder()
        self._seeded = Seeded(program.seed)
        kind = LyingWorld if program.liar else World
        self.world = kind(program, self._folder, self._seeded.loop, self._seeded.processes, self.result)
        self._do(self.world.begin)

    def step(self, step: Step) -> None:
        self._do(lambda: self.world.step(step))

    def finish(self) -> None:
        """All troubles end; then what has to hold is looked at."""
        self._do(self.world.quiet)
        self._do(self.world.check)

    def close(self) -> None:
        try:
            self._do(self.world.end, always=True)
            self.result.acknowledged = len(self.world.ledger.acknowledged)
        finally:
            self._seeded.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _do(self, part: Callable[[], Awaitable[None]], *, always: bool = False) -> None:
        if self.result.problems and not always:
            return

        async def main() -> None:
            await part()

        try:
            self._seeded.run(main())
        except Exception:  # noqa: BLE001 (whatever goes wrong in a run is what it found)
            self.result.problems.append(traceback.format_exc())
        self.result.problems += self._seeded.loop.problems
        self._seeded.loop.problems.clear()


def run(program: Program) -> Result:
    play = Play(program)
    try:
        for step in program.steps:
            play.step(step)
        play.finish()
    finally:
        play.close()
    return play.result
