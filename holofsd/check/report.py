# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check found, counted by kind, with the first of each kind named."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
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
    count: int = 0
    subjects: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    repair: bool
    findings: dict[str, Finding] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)

    def add(self, code: str, subject: str, sentence: str, *, fixable: bool) -> None:
        outcome = Outcome.LEFT if not fixable else Outcome.FIXED if self.repair else Outcome.FIXABLE
        finding = self.findings.setdefault(code, Finding(code, sentence, outcome))
        finding.count += 1
        if len(finding.subjects) < _NAMED:
            finding.subjects.append(subject)

    def keep_what_stays(self, later: Report, codes: frozenset[str]) -> None:
        """Of these codes only subjects that a later look found again."""
        for code in codes & self.findings.keys():
            again = later.findings.get(code)
            finding = self.findings[code]
            finding.subjects = [s for s in finding.subjects if again is not None and s in again.subjects]
            finding.count = min(finding.count, again.count if again is not None else 0)
            if not finding.subjects:
                del self.findings[code]

    def count(self, what: str, number: int = 1) -> None:
        self.checked[what] = self.checked.get(what, 0) + number

    @property
    def left(self) -> int:
        """What is not repaired."""
        return sum(f.count for f in self.findings.values() if f.outcome is not Outcome.FIXED)
