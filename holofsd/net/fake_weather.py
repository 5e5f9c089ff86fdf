# SPDX-License-Identifier: GPL-3.0-or-later
"""Condition of the fake network, and what a wire needs to know of the network that carries it."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Protocol


@dataclass(slots=True)
class Weather:
    """Condition of the network. Durations in seconds, chances from 0 to 1; may be changed at any time."""

    delay: tuple[float, float] = (0.0, 0.0)
    """Least and greatest time a piece of data travels."""
    loss_of_connection: float = 0.0
    """Chance that a written piece of data is the last of its connection."""
    failed_connect: float = 0.0
    """Chance that a connect fails although the other side is there."""
    ghost: float = 0.0
    """Chance that a connect shows up at the other side twice; the first of the two soon closes by itself."""
    cut: float = 0.0
    """Chance that a write arrives in two pieces (and again each of them)."""


class Medium(Protocol):
    """Network that carries a wire: its weather of the moment, and its chance."""

    weather: Weather
    random: Random

    def chance(self, probability: float) -> bool:
        """Whether something of that probability happens this time."""

    def travel(self) -> float:
        """Returns the seconds that the next piece of data travels."""
