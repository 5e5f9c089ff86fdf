# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates and timetables as people write them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from holofs_api.timetable import TrafficRates, parse_rate, parse_timetable

KIB, MIB = 1 << 10, 1 << 20


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """Day 0 is a Monday."""
    return datetime(2026, 11, 30, hour, minute) + timedelta(days=day)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("5M", 5 * MIB),
        ("1.5m", 1536 * KIB),
        ("512K", 512 * KIB),
        ("2GiB/s", 2048 * MIB),
        ("16k", 16 * KIB),
        ("off", None),
    ],
)
def test_a_rate_has_a_unit(text: str, rate: int | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["5", "0", "-1M", "", "M", "5 M", "1e3M", "5T", "٥M", "1.2345M"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a rate"):
        parse_rate(text)


def test_a_rate_has_bounds() -> None:
    with pytest.raises(ValueError, match="at least 16K"):
        parse_rate("15K")
    with pytest.raises(ValueError, match="at most 1024G"):
        parse_rate("1025G")


def test_a_timetable_holds_every_day_and_over_midnight() -> None:
    table = parse_timetable("08:00,512K 12:00,10M:5M 19:00,off")
    assert table.at(at(0, 3)) == (TrafficRates(), at(0, 8))
    assert table.at(at(0, 8)) == (TrafficRates(512 * KIB, 512 * KIB), at(0, 12))
    assert table.at(at(0, 12, 1)) == (TrafficRates(10 * MIB, 5 * MIB), at(0, 19))
    assert table.at(at(6, 23)) == (TrafficRates(), at(7, 8))


def test_a_day_goes_before_every_day_and_the_last_of_the_week_before_the_first() -> None:
    table = parse_timetable("09:00,1M Sat-00:00,off sun-09:00,2M Mon-09:00,3M")
    assert table.at(at(0, 1))[0] == TrafficRates(2 * MIB, 2 * MIB)
    assert table.at(at(0, 9)) == (TrafficRates(3 * MIB, 3 * MIB), at(1, 9))
    assert table.at(at(5, 0)) == (TrafficRates(), at(5, 9))


def test_a_timetable_that_says_one_thing_never_changes() -> None:
    assert parse_timetable("00:00,1M").at(at(0, 5)) == (TrafficRates(MIB, MIB), None)
    assert parse_timetable("").at(at(0, 5)) == (TrafficRates(), None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("08:00", "which is not a time and a rate"),
        ("08:00,", "which is not a time and a rate"),
        ("24:00,1M", "no such time of day"),
        ("08:60,1M", "no such time of day"),
        ("Foo-08:00,1M", "days are Mon"),
        ("08:00,5", "whose rate is not a rate"),
        ("08:00,1M 08:00,2M", "one time twice"),
        ("Mon-08:00,1M mon-8:00,2M", "one time twice"),
        ("08:00,1M " * 201, "too many times"),
    ],
)
def test_what_is_no_timetable_is_refused_with_its_part(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_timetable(text)
