# SPDX-License-Identifier: GPL-3.0-or-later
"""Rates and timetables of traffic limits, as people write them: `5M`, `512K`, `off`, `08:00,512K 19:00,off`.

A timetable is a list of times with the limit from then on, apart by spaces. A time may have a day before it
(`Mon-08:00`); without one it is of every day. A limit is one rate for both directions, or `UP:DOWN`, as rclone has it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from holofs_api.words import quoted

LEAST_RATE: Final = 16 << 10
"""Bytes a second. With less, records and content would come so slowly that other devices give them up."""
MOST_RATE: Final = 1 << 40
NO_RATE: Final = "off"
_RATE: Final = re.compile(r"(\d{1,15})(?:\.(\d{1,3}))?([kmg])(?:i?b)?(?:/s)?", re.ASCII | re.IGNORECASE)
_SHIFTS: Final = {"k": 10, "m": 20, "g": 30}
_ENTRY: Final = re.compile(r"(?:([a-z]+)-)?(\d{1,2}):(\d\d),([^\s,:]+)(?::([^\s,:]+))?", re.ASCII | re.IGNORECASE)
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = 24 * 60
_WEEK: Final = 7 * _DAY
_MOST_ENTRIES: Final = 200


def parse_rate(text: str) -> int | None:
    """Bytes a second; None for `off`. Raises ValueError with the end of a sentence that begins with the text."""
    if text.lower() == NO_RATE:
        return None
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError("is not a rate; write it like 5M (MiB a second), 512K or off")
    rate = int(float(f"{found[1]}.{found[2] or 0}") * (1 << _SHIFTS[found[3].lower()]))
    if rate < LEAST_RATE:
        raise ValueError("is too slow: at least 16K; to stop all traffic use `holofsctl pause`")
    if rate > MOST_RATE:
        raise ValueError("is too fast: at most 1024G")
    return rate


@dataclass(frozen=True, slots=True)
class TrafficRates:
    """Limits of both directions in bytes a second; None: no limit."""

    up: int | None = None
    down: int | None = None

    def lower(self, other: TrafficRates) -> TrafficRates:
        """The lower limit of each direction."""
        return TrafficRates(_lower(self.up, other.up), _lower(self.down, other.down))


def _lower(one: int | None, other: int | None) -> int | None:
    return min((rate for rate in (one, other) if rate is not None), default=None)


@dataclass(frozen=True, slots=True)
class Timetable:
    """Limits by time of the week. `entries` are in order: minutes since Monday 00:00, and the limits from then on."""

    entries: tuple[tuple[int, TrafficRates], ...]

    def at(self, moment: datetime) -> tuple[TrafficRates, datetime | None]:
        """The limits at a local time, and when they change next; None: never."""
        if not self.entries:
            return TrafficRates(), None
        minute = moment.weekday() * _DAY + moment.hour * 60 + moment.minute
        # Before the first entry of the week the last one of the week before holds.
        _, rates = next((entry for entry in reversed(self.entries) if entry[0] <= minute), self.entries[-1])
        later = [(start - minute) % _WEEK or _WEEK for start, others in self.entries if others != rates]
        if not later:
            return rates, None
        whole = moment.replace(second=0, microsecond=0)
        return rates, whole + timedelta(minutes=min(later))


def parse_timetable(text: str) -> Timetable:
    """Raises ValueError with the end of a sentence that begins with the text, or with a part of it."""
    found: dict[int, TrafficRates] = {}
    named: set[int] = set()
    parts = text.split()
    if len(parts) > _MOST_ENTRIES:
        raise ValueError(f"has too many times: at most {_MOST_ENTRIES}")
    for part in parts:
        day, minute, rates = _entry(part)
        days = range(7) if day is None else (day,)
        for number in days:
            at = number * _DAY + minute
            if (day is not None and at in named) or (day is None and at in found and at not in named):
                raise ValueError(f"has one time twice: {quoted(part)}")
            if day is None and at in named:
                continue  # a day that is named goes before every day
            found[at] = rates
            if day is not None:
                named.add(at)
    return Timetable(tuple(sorted(found.items())))


def _entry(part: str) -> tuple[int | None, int, TrafficRates]:
    """The day (None: every day), the minute of the day and the limits."""
    match = _ENTRY.fullmatch(part)
    if match is None:
        raise ValueError(f"has {quoted(part)}, which is not a time and a rate like 08:00,512K or Mon-08:00,1M:5M")
    hour, minute = int(match[2]), int(match[3])
    if hour > 23 or minute > 59:
        raise ValueError(f"has {quoted(part)}: there is no such time of day")
    day = None
    if match[1]:
        day = next((number for number, name in enumerate(_DAYS) if name == match[1].lower()[:3]), None)
        if day is None:
            raise ValueError(f"has {quoted(part)}: days are Mon, Tue, Wed, Thu, Fri, Sat and Sun")
    try:
        up = parse_rate(match[4])
        down = parse_rate(match[5]) if match[5] else up
    except ValueError as error:
        raise ValueError(f"has {quoted(part)}, whose rate {error}") from None
    return day, hour * 60 + minute, TrafficRates(up, down)
