# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates of the last seconds, by a clock that the test sets."""

from __future__ import annotations

from holofsd.net.traffic import RecentRate


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.5

    def __call__(self) -> float:
        return self.seconds


def test_a_rate_is_the_mean_since_the_first_byte_and_of_ten_seconds_at_most() -> None:
    clock = Clock()
    rate = RecentRate(clock)
    assert rate.bytes_a_second() == 0
    for _ in range(4):  # 1,000 bytes a second
        rate.add(600)
        rate.add(400)
        clock.seconds += 1
    assert 850 < rate.bytes_a_second() <= 1000
    for _ in range(12):
        rate.add(5000)
        clock.seconds += 1
    assert 4500 < rate.bytes_a_second() <= 5000


def test_a_burst_is_not_told_too_fast_and_silence_ends_it() -> None:
    clock = Clock()
    rate = RecentRate(clock)
    rate.add(3000)
    assert rate.bytes_a_second() == 3000
    clock.seconds += 5
    assert 500 < rate.bytes_a_second() < 600
    clock.seconds += 6
    assert rate.bytes_a_second() == 0
