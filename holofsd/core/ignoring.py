# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of a `.holofsignore` file: gitignore patterns, and which of them decides about a name. Pure.

A name is looked at component by component, from the root of the volume down (`tree.ignoring`). So a pattern has to
match the name itself here; what is in an ignored folder is ignored with it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from holofsd.core.project import base_of_conflict_name

RULES_NAME: Final = b".holofsignore"
MOST_BYTES: Final = 64 << 10
"""Size of a file of rules beyond which it is not read."""
_MOST_PATTERNS: Final = 500
_MOST_COSTLY: Final = 16
_LONGEST_LINE: Final = 1024
_LONGEST_PATH: Final = 1024
"""Characters, from the folder of the rules. A longer path is matched by no pattern."""
_MOST_STARS: Final = 3
"""Stars in one component of a pattern. Matching takes time that grows with the length of a name to this power, and the
rules may come from another device."""
_CHEAP_STARS: Final = 2
_MOST_DEEP: Final = 2
"""Components `**` in one pattern."""
_DIRECTORY_MARK: Final = "ps_d"
"""Group of pathspec's regular expressions that matches the slash after a folder's name."""
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern. `line`: its number in the file, from 1; `ignores` is False for a pattern that begins with `!`."""

    line: int
    text: str
    ignores: bool
    pattern: GitIgnoreSpecPattern


class Rules:
    """Patterns of one file. `left_out`: numbers of the lines that are no patterns, too many, or too costly to match."""

    def __init__(self, rules: Sequence[Rule], left_out: Sequence[int] = ()) -> None:
        self._latest_first = tuple(reversed(rules))
        self.left_out = tuple(left_out)

    def deciding(self, path: str, is_directory: bool) -> Rule | None:
        """Returns the last pattern that matches; None if none does. `path`: relative to the folder of the rules."""
        if len(path) > _LONGEST_PATH:
            return None
        return next((rule for rule in self._latest_first if _matches(rule.pattern, path, is_directory)), None)


def as_text(name: bytes) -> str:
    """A name as patterns see it. No byte is lost."""
    return name.decode("utf-8", "surrogateescape")


def parse_rules(data: bytes) -> Rules:
    """Reads a file of rules. Lines that cannot be used are left out, and noted."""
    rules: list[Rule] = []
    left_out: list[int] = []
    costly = 0
    for number, line in enumerate(data.removeprefix(_BOM).split(b"\n"), 1):
        text = as_text(line).removesuffix("\r")
        is_costly = _is_costly(text)
        rule = _rule(number, text)
        if rule is None:
            if text.strip() and not text.startswith("#"):
                left_out.append(number)
        elif len(rules) >= _MOST_PATTERNS or (is_costly and costly >= _MOST_COSTLY):
            left_out.append(number)
        else:
            costly += is_costly
            rules.append(rule)
    return Rules(rules, left_out)


def decision(alternatives: Iterable[Rules], path: str, is_directory: bool) -> Rule | None:
    """Returns the pattern that decides where a file of rules has several contents, because it is in conflict: one that
    ignores, if there is any. So no side of a conflict publishes what the other one keeps back."""
    found = [rule for rules in alternatives if (rule := rules.deciding(path, is_directory)) is not None]
    return next((rule for rule in found if rule.ignores), found[0] if found else None)


def meant_name(name: bytes) -> bytes:
    """The name that rules are applied to: of a conflict copy, the one that it was made from."""
    return base_of_conflict_name(name) or name


def is_about_rules(name: bytes) -> bool:
    """Whether an entry of this name is a file of rules, or a conflict copy of one."""
    return name.startswith(RULES_NAME) and meant_name(name) == RULES_NAME


def _rule(number: int, text: str) -> Rule | None:
    if len(text) > _LONGEST_LINE or _is_too_costly(text):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Python's, of a set like [[:space:]]
            pattern = GitIgnoreSpecPattern(text)
    except (ValueError, re.error):
        return None
    return None if pattern.include is None else Rule(number, text.strip(), pattern.include, pattern)


def _stars(text: str) -> tuple[int, int]:
    """(most stars in one component, components `**`)."""
    components = text.removeprefix("!").split("/")
    most = max((part.count("*") for part in components if part.rstrip() != "**"), default=0)
    return most, sum(part.rstrip() == "**" for part in components)


def _is_costly(text: str) -> bool:
    return _stars(text)[0] > _CHEAP_STARS


def _is_too_costly(text: str) -> bool:
    most, deep = _stars(text)
    return most > _MOST_STARS or deep > _MOST_DEEP


def _matches(pattern: GitIgnoreSpecPattern, path: str, is_directory: bool) -> bool:
    """Whether a pattern matches a name itself. pathspec's expressions match all that is below a name, too: such a match
    has its mark, or its end, before the end of the path."""
    whole = f"{path}/" if is_directory else path
    found = pattern.match_file(whole)
    if found is None:
        return False
    match: re.Match[str] = found.match
    if match.groupdict().get(_DIRECTORY_MARK) is None:
        # `a/**` means what is in the folder, and not the folder.
        return not is_directory or pattern.match_file(path) is not None
    return is_directory and (match.end(_DIRECTORY_MARK) == len(whole) or _ends_in_mark(match.re, whole))


def _ends_in_mark(expression: re.Pattern[str], whole: str) -> bool:
    """Whether an expression that is the mark alone, as of `*/`, matches the last slash."""
    return expression.match(whole, len(whole) - 1) is not None
