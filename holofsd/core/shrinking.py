# SPDX-License-Identifier: GPL-3.0-or-later
"""Shrunk records of removed nodes (ADR 8): the removal, and nothing that was removed.

A shrunk record says of every version and link that was known: gone. It replaces no version by another one, so a device
that did something to the node without knowing of the removal keeps what it wrote or moved: its own record has the
versions, and nothing here covers them but the removal, which a live link or a newer version beats as ever.
"""

from __future__ import annotations

from holofsd.core import context as ctx
from holofsd.core.ids import Hlc, LinkId
from holofsd.core.node import is_alive
from holofsd.core.state import NodeState, Removal


def shrunk(state: NodeState) -> NodeState:
    """Shrinks the state of a node that is not alive. Raises ValueError for one that is.

    What the state knew of as replaced is removed as well, and a name that was given up is as gone as one that went with
    the node: else another author's older record would bring it back.
    """
    if is_alive(state):
        raise ValueError("only the record of a removed node can shrink")
    links: dict[LinkId, Hlc] = dict(state.removed.links)
    for id, link in state.links.items():
        if id not in links or links[id] < link.stamp:
            links[id] = link.stamp
    removed = Removal(ctx.merge(state.removed.context, state.context), links, state.removed.at)
    return NodeState(state.id, state.kind, state.created_ns, removed=removed)
