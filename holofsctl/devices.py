# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of devices in sentences: two of the same name are told apart by the beginning of their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol


class Named(Protocol):
    @property
    def device_id(self) -> str: ...
    @property
    def name(self) -> str: ...


def told_apart(devices: Iterable[Named], own_name: str = "") -> dict[str, str]:
    """Names by id. `own_name`: the name of this device, which is not among them."""
    found = {device.device_id: device.name for device in devices}
    times = Counter([*found.values(), own_name])
    return {id: _told(name, id, times[name] > 1) for id, name in found.items()}


def _told(name: str, id: str, is_shared: bool) -> str:
    if not name:
        return id[:16]
    return f"{name} ({id[:8]})" if is_shared else name
