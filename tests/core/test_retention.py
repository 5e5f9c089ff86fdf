# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention: how long, and how much, of the past is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holofsd.core.errors import BadArgument
from holofsd.core.retention import HistoryPolicy, decode_policy, default_budget, fair_shares

GIB = 1 << 30
AMOUNTS = st.dictionaries(st.integers(), st.integers(0, 1 << 50))


@pytest.mark.parametrize(
    ("disk", "live", "budget"),
    [
        (50 * GIB, 0, 5 * GIB),
        (50 * GIB, 40 * GIB, 5 * GIB),
        (500 * GIB, 0, 10 * GIB),
        (500 * GIB, 8 * GIB, 10 * GIB),
        (500 * GIB, 30 * GIB, 30 * GIB),
        (500 * GIB, 300 * GIB, 50 * GIB),
        (0, 0, 0),
    ],
)
def test_the_default_is_a_tenth_of_the_disk_and_no_more_than_the_files_need(disk: int, live: int, budget: int) -> None:
    assert default_budget(disk, live) == budget


@pytest.mark.parametrize(
    ("budget", "used", "shares"),
    [
        (90, {}, {}),
        (90, {"a": 500}, {"a": 90}),
        (90, {"a": 10, "b": 500}, {"a": 45, "b": 80}),
        (90, {"a": 500, "b": 10, "c": 500}, {"b": 30, "a": 40, "c": 40}),
        (90, {"a": 20, "b": 30}, {"a": 45, "b": 70}),
        (0, {"a": 5, "b": 0}, {"a": 0, "b": 0}),
    ],
)
def test_what_one_volume_does_not_need_is_for_the_others(
    budget: int, used: dict[str, int], shares: dict[str, int]
) -> None:
    assert fair_shares(budget, used) == shares


@given(st.integers(0, 1 << 50), AMOUNTS)
def test_shares_never_add_up_to_more_than_the_budget(budget: int, used: dict[int, int]) -> None:
    shares = fair_shares(budget, used)
    assert shares.keys() == used.keys()
    kept = {key: min(shares[key], used[key]) for key in used}
    assert sum(kept.values()) <= budget
    assert all(share >= budget // len(used) for share in shares.values())
    if sum(used.values()) <= budget:
        assert kept == used, "nobody lets go of anything where there is room for all"


def test_a_policy_without_a_size_is_written_as_before() -> None:
    assert HistoryPolicy(1, 2).encode() == b'{"all_s": 1, "daily_s": 2}'
    assert decode_policy(HistoryPolicy(1, 2).encode()) == HistoryPolicy(1, 2)
    assert decode_policy(HistoryPolicy(1, 2, 3).encode()) == HistoryPolicy(1, 2, 3)
    with pytest.raises(BadArgument):
        HistoryPolicy(max_bytes=-1).checked()
