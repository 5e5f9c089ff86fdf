# SPDX-License-Identifier: GPL-3.0-or-later
"""Status of a volume's sync as a person may want to know it, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from holofsd.core.document import Role
from holofsd.core.ids import DeviceId


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """A member as this device sees it."""

    device: DeviceId
    name: str
    role: Role
    connected: bool
    complete: bool
    """It says that it holds everything written here up to now, records and content."""
    complete_as_of_ms: int
    """Its clock when it last said what it holds; 0: never."""
    records_behind: int
    clock_ahead_ms: int | None
    """How far its clock is ahead of ours, with half the round trip taken off; None unless it is connected."""
    generation: int
    left: bool = False
    """It said that it holds the volume no more."""


@dataclass(frozen=True, slots=True)
class LieReport:
    """One kind of untrue thing that a device said, and how often. `device` is None where it is not known."""

    device: DeviceId | None
    name: str
    what: str
    count: int
    first_ms: int
    last_ms: int
    example: str


@dataclass(frozen=True, slots=True)
class UnavailableReport:
    """Content that cannot be had now: of which file, who wrote that version, how large it is said to be, and why."""

    path: bytes
    device: DeviceId | None
    name: str
    size: int
    why: str


@dataclass(frozen=True, slots=True)
class SyncStatus:
    role: Role | None
    unpublished: int
    """Changed nodes that no other device has been told of."""
    records_behind: int
    """Records that connected devices hold and this one does not."""
    merge_backlog: int
    content_missing: int
    content_missing_bytes: int
    quarantine_reasons: dict[str, int]
    devices: tuple[DeviceReport, ...]
    warnings: tuple[str, ...]
    lies: tuple[LieReport, ...] = ()
    """The newest first."""
    unavailable: tuple[UnavailableReport, ...] = ()
    """Some of what cannot be had."""

    @property
    def quarantined(self) -> int:
        return sum(self.quarantine_reasons.values())

    @property
    def copies(self) -> int:
        """Counts the other devices that say that they hold everything written here up to now."""
        return 0 if self.unpublished else sum(device.complete for device in self.devices)
