# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions about states of nodes that only tests ask."""

from __future__ import annotations

from holofsd.core.node import live_versions
from holofsd.core.state import NodeState, Version


def shown_version(state: NodeState) -> Version | None:
    """The live version with the highest stamp: the one a name shows once its content is here."""
    live = live_versions(state)
    return live[0] if live else None
