# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts of lies, brought from authors to the devices that a person knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from holofsd.core.ids import AuthorId, DeviceId
from holofsd.store.lies import Lie
from holofsd.sync.members import Members
from holofsd.sync.status import LieReport


def lie_reports(lies: Iterable[Lie], members: Members) -> tuple[LieReport, ...]:
    """One for each device and kind of lie, the newest first, whichever of its authors said it."""
    found: dict[tuple[DeviceId | None, str], LieReport] = {}
    for lie in lies:
        device = _device_of(lie.who, members)
        known = found.get((device, lie.what))
        if known is None:
            name = members.told(device) if device is not None else ""
            report = LieReport(device, name, lie.what, lie.count, lie.first_ms, lie.last_ms, lie.example)
        else:
            first_ms = min(known.first_ms, lie.first_ms)
            report = replace(known, count=known.count + lie.count, first_ms=first_ms)
        found[(device, lie.what)] = report
    return tuple(found.values())


def _device_of(who: bytes, members: Members) -> DeviceId | None:
    membership = members.membership
    author = membership.authors.get(AuthorId(who))
    if author is not None:
        return author
    return DeviceId(who) if who else None
