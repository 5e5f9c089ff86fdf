# SPDX-License-Identifier: GPL-3.0-or-later
"""Two daemons with one node key: a copy of a state directory runs beside the original.

Each run of a daemon has a random number, its instance, which it says in each `Hello` and `Welcome`. A device that
restarts has a new one and never the former one again; so whoever meets X, then Y, then X again under one key has met
two that run. It says so to both when they next meet, and both say it to people. On one machine the two find each other
without anybody else (`daemon.same_machine`).

A directory that was moved, or restored from a backup, is one daemon with one instance: nothing is said of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import structlog

from holofsd.core.ids import DeviceId

log = structlog.get_logger(__name__)

INSTANCE_BYTES: Final = 16
FORGET_MS: Final = 3 * 60_000
"""Two that run take their peers' connections from each other at least every half minute; after this it is over."""
_REMEMBERED: Final = 8
_MEND: Final = "Stop one of the two, or give one a key of its own: `holofsctl device new-key`"


class Twins:
    """Detection of a second daemon that uses the same node key."""

    def __init__(self, own: DeviceId, now_ms: Callable[[], int]) -> None:
        self._own = own
        self._now_ms = now_ms
        self.instance = secrets.token_bytes(INSTANCE_BYTES)
        self._met: dict[DeviceId, list[bytes]] = {}
        """The instances of each device, the latest last."""
        self._doubled: dict[DeviceId, int] = {}
        self._told: dict[DeviceId, int] = {}
        """Who said that it has met us twice, and when."""
        self._over_ms = -FORGET_MS
        """When the other one on this machine ended. Peers that met it say so for a while still."""
        self._here: dict[str, int] = {}
        """State directories on this machine with our key, and when they answered."""

    # ---- what is learned
    def met(self, device: DeviceId, instance: bytes, told: bool) -> None:
        """A device began a session; `told`: it says that it has met two of us."""
        if told and self._now_ms() - self._over_ms >= FORGET_MS:
            self._note(self._told, device, "another device has met a second daemon with our key")
        if device == self._own or len(instance) != INSTANCE_BYTES:
            return
        known = self._met.setdefault(device, [])
        if known and known[-1] == instance:
            return
        if instance in known:
            self._note(self._doubled, device, "two daemons with one key were met")
            known.remove(instance)
        known.append(instance)
        del known[:-_REMEMBERED]

    def found_here(self, place: str) -> None:
        """Another daemon on this machine answers for our key."""
        if place not in self._here:
            log.warning("another daemon on this machine uses our key", place=place)
        self._here[place] = self._now_ms()

    def gone_here(self, place: str) -> None:
        """Forgets another daemon on this machine that ended: `daemon.same_machine` saw it go, so nothing that was told
        of it counts any more."""
        if self._here.pop(place, None) is not None:
            log.info("the other daemon on this machine that used our key has ended", place=place)
            self._told.clear()
            self._over_ms = self._now_ms()

    def _note(self, where: dict[DeviceId, int], device: DeviceId, what: str) -> None:
        if device not in _recent(where, self._now_ms()):
            log.warning(what, peer=device.hex()[:8])
        where[device] = self._now_ms()

    # ---- what is said
    def is_doubled(self, device: DeviceId) -> bool:
        return device in _recent(self._doubled, self._now_ms())

    def sentences(self, name_of: Callable[[DeviceId], str]) -> list[str]:
        """Lists the warnings for people, with what to do."""
        now = self._now_ms()
        found = []
        here, told = sorted(_recent(self._here, now)), sorted(map(name_of, _recent(self._told, now)))
        if here or told:
            where = f"in {' and '.join(here)}" if here else f"elsewhere, as {' and '.join(told)} has seen"
            found.append(
                f"A copy of this device's state directory runs beside it, {where}: both answer for one device. {_MEND}"
                " in its state directory, then join the volumes again."
            )
        for name in sorted(map(name_of, _recent(self._doubled, now))):
            found.append(
                f"{name} runs twice: a copy of its state directory is in use beside the original. {_MEND} there."
            )
        return found


def _recent(when: dict[DeviceId, int] | dict[str, int], now_ms: int) -> list:  # type: ignore[type-arg]
    return [key for key, at_ms in when.items() if now_ms - at_ms < FORGET_MS]
