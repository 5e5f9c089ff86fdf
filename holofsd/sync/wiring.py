# SPDX-License-Identifier: GPL-3.0-or-later
"""Choice of the devices to be connected to, so that records reach everyone without each talking to all. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from blake3 import blake3

from holofsd.core.ids import DeviceId, VolumeId


def neighbours(
    volume: VolumeId, own: DeviceId, others: Iterable[DeviceId], online: Callable[[DeviceId], bool], enough: int
) -> list[DeviceId]:
    """The nearest members on a ring that all devices compute alike: on either side until half of `enough` are online.

    Members that are away are wanted too, but do not count, so that the ring stays closed around them.
    """
    ring = sorted({*others, own}, key=lambda device: blake3(volume + device).digest())
    place = ring.index(own)
    after, before = ring[place + 1 :] + ring[:place], ring[:place][::-1] + ring[place + 1 :][::-1]
    chosen: dict[DeviceId, None] = {}
    for side in (after, before):
        reached = 0
        for device in side:
            chosen[device] = None
            reached += online(device)
            if reached >= max(1, enough // 2):
                break
    return list(chosen)
