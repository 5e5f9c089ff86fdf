# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings of a check, counted by kind, with the first of each kind named."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Final

_NAMED: Final = 20
"""So many subjects of a kind are named; the others are counted."""


class Outcome(StrEnum):
    FIXABLE = "fixable"
    """It has one right answer; `--repair` brings it about."""
    FIXED = "fixed"
    LEFT = "left"
    """Nobody can know what is right: listed, never guessed."""


@dataclass(slots=True)
class Finding:
    """`code` is stable, for programs; `sentence` says what is wrong and what becomes of it."""

    code: str
    sentence: str
    outcome: Outcome
    found: Counter[str] = field(default_factory=Counter)
    """How often, by what it is about."""

    @property
    def count(self) -> int:
        return self.found.total()

    @property
    def subjects(self) -> list[str]:
        """The first few."""
        return list(islice(self.found, _NAMED))


@dataclass(slots=True)
class Report:
    repair: bool
    findings: dict[str, Finding] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)

    def add(self, code: str, subject: str, sentence: str, *, fixable: bool) -> None:
        outcome = Outcome.LEFT if not fixable else Outcome.FIXED if self.repair else Outcome.FIXABLE
        finding = self.findings.setdefault(code, Finding(code, sentence, outcome))
        finding.found[subject] += 1

    def keep_what_stays(self, later: Report) -> None:
        """Drops findings that a later look did not find again."""
        for code, finding in list(self.findings.items()):
            again = later.findings.get(code)
            finding.found &= again.found if again is not None else Counter()
            if not finding.found:
                del self.findings[code]

    def count(self, what: str, number: int = 1) -> None:
        self.checked[what] = self.checked.get(what, 0) + number

    @property
    def left(self) -> int:
        """Number of findings that are not repaired."""
        return sum(f.count for f in self.findings.values() if f.outcome is not Outcome.FIXED)
