# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes that this device left: per volume the last mark of this device, to be told to members that ask for it later.

Kept in `device.db`, until the device joins the volume again.
"""

from __future__ import annotations

from typing import Final

from holofsd.codec import wire
from holofsd.core.document import Mark
from holofsd.core.ids import VolumeId
from holofsd.store.device import DeviceStore

_LEFT: Final = "left:"


def keep_left(store: DeviceStore, volume: VolumeId, mark: Mark) -> None:
    """Stores the last mark of a volume that this device leaves. Call it inside a transaction."""
    store.set_meta(_LEFT + volume.hex(), wire.encode_mark(mark))


def load_left(store: DeviceStore, volume: VolumeId) -> Mark | None:
    stored = store.meta(_LEFT + volume.hex())
    return wire.decode_mark(stored) if stored is not None else None


def forget_left(store: DeviceStore, volume: VolumeId) -> None:
    """Deletes the last mark, because the device is back. Call it inside a transaction."""
    store.delete_meta(_LEFT + volume.hex())
