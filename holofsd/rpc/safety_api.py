# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Control service needs for the brake and for scrubbing, as a protocol and plain values (see `device_api`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class BrakeReply:
    off: bool
    files: int
    percent: int
    held_files: int = 0
    held_directories: int = 0
    held_since_ms: int = 0
    held_by: tuple[str, ...] = ()
    paths: tuple[bytes, ...] = ()
    """Of what is held, at most a thousand."""
    decided: int = 0
    """How many files and directories a verdict was about."""
    skip: tuple[bytes, ...] = ()
    """Names of folders that do not count, beside those that are known."""


@dataclass(frozen=True, slots=True)
class ScrubProgress:
    volume: str
    paths: tuple[bytes, ...]
    """At the end: files that cannot be read now."""
    files: int
    files_total: int
    bytes: int
    damaged: int
    repaired: int
    done: bool


class CareService(Protocol):
    async def brake(self, volume: str, act: str, files: int, percent: int, skip: tuple[bytes, ...]) -> BrakeReply:
        """`act`: "" shows, "limit", "off" and "skip" set, "accept" and "refuse" decide about what is held."""

    def scrub(self, volume: str, no_wait: bool) -> AsyncIterator[ScrubProgress]:
        """Of one volume, or of all where `volume` is empty. Ends when the iterator is dropped."""
