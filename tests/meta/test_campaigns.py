# SPDX-License-Identifier: GPL-3.0-or-later
"""What campaigns say at their end can be relied on."""

from __future__ import annotations

import argparse
import time
from collections import Counter

import pytest

from campaigns import again, crash, soak
from holofsd.store.faults import POINTS


def a_crash_campaign(rounds: int, tried: dict[str, int], reached: dict[str, int]) -> crash.Campaign:
    made = crash.Campaign.__new__(crash.Campaign)
    made.rounds, made.tried, made.reached = rounds, Counter(tried), Counter(reached)
    return made


def test_a_crash_campaign_names_the_points_that_it_did_not_reach() -> None:
    first, second, *rest = sorted(POINTS)
    everything = dict.fromkeys(rest, 1)
    short = a_crash_campaign(10, {first: 3, second: 1, **everything}, {first: 0, **everything})
    assert short.never_reached() == [first, second]
    assert short.table().endswith(f"never reached: {first}, {second}")
    assert short.wrongly_missed() == [first]
    assert short.wrongly_missed(only=second) == []
    long = a_crash_campaign(crash.FAIR_ROUNDS, {first: 1, **everything}, {first: 1, **everything})
    assert long.wrongly_missed() == [second]


def test_a_crash_campaign_of_a_thousand_rounds_has_every_point_in_turn() -> None:
    drawn = Counter(point for point, _ in zip(crash.orders(7), range(crash.FAIR_ROUNDS), strict=False) if point)
    assert drawn.keys() == POINTS
    assert min(drawn.values()) >= crash.FAIR_TRIES


def test_the_figures_of_pytest_and_hypothesis_are_added_up() -> None:
    figures: Counter[str] = Counter()
    for line in (
        "  - during generate phase (0.51 seconds):\n",
        "    - 100 passing examples, 0 failing examples, 3 invalid examples\n",
        "    - 20 passing examples, 0 failing examples, 0 invalid examples\n",
        "15 passed in 13.51s\n",
    ):
        again.count(line, figures)
    assert soak.told(figures) == "120 examples, 15 tests passed"


def test_a_campaign_that_fails_says_where_and_one_that_passes_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    did: Counter[str] = Counter()

    def work() -> None:
        did["operations"] += 60
        assert did["operations"] < 100, "something is lost"

    assert soak.rounds("disk", 5, time.monotonic(), work, lambda: soak.told(did)) == 0
    assert "passed: scripts/soak disk, seed 5: 1 rounds" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="something is lost"):
        soak.rounds("disk", 5, time.monotonic(), work, lambda: soak.told(did))
    assert "FAILED in round 1" in capsys.readouterr().out


def test_a_duration_is_a_number_and_a_unit() -> None:
    assert [soak.duration(text) for text in ("90s", "10m", "2h", "7")] == [90.0, 600.0, 7200.0, 7.0]
    with pytest.raises(argparse.ArgumentTypeError):
        soak.duration("soon")
