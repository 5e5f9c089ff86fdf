# SPDX-License-Identifier: GPL-3.0-or-later
"""Node ids that say of what kind their node is, so that no record can make a file a folder.

An id is 16 bytes: `BOUND`, the kind in one byte, and ten that are random or a digest. Ids of earlier programs are 16
random bytes and say nothing; one in 10^12 of them looks as if it did.
"""

from __future__ import annotations

from typing import Final

from holofsd.core.ids import NodeId
from holofsd.core.state import Kind

BOUND: Final = b"\xffkind"
REST: Final = 10
"""Bytes of an id that are its own."""

_KINDS: Final = {int(kind): kind for kind in Kind}


def bound_id(kind: Kind, rest: bytes) -> NodeId:
    """The id of a node of this kind; of `rest` the first ten bytes count."""
    return NodeId(BOUND + bytes((kind,)) + rest[:REST])


def kind_of(node: NodeId) -> Kind | None:
    """The only kind that this node can have; None where its id does not say."""
    return _KINDS.get(node[5]) if node.startswith(BOUND) else None
