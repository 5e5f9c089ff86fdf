# SPDX-License-Identifier: GPL-3.0-or-later
"""Points in time as people write them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from holofs_api.times import parse_time
from holofs_api.words import coming_time

ZONE = timezone(timedelta(hours=2))
NOW = datetime(2026, 11, 22, 15, 30, 20, tzinfo=ZONE)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", NOW),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=ZONE)),
        ("2026-11-20 14:30", datetime(2026, 11, 20, 14, 30, tzinfo=ZONE)),
        ("2026-11-20T14:30:05", datetime(2026, 11, 20, 14, 30, 5, tzinfo=ZONE)),
        ("2026-11-20_9-05", datetime(2026, 11, 20, 9, 5, tzinfo=ZONE)),
        ("2026-11-20 14:30:05.250", datetime(2026, 11, 20, 14, 30, 5, 250_000, tzinfo=ZONE)),
        ("2026-11-20 14:30Z", datetime(2026, 11, 20, 16, 30, tzinfo=ZONE)),
        ("2026-11-20T14:30+01:00", datetime(2026, 11, 20, 15, 30, tzinfo=ZONE)),
        ("9:05", datetime(2026, 11, 22, 9, 5, tzinfo=ZONE)),
        ("14.30", datetime(2026, 11, 22, 14, 30, tzinfo=ZONE)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d ago", NOW - timedelta(days=3)),
        ("yesterday", datetime(2026, 11, 21, tzinfo=ZONE)),
        (" today ", datetime(2026, 11, 22, tzinfo=ZONE)),
    ],
)
def test_a_time_is_what_a_person_means(text: str, moment: datetime) -> None:
    assert parse_time(text, NOW) == int(moment.timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "someday", "2026-13-01", "2026-11-20 25:00", "2x", "-1h", "２h", "٢h"])
def test_what_is_no_time_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time like"):
        parse_time(text, NOW)


@pytest.mark.parametrize("text", ["99999y", "99999999999d", "9" * 5000 + "s"])
def test_what_is_too_long_ago_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is before 1970"):
        parse_time(text, NOW)


@pytest.mark.parametrize(
    ("then", "told"),
    [
        (datetime(2026, 11, 22, 23, 59), "23:59"),
        (datetime(2026, 11, 22, 0, 5), "00:05"),
        (datetime(2026, 11, 23, 3, 29), "03:29"),
        (datetime(2026, 11, 23, 3, 31), "2026-11-23 03:31"),
        (datetime(2026, 12, 1, 8, 0), "2026-12-01 08:00"),
    ],
)
def test_a_time_that_is_to_come_has_a_date_unless_it_is_today_or_soon(then: datetime, told: str) -> None:
    now = datetime(2026, 11, 22, 15, 30)
    assert coming_time(int(then.timestamp() * 1000), int(now.timestamp() * 1000)) == told
