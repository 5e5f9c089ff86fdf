# SPDX-License-Identifier: GPL-3.0-or-later
"""Points in time as people write them: `2026-11-20`, `2026-11-20 14:30`, `14:30`, `2h` (ago), `yesterday`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_AGO: Final = re.compile(r"(\d+)([smhdwy])(?: ago)?", re.ASCII)
_CLOCK: Final = re.compile(r"\d{1,2}[:.-]\d\d(?:[:.-]\d\d)?", re.ASCII)
_DAY: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T _](.+?))?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_MOST_DIGITS: Final = 12
"""More than any time of the past needs."""


def parse_time(text: str, now: datetime) -> int:
    """Wall time in ms. Without a zone it is meant in that of `now`; a day alone means its beginning.

    Raises ValueError with the end of a sentence that begins with the text.
    """
    text = text.strip()
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return _ms(_before(now, ago[1], _UNITS[ago[2]]))
        if text == "now":
            return _ms(now)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        if text in ("today", "yesterday"):
            return _ms(midnight - timedelta(days=text == "yesterday"))
        if _CLOCK.fullmatch(text):
            return _ms(datetime.fromisoformat(f"{now.date()}T{_clock(text)}").replace(tzinfo=now.tzinfo))
        day = _DAY.fullmatch(text)
        if day:
            moment = datetime.fromisoformat(f"{day[1]}T{_clock(day[2] or '00:00')}{day[3] or ''}")
            return _ms(moment if moment.tzinfo is not None else moment.replace(tzinfo=now.tzinfo))
    except (ValueError, OverflowError):
        pass
    if ago:
        raise ValueError("is before 1970: say a later time")
    raise ValueError("is not a time like 2026-11-20, '2026-11-20 14:30', 14:30, 2h or yesterday")


def _before(now: datetime, digits: str, unit: int) -> datetime:
    """Raises OverflowError where there is no such time."""
    if len(digits) > _MOST_DIGITS:
        raise OverflowError(digits)
    return now - timedelta(seconds=int(digits) * unit)


def _clock(text: str) -> str:
    """`9-30` and `9.30` are easier in a file's name."""
    hour, *rest = re.split(r"[:.-]", text)
    return ":".join([hour.zfill(2), *rest])


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
