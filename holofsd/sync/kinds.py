# SPDX-License-Identifier: GPL-3.0-or-later
"""Choice of a node's kind where its id does not say it and records disagree: it was made by an earlier program.

All devices that have the same records choose alike: more devices, then the higher role. What this device wrote into a
file that becomes something else is kept as a file of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from holofsd.codec.node_ids import new_node_id
from holofsd.core import edit
from holofsd.core.document import Envelope
from holofsd.core.ids import DeviceId
from holofsd.core.node import live_versions, placements
from holofsd.core.state import Kind, NodeState, Pending
from holofsd.sync.members import Members
from holofsd.tree.local import LocalVolume


def kind_by_records(
    said: Iterable[tuple[Envelope, NodeState]], members: Members, unsaid: Kind | None = None
) -> Kind | None:
    """The kind for which most devices speak, None where nobody does. It proves no lie: a member with a high role, or
    with many devices, weighs more than the device that made the file.

    `said`: all records of one node that count and can be understood. `unsaid`: what this device is about to say.
    """
    devices: dict[Kind, set[DeviceId]] = {}
    for envelope, state in said:
        device = members.membership.authors.get(envelope.author)
        devices.setdefault(state.kind, set()).update(() if device is None else (device,))
    if unsaid is not None:
        devices.setdefault(unsaid, set()).add(members.device)
    roles = members.membership.roles

    def weight(kind: Kind) -> tuple[int, int, int]:
        return len(devices[kind]), max((roles.get(device, 0) for device in devices[kind]), default=0), -kind

    return max(devices, key=weight, default=None)


def keep_own(volume: LocalVolume, lost: NodeState) -> None:
    """Gives what this device wrote into a file or symlink a node of its own, because the one that it is in becomes
    something else. Call it inside a transaction."""
    own, shown = set(volume.store.own_authors()), placements(lost)
    if lost.kind is Kind.DIRECTORY or not shown:
        return
    mode = 0o644 if lost.mode is None else lost.mode.value
    for version in live_versions(lost):
        if version.dot.author in own and not isinstance(version.body, Pending):
            node, made = new_node_id(lost.kind), volume.anew(version)
            link = edit.link_id(node)
            volume.write(
                [edit.new_node(node, lost.kind, lost.created_ns, shown[0].place, link, made, mode, made.stamp)]
            )
