# SPDX-License-Identifier: GPL-3.0-or-later
"""Which devices to be connected to, so that records reach everyone and nobody talks to everyone. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from blake3 import blake3

from holofsd.core.ids import DeviceId, VolumeId


def neighbours(
    volume: VolumeId, own: DeviceId, others: Iterable[DeviceId], online: Callable[[DeviceId], bool], enough: int
) -> list[DeviceId]:
    """The nearest members on a ring that all devices compute alike, alternating sides, until `enough` are online.

    Members that are away are wanted too, but do not count, so that the ring stays closed around them.
    """
    ring = sorted({*others, own}, key=lambda device: blake3(volume + device).digest())
    place = ring.index(own)
    chosen: list[DeviceId] = []
    reached = 0
    for step in range(1, len(ring)):
        distance = (step + 1) // 2
        device = ring[(place + (distance if step % 2 else -distance)) % len(ring)]
        if device in chosen or device == own:
            continue
        chosen.append(device)
        reached += online(device)
        if reached >= enough:
            break
    return chosen
