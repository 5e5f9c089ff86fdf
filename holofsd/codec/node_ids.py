# SPDX-License-Identifier: GPL-3.0-or-later
"""New node ids."""

from __future__ import annotations

import secrets

from holofsd.core.ids import NodeId
from holofsd.core.kinds import REST, bound_id
from holofsd.core.state import Kind


def new_node_id(kind: Kind) -> NodeId:
    """An id that no node has, bound to the kind (see `core.kinds`)."""
    return bound_id(kind, secrets.token_bytes(REST))
