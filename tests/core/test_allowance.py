# SPDX-License-Identifier: GPL-3.0-or-later
"""Token buckets: what is taken comes back with time, and debts are waited for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holofsd.core.allowance import Allowance, Recent


def test_a_burst_is_free_and_what_goes_beyond_waits() -> None:
    allowance = Allowance(rate=10, burst=100)
    assert allowance.take(100, now=5) == 0
    assert allowance.take(50, now=5) == 5
    assert allowance.wait(now=8) == 2
    assert allowance.wait(now=10) == 0
    assert allowance.take(100, now=1000) == 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    allowance = Allowance(rate=1, burst=1)
    allowance.take(1, now=100)
    assert allowance.take(1, now=50) == 1


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 20)), max_size=50))
def test_whoever_waits_as_told_never_gets_more_than_the_rate_and_one_burst(steps: list[tuple[float, float]]) -> None:
    allowance, now, taken = Allowance(rate=2, burst=10), 0.0, 0.0
    for pause, cost in steps:
        now += pause
        now += allowance.take(cost, now)
        taken += cost
        assert taken <= 10 + 2 * now + 1e-6


def test_the_key_unused_for_longest_is_forgotten() -> None:
    recent: Recent[int, list[int]] = Recent(list, most=2)
    recent.of(1).append(1)
    recent.of(2).append(2)
    recent.of(1).append(1)
    recent.of(3)
    assert recent.of(1) == [1, 1]
    assert len(recent) == 2
    assert recent.of(2) == []
