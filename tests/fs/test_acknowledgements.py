# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of names waits for the other mounts of the device to drop the old ones."""

from __future__ import annotations

import asyncio

from holofsd.fs.changes.acknowledgements import Acknowledgements, all_given

LONG = 60.0


async def _is_waiting(task: asyncio.Task[None]) -> bool:
    for _ in range(3):
        await asyncio.sleep(0)
    return not task.done()


def _told(*mounts: Acknowledgements) -> None:
    for mount in mounts:
        mount.expect()


async def test_it_waits_for_each_mount_that_was_told() -> None:
    first, second, third = Acknowledgements(), Acknowledgements(), Acknowledgements()
    _told(first, second)
    waiting = asyncio.ensure_future(all_given([first, second, third], LONG))
    assert await _is_waiting(waiting)
    numbers = first.number(), second.number()
    assert third.number() == 0
    first.acknowledged(numbers[0])
    assert await _is_waiting(waiting)
    second.acknowledged(numbers[1])
    await waiting


async def test_a_call_waits_for_its_own_changes_alone() -> None:
    """Else three mounts that work in one folder wait for each other in a circle."""
    mount = Acknowledgements()
    _told(mount)
    earlier = mount.number()
    await all_given([mount], LONG)
    _told(mount)
    waiting = asyncio.ensure_future(all_given([mount], LONG))
    assert await _is_waiting(waiting)
    mount.acknowledged(mount.number())
    await waiting
    mount.acknowledged(earlier)


async def test_a_mount_that_is_late_is_not_waited_for_again_before_it_has_caught_up() -> None:
    mount = Acknowledgements()
    _told(mount)
    await all_given([mount], 0.001)
    first = mount.number()
    _told(mount)
    await all_given([mount], LONG)
    second = mount.number()
    mount.acknowledged(first)
    mount.acknowledged(second)
    _told(mount)
    waiting = asyncio.ensure_future(all_given([mount], LONG))
    assert await _is_waiting(waiting)
    mount.acknowledged(mount.number())
    await waiting


async def test_nothing_waits_for_a_mount_that_is_gone() -> None:
    mount = Acknowledgements()
    _told(mount)
    waiting = asyncio.ensure_future(all_given([mount], LONG))
    assert await _is_waiting(waiting)
    mount.close()
    await waiting


async def test_an_acknowledgement_of_an_earlier_connection_means_nothing() -> None:
    before, now = Acknowledgements(), Acknowledgements()
    _told(before, now)
    old = before.number()
    waiting = asyncio.ensure_future(all_given([now], LONG))
    assert await _is_waiting(waiting)
    number = now.number()
    now.acknowledged(old)
    assert await _is_waiting(waiting)
    now.acknowledged(number)
    await waiting
