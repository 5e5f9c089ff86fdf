# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of lies. Each lie is one function with a name: what it sends, to whom, is drawn by numbers.

Lies about records are in `lies_records`, about sets, pages and marks in `lies_sets`, about members in `lies_members`,
about content in chunks in `lies_chunks`, below the protocol in `lies_wire`. Registering one is enough: the state
machine and the campaign find it here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from model.liar import Honest, Liar
from model.looking import Numbers

Telling = Callable[[Liar, Honest, Numbers], Awaitable[None]]


@dataclass(frozen=True)
class Lie:
    name: str
    family: str
    """`record`, `set`, `member` or `wire`."""
    tell: Telling


LIES: dict[str, Lie] = {}


def lie(family: str) -> Callable[[Telling], Telling]:
    """Registers a function as a lie under its name."""

    def register(tell: Telling) -> Telling:
        name = tell.__name__
        assert name not in LIES, name
        LIES[name] = Lie(name, family, tell)
        return tell

    return register


@dataclass(frozen=True)
class Chosen:
    """Lies that may be told in this run."""

    names: tuple[str, ...]

    def instead_of(self, drawn: str, number: int) -> str:
        """The lie that was drawn, or one that may be told in its place: the others stay what they are."""
        return drawn if drawn in self.names else self.names[number % len(self.names)]


def chosen(only: str = "", without: str = "") -> Chosen:
    """Parse names with commas between them. Raises KeyError for an unknown lie."""
    named, left_out = ([name for name in text.split(",") if name] for text in (only, without))
    for name in (*named, *left_out):
        if name not in LIES:
            raise KeyError(f"there is no lie {name!r}: {', '.join(LIES)}")
    return Chosen(tuple(name for name in named or LIES if name not in left_out))


def family(name: str) -> list[str]:
    return [lie.name for lie in LIES.values() if lie.family == name]
