# SPDX-License-Identifier: GPL-3.0-or-later
"""Judgement about wrong clocks, from how far the clocks of devices in reach are from ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

TOLERANCE_MS: Final = 2000
"""Clocks this close agree: more than any network delay, less than what a person would notice."""


@dataclass(frozen=True, slots=True)
class WrongClock:
    """`name` is empty for this device. `ahead_ms`: of those that agree; where nobody can tell, of this device's."""

    name: str
    ahead_ms: int
    certain: bool


def judge(ahead_ms: Mapping[str, int], tolerance_ms: int = TOLERANCE_MS) -> tuple[WrongClock, ...]:
    """`ahead_ms`: per device in reach, how far its clock is ahead of ours. The majority of all clocks is right, ours
    counted; where there is none, each that differs from ours is named, and it may be ours that is wrong."""
    clocks = [("", 0), *sorted(ahead_ms.items())]
    agreeing = max((_near(clocks, value, tolerance_ms) for _name, value in clocks), key=len)
    if len(clocks) > 2 and 2 * len(agreeing) > len(clocks):
        right = sorted(agreeing)[len(agreeing) // 2]
        off = [WrongClock(name, value - right, True) for name, value in clocks if abs(value - right) > tolerance_ms]
        return tuple(off)
    return tuple(WrongClock(name, value, False) for name, value in clocks if abs(value) > tolerance_ms)


def _near(clocks: list[tuple[str, int]], value: int, tolerance_ms: int) -> list[int]:
    return [other for _name, other in clocks if abs(other - value) <= tolerance_ms]


def sentence(wrong: WrongClock) -> str:
    """Words the judgement for a person."""
    amount = _amount(abs(wrong.ahead_ms))
    side = "ahead of" if wrong.ahead_ms > 0 else "behind"
    after = "nothing is lost by it, but of two changes made at once the wrong one may be shown."
    if not wrong.certain:
        return f"The clock of {wrong.name} is {amount} {side} this device's, so one of the two is wrong: {after}"
    if not wrong.name:
        return f"This device's clock is {amount} {side} the others, which agree, so it is wrong: {after}"
    return f"The clock of {wrong.name} is {amount} {side} the others, which agree, so it is wrong: {after}"


def _amount(ms: int) -> str:
    seconds = round(ms / 1000)
    if seconds < 300:
        return f"{seconds} s"
    if seconds < 3 * 3600:
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h" if seconds < 3 * 86400 else f"{round(seconds / 86400)} days"
