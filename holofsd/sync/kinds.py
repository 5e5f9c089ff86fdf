# SPDX-License-Identifier: GPL-3.0-or-later
"""Choice of a node's kind where its id does not say it and records disagree: it was made by an earlier program.

What is known here stays. A device that knew nothing before goes by the devices: more of them, then the higher role.
"""

from __future__ import annotations

from collections.abc import Iterable

from holofsd.core.document import Envelope
from holofsd.core.ids import DeviceId
from holofsd.core.state import Kind, NodeState
from holofsd.sync.members import Members


def kind_by_records(
    said: Iterable[tuple[Envelope, NodeState]], members: Members, known: Kind | None
) -> tuple[Kind, bool]:
    """The kind, and whether more speaks for it than that it is the one `known` here.

    `said`: all records of one node that count and can be understood, one at least.
    """
    devices: dict[Kind, set[DeviceId]] = {}
    for envelope, state in said:
        device = members.membership.authors.get(envelope.author)
        devices.setdefault(state.kind, set())
        if device is not None:
            devices[state.kind].add(device)
    roles = members.membership.roles

    def weight(kind: Kind) -> tuple[int, int]:
        return len(devices[kind]), max((roles.get(device, 0) for device in devices[kind]), default=0)

    best = max(devices, key=lambda kind: (weight(kind), kind is known, -kind))
    return best, all(weight(kind) < weight(best) for kind in devices if kind is not best)
