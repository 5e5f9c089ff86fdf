# SPDX-License-Identifier: GPL-3.0-or-later
"""Pace of traffic under a limit: exact over ten seconds, the urgent first, and nothing shut out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

from holofsd.core.pacing import LEAST_PIECE, SHARE, PacedTurn, Pacer, TrafficLane, piece

FRAME = 256 * 1024
WINDOW_S = 10.0


def carried(rate: float, seconds: float, late: float, streams: int = 3) -> list[tuple[float, int]]:
    """Times and bytes of what goes, of streams that always have something, on a machine that wakes up late."""
    pacer, now = Pacer(rate), 0.0
    found: list[tuple[float, int]] = []
    size = piece(rate, FRAME)
    for _ in range(streams):
        pacer.ask(PacedTurn(size, TrafficLane.REST))
    while now < seconds:
        while turns := pacer.granted(now):
            for turn in turns:
                found.append((now, turn.size))
                pacer.ask(PacedTurn(size, TrafficLane.REST))
        wait = pacer.wait(now)
        assert wait is not None
        now += max(wait, 1e-4) + late
    return found


@pytest.mark.parametrize("rate", [16 << 10, 100_000, 1 << 20, 5 << 20, 100 << 20])
@pytest.mark.parametrize("late", [0.0, 0.003, 0.05])
def test_what_goes_within_any_ten_seconds_is_the_limit_within_ten_per_cent(rate: int, late: float) -> None:
    went = carried(rate, 40.0, late)
    for begin in (0.0, 0.7, 5.0, 13.3, 29.0):
        inside = sum(size for at, size in went if begin <= at < begin + WINDOW_S)
        assert 0.9 <= inside / (rate * WINDOW_S) <= 1.1, (begin, inside / (rate * WINDOW_S))


def test_pieces_are_a_tenth_of_a_second_and_neither_tiny_nor_larger_than_without_a_limit() -> None:
    assert piece(1_000_000, FRAME) == 100_000
    assert piece(16_384, FRAME) == LEAST_PIECE
    assert piece(1e9, FRAME) == FRAME
    assert piece(1e9, 100) == 100


def ask(pacer: Pacer, *lanes: TrafficLane) -> None:
    for lane in lanes:
        pacer.ask(PacedTurn(1000, lane))


def order(pacer: Pacer, count: int) -> list[TrafficLane]:
    """Lanes of the turns that are granted next, each as soon as it can be."""

    def granted() -> Iterator[TrafficLane]:
        now = 0.0
        while (wait := pacer.wait(now)) is not None:
            now += wait + 1e-4
            yield from (turn.lane for turn in pacer.granted(now))

    return list(islice(granted(), count))


def test_the_urgent_goes_first_then_records_then_the_rest() -> None:
    pacer = Pacer(10_000)
    ask(pacer, TrafficLane.REST, TrafficLane.RECORDS, TrafficLane.URGENT, TrafficLane.REST, TrafficLane.URGENT)
    assert order(pacer, 5) == sorted(
        [TrafficLane.REST, TrafficLane.RECORDS, TrafficLane.URGENT, TrafficLane.REST, TrafficLane.URGENT]
    )


def test_what_is_less_urgent_still_has_a_share_the_oldest_first() -> None:
    pacer = Pacer(10_000)
    ask(pacer, TrafficLane.REST, TrafficLane.RECORDS, *[TrafficLane.URGENT] * 100)
    found = order(pacer, 4 * SHARE)
    assert [number for number, lane in enumerate(found) if lane is not TrafficLane.URGENT] == [SHARE - 1, 2 * SHARE - 1]
    assert [lane for lane in found if lane is not TrafficLane.URGENT] == [TrafficLane.REST, TrafficLane.RECORDS]


def test_a_turn_that_is_taken_back_costs_nothing() -> None:
    pacer, turn = Pacer(1000), PacedTurn(5000, TrafficLane.URGENT)
    pacer.charge(LEAST_PIECE + 500, 0.0)
    pacer.ask(turn)
    assert pacer.granted(0.1) == []
    pacer.forget(turn)
    assert pacer.wait(0.1) is None
    pacer.ask(turn)
    assert pacer.wait(0.1) == pytest.approx(0.4)
    assert pacer.granted(0.6) == [turn]
