# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the device's interface that is about settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SettingValue:
    key: str
    value: str
    """In use, as JSON."""
    source: str
    """option | environment | file | default."""
    where: str
    """The option, the variable, or the line of the file."""
    waiting: str
    """As JSON, what is in use after the next start; empty: nothing else."""


@dataclass(frozen=True, slots=True)
class SettingsReply:
    path: str
    """Of the settings file, whether or not it exists."""
    settings: tuple[SettingValue, ...]
    problems: tuple[str, ...]
    """Sentences about the file, which is not used then."""


class SettingsService(Protocol):
    async def settings(self, reload: bool) -> SettingsReply:
        """Settings in use. `reload`: after reading the file again, and applying what can be applied at once."""
