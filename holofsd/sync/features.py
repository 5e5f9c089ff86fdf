# SPDX-License-Identifier: GPL-3.0-or-later
"""Features of the programs of other devices: what they say they can do, at the beginning of a session and in their
device record. What only some members could read is not written.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from holofsd.core.ids import DeviceId
from holofsd.store.device import DeviceStore

LISTS: Final = "lists"
"""The program reads content that has a list of chunks (ADR 16)."""
OWN_FEATURES: Final = (LISTS,)
"""Those of this program, where they are on."""
MOST_FEATURES: Final = 32
MOST_LETTERS: Final = 32
"""Features of a program that are looked at, and characters in the name of one."""
_KEPT: Final = "features-of:"


class FeatureSource(Enum):
    """Place where a device says its features. What it says itself in a session goes before an older record of it."""

    RECORD = auto()
    SESSION = auto()


def features_in(told: Iterable[str]) -> tuple[str, ...]:
    """Lists those that can be looked at, of what a message says."""
    found = [name for name, _ in zip(told, range(MOST_FEATURES), strict=False) if 0 < len(name) <= MOST_LETTERS]
    return tuple(sorted({name for name in found if name.isascii() and name.isprintable() and " " not in name}))


class DeviceFeatures:
    """Features of the devices that this one has heard of; kept in `device.db`."""

    def __init__(self, store: DeviceStore, device: DeviceId, own: tuple[str, ...]) -> None:
        """`own`: features of this program."""
        self.own = own
        self._store = store
        self._known: dict[DeviceId, tuple[FeatureSource, frozenset[str]]] = {
            device: (FeatureSource.SESSION, frozenset(own))
        }
        for key, value in store.metas(_KEPT):
            source, *names = value.decode().split(" ")
            self._known[DeviceId(bytes.fromhex(key.removeprefix(_KEPT)))] = FeatureSource[source], frozenset(names)

    def heard(self, device: DeviceId, features: Iterable[str], source: FeatureSource) -> None:
        """Notes what a device says of its program. In a session it has proved to be that device."""
        known = self._known.get(device)
        said = source, frozenset(features)
        if known == said or (
            known is not None and known[0] is FeatureSource.SESSION and source is FeatureSource.RECORD
        ):
            return
        with self._store.db.transaction():
            self._store.set_meta(_KEPT + device.hex(), " ".join((source.name, *sorted(said[1]))).encode())
        self._known[device] = said

    def all_have(self, devices: Iterable[DeviceId], feature: str) -> bool:
        """Whether all of them have said so. One that this device has not heard of has not."""
        return all(device in self._known and feature in self._known[device][1] for device in devices)

    def without(self, devices: Iterable[DeviceId], feature: str) -> list[DeviceId]:
        """Lists those that have said what they can do, and this is not among it."""
        return [device for device in devices if device in self._known and feature not in self._known[device][1]]
