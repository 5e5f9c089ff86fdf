# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports about lies: noted once for each record, and brought from authors to the devices that a person knows."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from holofsd.core.document import Envelope
from holofsd.core.ids import AuthorId, DeviceId, NodeId
from holofsd.store.lies import Lie
from holofsd.sync.members import Members
from holofsd.sync.status import LieReport
from holofsd.tree.local import LocalVolume

_REMEMBERED: Final = 4096
"""Records that were counted, and are not again when they are merged again."""


class Liars:
    """Counts and notes lies of members."""

    def __init__(self, volume: LocalVolume) -> None:
        self._volume = volume
        self._counted: OrderedDict[tuple[AuthorId, bytes, int, AuthorId], None] = OrderedDict()

    def caught(self, envelope: Envelope, lies: Iterable[str], who: AuthorId | None = None) -> None:
        """`who`: the liar, if that is not the record's author; empty where it may be somebody else. The record stays in
        the document as the evidence."""
        liar, kinds = envelope.author if who is None else who, Counter(lies)
        key = (envelope.author, envelope.key, envelope.seq, liar)
        if not kinds or key in self._counted:
            return
        self._counted[key] = None
        if len(self._counted) > _REMEMBERED:
            self._counted.popitem(last=False)
        for what, number in kinds.items():
            self._volume.store.lies.note(liar, what, self._told(NodeId(envelope.key)), number)

    def _told(self, node: NodeId) -> str:
        path = self._volume.tree.path_of(node)
        return path.decode(errors="replace") if path is not None else node.hex()


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
    device = members.membership.device_of(AuthorId(who))
    return device if device is not None or not who else DeviceId(who)
