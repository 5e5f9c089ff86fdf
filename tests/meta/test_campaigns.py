# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports of campaigns can be relied on."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from campaigns import again, crash, decoders, hostile, soak
from campaigns.hostile_rogue import Orders
from fuzz.targets import TARGETS, Target
from holofsd.store.faults import POINTS
from model.lies import LIES
from support.wait import until


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


def test_a_hostile_campaign_holds_lies_to_a_second_unless_the_machine_is_busy_by_itself() -> None:
    calm, slow = [0.05] * 99 + [0.1], [0.05] * 90 + [1.5] * 10
    hostile.judge_latency("writer", calm, calm)
    with pytest.raises(AssertionError, match=r"1\.50 s with a writer that lies, 0\.10 s without"):
        hostile.judge_latency("writer", slow, calm)
    hostile.judge_latency("writer", slow, [0.5] * 100)
    with pytest.raises(AssertionError):
        hostile.judge_latency("writer", [3.0] * 100, [0.5] * 100)


def test_a_hostile_campaign_watches_the_memory_of_processes() -> None:
    watch = hostile.MemoryWatch({"this": os.getpid()})
    watch.start()
    until(lambda: watch.most["this"] > 0, "a first look")
    assert watch.stop()["this"] > 10 << 20


def test_a_campaign_of_decoders_says_which_input_was_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(data: bytes) -> None:
        assert len(data) != 3, "three bytes"

    target = Target("fails", fails, (b"abcd",))
    monkeypatch.setattr(decoders, "has_coverage", lambda: False)
    monkeypatch.setitem(TARGETS, "fails", target)
    campaign = decoders.Campaign(1, 60.0, ["fails"], keep=False, folder=tmp_path)
    with pytest.raises(decoders.Found, match="fails raised AssertionError"):
        campaign.run()


def test_the_orders_of_a_rogue_are_read_as_they_were_written() -> None:
    orders = Orders(7, "aa", [("bb", "b", ["192.0.2.1:1"])], "", ["forged_dot"])
    assert json.loads(orders.encode())["lies"] == ["forged_dot"]
    assert all(part in {lie.family for lie in LIES.values()} for parts in hostile.FAMILIES.values() for part in parts)
