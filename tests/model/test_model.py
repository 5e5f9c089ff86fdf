# SPDX-License-Identifier: GPL-3.0-or-later
"""The promise, by machine: whatever programs do on several devices and whatever happens to them, all end with one tree,
and nothing that was acknowledged is missing. The long form is `scripts/soak model SEED DURATION`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings

from holofsd.core.ids import Dot
from holofsd.core.project import parse_token
from holofsd.fs.content.versions import Versions
from holofsd.store.history import HistoryStore
from model import checks, regressions
from model.campaign import FAIR_SEEDS, Tally, repeatable
from model.chance import Seeded
from model.ledger import Ledger
from model.machine import Model, told
from model.program import Program, Step
from model.run import run
from model.scenes import HURRIED, point_of, scene_of
from model.troubles import POINTS
from model.world import Result, World

QUIET_MOST = 40
"""Turns of the loop a second, for two devices that are connected and have nothing to do."""

TestModel = Model.TestCase
TestModel.settings = settings(
    derandomize=True,
    max_examples=16,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("name", regressions.ALL)
def test_programs_that_found_defects_find_none(name: str) -> None:
    assert run(regressions.ALL[name]).problems == []


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_a_fault_point_loses_nothing(point: str) -> None:
    result = run(crash_at(point))
    assert (result.died_at, result.problems) == ([point], [])


def crash_at(point: str) -> Program:
    """Two devices; the second one crashes there."""
    scene, fault = scene_of(point, 1, 0), Step(1, "fault", (POINTS.index(point), 0, 0), -1, 0.0)
    return Program(3, 2, sequential=False, quick=True, steps=(*scene.before, fault, *scene.after))


@pytest.mark.parametrize("quick", [True, False])
def test_each_fault_point_is_drawn_as_often_as_the_others(quick: bool) -> None:
    drawn = Counter(point_of((number % 7, number, 0), POINTS, quick) for number in range(100 * len(POINTS)))
    assert drawn.keys() == {point for point in POINTS if quick or not point.startswith(HURRIED)}
    assert min(drawn.values()) > 50


def test_a_campaign_names_the_fault_points_that_it_did_not_reach() -> None:
    tally = Tally(seeds=FAIR_SEEDS - 1)
    tally.died_at.update(POINTS[1:])
    assert tally.table().endswith(f"never reached: {POINTS[0]}")
    assert tally.is_clean
    tally.add(Tally(seeds=1))
    assert not tally.is_clean
    tally.died_at[POINTS[0]] += 1
    assert tally.table().endswith("never reached: none")
    assert tally.is_clean


def test_devices_that_come_and_go_agree_in_the_end() -> None:
    steps = [
        Step(1, "write", (0, 0, 0), -1, 1.5),
        Step(2, "write", (1, 7, 0), -1, 1.5),
        Step(0, "expel", (0, 0, 0), -1, 8.0),
        Step(1, "write", (2, 0, 0), -1, 0.3),
        Step(0, "change_role", (1, 0, 0), -1, 1.5),
        Step(0, "invite", (0, 0, 0), -1, 8.0),
        Step(1, "rewrite", (0, 0, 0), -1, 1.5),
    ]
    result = run(Program(5, 3, sequential=False, quick=True, steps=tuple(steps)))
    assert result.problems == []
    assert result.refused == 1  # nobody but a member writes


def test_a_filesystem_that_replaces_what_its_writer_never_saw_is_found_out() -> None:
    def careless(_self: Versions, shown: bytes, _base: bytes, _detached: bool = False) -> set[Dot]:
        return {parse_token(shown)} if shown else set()

    with patch.object(Versions, "superseded", careless):
        assert any("is nowhere" in problem for problem in run(regressions.STALE_HANDLE).problems)


def test_a_history_that_forgets_is_found_out() -> None:
    steps = [Step(0, name, (0, 0, 0), -1, 0.0) for name in ("write", "quiet", "rewrite")]
    with patch.object(HistoryStore, "add", lambda *_rows: None):
        found = run(Program(1, 2, sequential=False, quick=True, steps=tuple(steps))).problems
    assert sum("forgot" in problem for problem in found) == 2


def test_the_same_seed_is_the_same_run() -> None:
    one, other = (repeatable("5") for _ in range(2))
    assert one.returncode == 0, one.stdout
    assert one.stdout == other.stdout
    assert " 0 writes" not in one.stdout


def test_a_device_that_has_nothing_to_do_sleeps(tmp_path: Path) -> None:
    seeded, result = Seeded(1), Result()
    program = Program(1, 2, sequential=False, quick=False, steps=())
    world, loop = World(program, tmp_path, seeded.loop, seeded.processes, result), seeded.loop
    turns = 0

    try:
        seeded.run(world.begin())
        seeded.run(world.step(Step(0, "write", (0, 7, 0), -1, 5.0)))
        before = loop.turns
        seeded.run(world.step(Step(0, "chmod", (0, 0, 0), -1, 60.0)))
        turns = loop.turns - before
        seeded.run(world.end())
    finally:
        seeded.close()
    assert (result.problems, loop.problems) == ([], [])
    assert 0 < turns < 60 * QUIET_MOST


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


def test_what_a_run_found_is_told_as_a_program_that_can_be_kept() -> None:
    program = regressions.STALE_HANDLE
    first = told(program, Result(problems=["something"])).splitlines()[0]
    assert eval(first.partition("steps: ")[2], {"Program": Program, "Step": Step}) == program
