# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that want one name are shown as one (ADR 12): which of them stands for all, and with what settings.

The names below a directory come from all members of its group, and each of their links goes on naming the directory it
was made in. So a group needs no records, and comes apart without any when one member is moved away.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from holofsd.core.ids import NodeId
from holofsd.core.join import join_settings
from holofsd.core.state import NodeState


def seniority(state: NodeState) -> tuple[int, NodeId]:
    """The least of a group stands for it: the one made first, so that newcomers change no inode number."""
    return (state.created_ns, state.id)


def settings_of(group: Sequence[NodeState]) -> NodeState:
    """The first state with the mode, attributes and times of the group: of each, what was set last on any member.

    Whoever sets one of them writes it to the member that stands for all, above what the others have.
    """
    return reduce(join_settings, group)
