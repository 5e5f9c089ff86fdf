# SPDX-License-Identifier: GPL-3.0-or-later
"""Interface of the daemon to the Control service for events and pings, as a protocol and plain values (see
`device_api`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `kind` is one of those of control.proto."""

    kind: str
    at_ms: int
    token: str = ""
    volume: str = ""
    path: bytes = b""
    device: str = ""
    device_id: str = ""
    elsewhere: bool = False
    files: int = 0
    message: str = ""
    until_ms: int = 0
    down: int = 0
    up: int = 0


@dataclass(frozen=True, slots=True)
class PingReply:
    """Answer to one ping. Times are in microseconds, rates in bytes a second."""

    device_id: str
    name: str
    path: str
    """"direct" or "relay"."""
    address: str
    answered: bool
    round_trip_us: int = 0
    throughput: int = 0
    """Rate at which content came, with the last answer; 0: not measured."""
    measured_bytes: int = 0


class WatchingService(Protocol):
    def events(self, since: str, no_wait: bool) -> AsyncIterator[Event]:
        """Events after the one with that token, or from now on; `no_wait`: ends with the last that happened."""

    def ping(self, device: str, count: int, pause_ms: int, measure: bool) -> AsyncIterator[PingReply]:
        """Pings a device `count` times, one answer each."""
