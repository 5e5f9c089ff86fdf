# SPDX-License-Identifier: GPL-3.0-or-later
"""Number of connections for content: more while they bring more, fewer where packets queue, none without a need."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from holofsd.sync.line_count import PAUSE_LEAST, STEPS, LineCount, Sample

Rate = Callable[[int], float]
NO_QUEUE = 0.05


def run(count: LineCount, rate: Rate, windows: int, began: float = 0.0, round_trip: float | None = NO_QUEUE) -> float:
    """Time after so many windows of one second, in which content comes as fast as `rate` says."""
    for second in range(windows):
        count.sampled(Sample(began + second, rate(count.number), True, round_trip))
    return began + windows


def loses_packets(number: int) -> float:
    return 5e6 * max(number, 1)


def is_filled_by_one(_number: int) -> float:
    return 1e8


def test_where_packets_are_lost_there_are_as_many_as_there_may_be() -> None:
    count = LineCount()
    run(count, loses_packets, 20)
    assert count.number == STEPS[-1]


def test_where_one_fills_the_line_there_is_one_and_more_are_tried_seldom() -> None:
    count, tried = LineCount(), 0
    for second in range(3600):
        count.sampled(Sample(second, is_filled_by_one(count.number), True, NO_QUEUE))
        tried += count.number > 0
    assert 5 < tried < 60
    assert count.number == 0


def test_more_are_kept_as_far_as_they_help() -> None:
    count = LineCount()
    run(count, lambda number: 1e7 * min(max(number, 1), 8), 20)
    assert count.number == 8


def test_where_packets_queue_there_are_no_more_and_those_there_are_go() -> None:
    count = LineCount()
    now = run(count, loses_packets, 20)
    run(count, loses_packets, 20, now, round_trip=0.3)
    assert count.number == 0
    count = LineCount()
    run(count, loses_packets, 1)
    count.rest()
    run(count, loses_packets, int(PAUSE_LEAST), 1, round_trip=0.3)
    assert count.number == 0


def test_a_round_trip_that_is_not_known_is_no_queue() -> None:
    count = LineCount()
    run(count, loses_packets, 20, round_trip=None)
    assert count.number == STEPS[-1]


def test_streams_that_are_not_in_use_ask_for_nothing() -> None:
    count = LineCount()
    for second in range(100):
        count.sampled(Sample(second, 1e6, False, NO_QUEUE))
    assert count.number == 0


def test_where_little_comes_all_are_tried_at_once() -> None:
    count = LineCount()
    run(count, lambda number: 2e5 * max(number, 1), 1)
    assert count.number == STEPS[-1]
    run(count, lambda number: 2e5, 3, 1)
    assert count.number == 0, "they brought nothing"


def test_a_device_that_has_little_to_give_is_asked_over_one() -> None:
    count = LineCount()
    run(count, lambda number: 100.0 * max(number, 1), 100)
    assert count.number == 0


def test_after_a_rest_what_helped_before_is_tried_at_once() -> None:
    count = LineCount()
    now = run(count, loses_packets, 20)
    count.rest()
    assert count.number == 0
    run(count, loses_packets, 1, now)
    assert count.number == STEPS[-1]


def test_a_device_that_takes_no_more_is_left_alone_for_a_while() -> None:
    count = LineCount()
    now = run(count, loses_packets, 1)
    assert count.number > 0
    count.refused(now)
    now = run(count, loses_packets, int(PAUSE_LEAST) - 1, now)
    assert count.number == 0
    run(count, loses_packets, 2, now)
    assert count.number > 0


SAMPLES = st.tuples(st.floats(0, 1e12), st.booleans(), st.none() | st.floats(0, 1e6), st.booleans())


@given(st.lists(SAMPLES, max_size=80))
def test_whatever_is_measured_the_number_is_one_of_the_steps(
    samples: Sequence[tuple[float, bool, float | None, bool]],
) -> None:
    count = LineCount()
    for second, (rate, is_full, round_trip, rests) in enumerate(samples):
        count.sampled(Sample(second, rate, is_full, round_trip))
        assert count.number in STEPS
        if rests:
            count.rest()
            assert count.number == 0
