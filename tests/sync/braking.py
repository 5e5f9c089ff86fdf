# SPDX-License-Identifier: GPL-3.0-or-later
"""Helpers for tests of the brake: a full folder on two devices, and what is held of it."""

from __future__ import annotations

from collections.abc import Iterable

from holofsd.sync.brake import Brake
from tests.sync.devices import Device, settled, share, until

MANY = 80
QUEUE_SLICE = 40


def brake(device: Device) -> Brake:
    return device.sync.brake


def names(device: Device) -> set[str]:
    return set(device.files())


def held(device: Device) -> int:
    report = brake(device).report()
    return report.files + report.directories


def fill(device: Device, folder: str, count: int = MANY) -> list[str]:
    device.mkdir(folder)
    paths = [f"{folder}/file{number}" for number in range(count)]
    for path in paths:
        device.write(path, f"content of {path}".encode())
    return paths


def remove_all(device: Device, paths: Iterable[str]) -> None:
    for path in paths:
        device.remove(path)


async def knows(device: Device, other: Device) -> None:
    """Every record of the other is here, whatever its effect."""
    await until(
        lambda: other.is_settled() and device.is_settled() and device.heads() == other.heads(), "the same records"
    )


async def full(ann: Device, bob: Device, count: int = MANY) -> list[str]:
    await share(ann, bob)
    paths = fill(ann, "folder", count)
    ann.write("other", b"stays")
    await settled(ann, bob)
    await until(lambda: not brake(bob).catching_up, "all is heard")
    return paths
