# SPDX-License-Identifier: GPL-3.0-or-later
"""The promise against a member with a program of its own, by machine: each lie of the grammar in a scene of its own,
and a sample of what Hypothesis draws. The long form is `scripts/soak model SEED DURATION --liar`."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings

from holofsd.core.document import Role
from holofsd.core.errors import Refused
from holofsd.store.history import HistoryStore
from holofsd.sync.members import Members
from model import bounds
from model.campaign import asked_for, repeatable, tried_by
from model.lie_scenes import SEEDS, SHORT, scene_of_lie, scenes_of
from model.lies import LIES, chosen, family
from model.lying import PREFIX, LyingWorld
from model.machine import LIE_WEIGHTS, LyingModel
from model.program import Program, Step
from model.run import Play, run

TestLyingModel = LyingModel.TestCase
TestLyingModel.settings = settings(
    derandomize=True,
    max_examples=10,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("name", LIES)
def test_a_lie_harms_nobody(name: str) -> None:
    for number, program in enumerate(scenes_of(name, SHORT)):
        assert run(program).problems == [], f"scene {number} of {name}"


def test_every_lie_is_drawn_by_the_model() -> None:
    assert sorted(name for kind in LIE_WEIGHTS for name in family(kind)) == sorted(LIES)


@pytest.mark.parametrize("role", SEEDS)
def test_the_liar_begins_in_each_role_and_is_heard(role: Role | None) -> None:
    program = scene_of_lie("writes_a_file", (1, 1, 0), role)
    play = Play(program)
    try:
        for step in program.steps:
            play.step(step)
        world = play.world
        assert isinstance(world, LyingWorld)
        shown = {path for path, _entry in world.actors[0].entries()}
        assert world.devices[0].sync.membership.roles.get(world.liar.id) == role
        assert bool(world.liar.nodes()) == (role is not None)
        written = [name for name in shown if b"mal" in name] or [name for name in shown if name == b"lie"]
        heads = world.devices[0].store.documents.heads()
        assert any(author in heads for author in world.liar.authors) == (role in (Role.WRITER, Role.ADMIN)), written
        play.finish()
    finally:
        play.close()
    assert play.result.problems == []


def test_lies_are_chosen_by_name() -> None:
    assert chosen().names == tuple(LIES)
    assert chosen("forged_dot,many_links").names == ("forged_dot", "many_links")
    assert "forged_dot" not in chosen(without="forged_dot").names
    with pytest.raises(KeyError, match="no lie 'nonsense'"):
        chosen("nonsense")
    # Leaving one out changes nothing about the others.
    without = chosen(without="forged_dot")
    assert without.instead_of("many_links", 5) == "many_links"
    assert without.instead_of("forged_dot", 5) == without.names[5]


def test_a_campaign_says_how_to_tell_the_same_lies_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["model", "3", "--liar", "--without", "forged_dot"])
    tried = tried_by(asked_for())
    assert tried.again == " --liar --without forged_dot"
    assert tried.model is LyingModel
    monkeypatch.setattr("sys.argv", ["model", "3"])
    assert tried_by(asked_for()).again == ""


def test_the_same_seed_tells_the_same_lies() -> None:
    one, other = (repeatable("5", "--liar", "--lies", "writes_a_file,replays_pages,garbage_frames") for _ in range(2))
    assert one.returncode == 0, one.stdout
    assert one.stdout == other.stdout
    assert " lies of 2 kinds" in one.stdout


# ---- the checks find what they are for
def found_by(program: Program) -> str:
    return "\n".join(run(program).problems)


def test_a_device_that_keeps_no_history_is_found_out_by_a_lie() -> None:
    with patch.object(HistoryStore, "add", lambda *_rows: None):
        assert "is nowhere, and nobody who saw it replaced it" in found_by(
            scene_of_lie("covers_with_a_forged_version", (1, 1, 0), Role.WRITER)
        )


def test_membership_that_the_key_cannot_put_right_is_found_out() -> None:
    def refuses(_self: Members, *_given: object) -> None:
        raise Refused("the key is worth nothing")

    steps = (
        Step(0, "write", (0, 0, 0), -1, 1.5),
        Step(0, f"{PREFIX}removes_others", (2, 0, 0), -1, 1.5),
    )
    with patch.object(Members, "recover", refuses):
        program = Program(SEEDS[Role.ADMIN], 2, sequential=False, quick=True, steps=steps, liar=True)
        assert "worth nothing" in found_by(program)


def test_what_a_lie_may_cost_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    program = scene_of_lie("writes_a_file", (1, 1, 0), Role.WRITER)
    monkeypatch.setitem(bounds.TABLES, "nodes", bounds.Bound(3, 1 << 30))
    monkeypatch.setattr(bounds, "MEMORY", 1000)
    monkeypatch.setattr(bounds, "DISK", 1000)
    monkeypatch.setattr(bounds, "TURNS_PER_STEP", 1)
    monkeypatch.setattr(bounds, "TURNS_PER_SECOND", 0)
    found = found_by(program)
    for what in ("in nodes", "in memory", "on disk", "turns of the loop, ", "of idleness"):
        assert what in found, what


def test_blaming_an_honest_device_is_found_out() -> None:
    program = scene_of_lie("garbage_frames", (1, 1, 0), Role.WRITER)
    play = Play(program)
    try:
        for step in program.steps:
            play.step(step)
        one, other = play.world.devices
        one.sync.violations[other.id] = 1
        play.finish()
    finally:
        play.close()
    assert any("says of bob that it broke the protocol" in problem for problem in play.result.problems)
