# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters of what goes over the network: of all of it, and of each other device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holofsd.core.ids import DeviceId

MOST_DEVICES: Final = 1000
"""Devices that are counted each. A stranger can have any number of ids."""


@dataclass(slots=True)
class Traffic:
    """Bytes of frames with other devices since an endpoint was bound, over all its connections. What QUIC adds
    (encryption, acknowledgements, what is sent again) and signs of life are not in it. `whole`: the counter of which
    this one is a part."""

    sent: int = 0
    received: int = 0
    whole: Traffic | None = None

    def note_sent(self, size: int) -> None:
        self.sent += size
        if self.whole is not None:
            self.whole.note_sent(size)

    def note_received(self, size: int) -> None:
        self.received += size
        if self.whole is not None:
            self.whole.note_received(size)


class TrafficCounters:
    """Counters of an endpoint: the whole, and a part for each device. Where there are too many, the one with the fewest
    bytes is forgotten: strangers, which are heard for a handshake, do not take the place of members."""

    def __init__(self, most: int = MOST_DEVICES) -> None:
        self.whole = Traffic()
        self._most = most
        self._devices: dict[DeviceId, Traffic] = {}

    def of(self, device: DeviceId) -> Traffic:
        """The counter for connections with a device, made if there is none."""
        found = self._devices.get(device)
        if found is None:
            if len(self._devices) >= self._most:
                del self._devices[min(self._devices, key=self._bytes)]
            found = self._devices[device] = Traffic(whole=self.whole)
        return found

    def told(self, device: DeviceId) -> Traffic:
        """Bytes counted for a device. Zeros where none were."""
        return self._devices.get(device, Traffic())

    def _bytes(self, device: DeviceId) -> int:
        counted = self._devices[device]
        return counted.sent + counted.received
