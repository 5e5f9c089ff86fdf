# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of devices: this one's own name, kept in `device.db`, and those that others say of themselves.

A device says its name in its device record and at the beginning of a session, with the time at which it got it; the
newest counts. Of a device that never said one, the name in its grant counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from holofsd.codec.checks import MAX_CLOCK_MS
from holofsd.core.ids import DeviceId
from holofsd.core.text import device_name
from holofsd.store.device import DeviceStore
from holofsd.sync.config import MAX_NAME

_OWN: Final = "device-name"
_OTHERS: Final = "name-of:"


class DeviceNames:
    """Names of devices, as they say them themselves."""

    def __init__(self, store: DeviceStore, device: DeviceId, first: str, now_ms: Callable[[], int]) -> None:
        """`first`: the name of a device that has none yet; it is kept."""
        self._store = store
        self._device = device
        self._now_ms = now_ms
        self._heard: dict[DeviceId, tuple[int, str]] = {}
        for key, value in store.metas(_OTHERS):
            self._heard[DeviceId(bytes.fromhex(key.removeprefix(_OTHERS)))] = _decode(value)
        kept = store.meta(_OWN)
        self.named_ms, self.own = _decode(kept) if kept is not None else (0, "")
        if not self.own:
            self.rename(first)

    def rename(self, name: str) -> None:
        """Call this device so. Later than any time before, whatever the clock says, for the newest name counts."""
        named_ms = max(self._now_ms(), self.named_ms + 1)
        with self._store.db.transaction():
            self._store.set_meta(_OWN, _encode(named_ms, name))
        self.named_ms, self.own = named_ms, name

    def heard(self, device: DeviceId, name: str, named_ms: int) -> None:
        """Note what a member says that it is called; it has proved to be that device."""
        name = device_name(name, MAX_NAME)
        if device == self._device or not name or not 0 < named_ms <= MAX_CLOCK_MS:
            return
        said = (named_ms, name)
        if said > self._heard.get(device, (0, "")):
            with self._store.db.transaction():
                self._store.set_meta(_OTHERS + device.hex(), _encode(*said))
            self._heard[device] = said

    def of(self, device: DeviceId) -> str:
        """Empty where the device has not said."""
        # Kept by an earlier program, which took any text.
        return self.own if device == self._device else device_name(self._heard.get(device, (0, ""))[1], MAX_NAME)


def _encode(named_ms: int, name: str) -> bytes:
    return f"{named_ms} {name}".encode("utf-8", "surrogatepass")


def _decode(value: bytes) -> tuple[int, str]:
    told, _, name = value.decode("utf-8", "surrogatepass").partition(" ")
    return int(told), name
