# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples, what is made of them, and what is asked of that.

A row of the benchmark has one or more lines. For each line every contender gives samples, in rounds: all contenders one
after the other, in another order each round, so that whatever else the machine does meets all of them. A ratio is of
two samples of one round where both have one for each round, and is then given with its least and most.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

HOLOFS: Final = "holofs"
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Asked:
    """A bound, of the ratio to a baseline, or, where none is named, of our own figure in the line's unit."""

    bound: float
    at_least: bool
    against: str = ""

    def allows(self, found: float) -> bool:
        return found >= self.bound if self.at_least else found <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}{' ×' if self.against else ''}"


def at_least(bound: float, against: str = "") -> Asked:
    return Asked(bound, True, against)


def at_most(bound: float, against: str = "") -> Asked:
    return Asked(bound, False, against)


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    unit: str
    asked: tuple[Asked, ...] = ()
    of: str = ""
    """The samples that it is made of, where that is another line's name."""
    quantile: float = 0.5

    @property
    def key(self) -> str:
        return self.of or self.name


@dataclass(frozen=True, slots=True)
class Figure:
    middle: float
    """The line's quantile: mostly the median."""
    least: float
    most: float
    samples: int

    @classmethod
    def of(cls, samples: Sequence[float], quantile: float = 0.5) -> Figure:
        return cls(_quantile(samples, quantile), min(samples), max(samples), len(samples))


def _quantile(samples: Sequence[float], quantile: float) -> float:
    if quantile == 0.5:
        return statistics.median(samples)
    ordered = sorted(samples)
    return ordered[max(math.ceil(quantile * len(ordered)) - 1, 0)]


@dataclass(frozen=True, slots=True)
class Compared:
    """Figure of a baseline, and ours divided by it."""

    figure: Figure
    ratio: Figure
    asked: Asked | None
    met: bool | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A line with its figures. `met` is about `asked`, which concerns our figure alone; None where nothing is asked."""

    row: str
    name: str
    unit: str
    ours: Figure
    asked: Asked | None
    met: bool | None
    against: dict[str, Compared]

    @property
    def is_missed(self) -> bool:
        return self.met is False or any(compared.met is False for compared in self.against.values())


@dataclass(slots=True)
class Samples:
    """Measurements of a row so far."""

    found: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, contender: str, line: str, value: float) -> None:
        self.found.setdefault((contender, line), []).append(value)

    def drop(self, contender: str) -> None:
        """Drop the samples of a contender that failed in between: they are no measurement."""
        for key in [key for key in self.found if key[0] == contender]:
            del self.found[key]

    def outcomes(self, row: str, lines: Iterable[Line]) -> Iterator[Outcome]:
        """Outcomes of the lines that have a figure of ours."""
        for line in lines:
            ours = self.found.get((HOLOFS, line.key))
            if ours:
                yield self._outcome(row, line, ours)

    def _outcome(self, row: str, line: Line, ours: list[float]) -> Outcome:
        figure = Figure.of(ours, line.quantile)
        alone = next((asked for asked in line.asked if not asked.against), None)
        baselines = [contender for contender, key in self.found if key == line.key and contender != HOLOFS]
        return Outcome(
            row=row,
            name=line.name,
            unit=line.unit,
            ours=figure,
            asked=alone,
            met=alone.allows(figure.middle) if alone else None,
            against={name: self._compared(line, name, ours) for name in baselines},
        )

    def _compared(self, line: Line, name: str, ours: list[float]) -> Compared:
        theirs = self.found[name, line.key]
        figure = Figure.of(theirs, line.quantile)
        if len(ours) == len(theirs) and line.quantile == 0.5:
            ratio = Figure.of([a / b for a, b in zip(ours, theirs, strict=True)])
        else:
            middle = Figure.of(ours, line.quantile).middle / figure.middle
            ratio = Figure(middle, middle, middle, 1)
        asked = next((asked for asked in line.asked if asked.against == name), None)
        return Compared(figure, ratio, asked, asked.allows(ratio.middle) if asked else None)


def in_turn(contenders: Sequence[C], rounds: int, each: Callable[[C, int], object]) -> None:
    """Every contender in every round; who begins changes."""
    for number in range(rounds):
        first = number % max(len(contenders), 1)
        for contender in (*contenders[first:], *contenders[:first]):
            each(contender, number)
