# SPDX-License-Identifier: GPL-3.0-or-later
"""Interface of the daemon to the Control service for the brake, scrubbing and record budgets, as a protocol and plain
values (see `device_api`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

DEFAULT_MAX: Final = -1


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
class DeviceRecords:
    """Size of the records of another device here, in bytes. See control.proto."""

    device_id: str
    name: str
    bytes: int
    max_bytes: int
    strange_bytes: int
    strange_max_bytes: int
    excess: str
    removed: bool


@dataclass(frozen=True, slots=True)
class RecordBudgetReply:
    own_max: bool
    devices: tuple[DeviceRecords, ...]


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

    async def record_budget(self, volume: str, max_bytes: int | None) -> RecordBudgetReply:
        """`max_bytes`: for each other device from now on; DEFAULT_MAX: the default; None: as it is."""

    def scrub(self, volume: str, no_wait: bool) -> AsyncIterator[ScrubProgress]:
        """Scrubs one volume, or all where `volume` is empty. Ends when the iterator is dropped."""
