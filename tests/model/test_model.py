# SPDX-License-Identifier: GPL-3.0-or-later
"""The promise, by machine: whatever programs do on several devices and whatever happens to them, all end with one tree,
and nothing that was acknowledged is missing. The long form is `scripts/soak model SEED DURATION`."""

from __future__ import annotations

import random
from pathlib import Path
from unittest.mock import patch

import pytest

from holofsd.core.ids import Dot
from holofsd.core.project import parse_token
from holofsd.fs.versions import Versions
from model import checks, regressions
from model.campaign import repeatable, shrink
from model.chance import Processes, SeededLoop, run_seeded
from model.ledger import Ledger
from model.program import Program, Step, random_program
from model.run import Result, World, run

QUIET_MOST = 40
"""Turns of the loop a second, for two devices that are connected and have nothing to do."""


@pytest.mark.parametrize("name", regressions.ALL)
def test_programs_that_found_defects_find_none(name: str) -> None:
    assert run(regressions.ALL[name]).problems == []


def test_a_filesystem_that_replaces_what_its_writer_never_saw_is_found_out() -> None:
    def careless(_self: Versions, shown: bytes, _base: bytes, _detached: bool = False) -> set[Dot]:
        return {parse_token(shown)} if shown else set()

    with patch.object(Versions, "superseded", careless):
        assert any("is nowhere" in problem for problem in run(regressions.STALE_HANDLE).problems)


def test_new_seeds_find_nothing() -> None:
    done = repeatable(str(random.randrange(1 << 30)), "12s")
    assert done.returncode == 0, done.stdout
    assert " 0 writes" not in done.stdout


def test_the_same_seed_is_the_same_run() -> None:
    one, other = (repeatable("5", "0s").stdout for _ in range(2))
    assert one == other


def test_a_device_that_has_nothing_to_do_sleeps(tmp_path: Path) -> None:
    program = Program(1, 2, sequential=False, quick=False, steps=(Step(0, "write", (0, 7, 0), -1, 5.0),))

    async def main(loop: SeededLoop, processes: Processes) -> int:
        turns = 0
        run_once = loop._run_once  # type: ignore[attr-defined]

        def counted() -> None:
            nonlocal turns
            turns += 1
            run_once()

        async def rest(world: World) -> None:
            await World._check(world)
            loop._run_once = counted  # type: ignore[attr-defined]
            await world._step(1, Step(0, "chmod", (0, 0, 0), -1, 60.0))

        world = World(program, tmp_path, loop, processes, Result())
        world._check = lambda: rest(world)  # type: ignore[method-assign]
        await world.go()
        assert not world.result.problems
        return turns

    assert run_seeded(1, main) < 60 * QUIET_MOST


def test_the_ledger_notices_what_is_lost_and_what_nobody_wrote() -> None:
    ledger = Ledger()
    kept, replaced, lost = (ledger.fresh(20) for _ in range(3))
    for data in (kept, replaced, lost):
        ledger.acknowledge(data, "here")
    ledger.supersede(ledger.made(replaced), "there")
    shown = {ledger.made(kept), b"?" * 32}
    assert [line.startswith(ledger.label(ledger.made(lost))) for line in ledger.lost(shown)] == [True]
    assert len(ledger.unknown(shown)) == 1


def test_trees_that_differ_are_told_apart() -> None:
    assert checks.same_trees(["a", "b"], [{b"f": (1, b"x")}, {b"f": (1, b"y"), b"g": (2,)}]) != []
    assert checks.same_trees(["a", "b"], [{b"f": (1, b"x")}, {b"f": (1, b"x")}]) == []


def test_a_program_shrinks_to_the_steps_that_matter() -> None:
    program = random_program(7, length=40)
    needed = {program.steps[11], program.steps[29]}
    small = shrink(program, lambda smaller: needed <= set(smaller.steps))
    assert set(small.steps) == needed
