# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions that tests ask of records."""

from __future__ import annotations

from holofsd.core.state import NodeState


def is_shrunk(state: NodeState) -> bool:
    """Whether a state has a removal, and nothing of what was removed."""
    return state == NodeState(state.id, state.kind, state.created_ns, removed=state.removed)
