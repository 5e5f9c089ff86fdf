# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory for states and rows that were read or written: bounded in bytes, however large each of them is."""

from __future__ import annotations

from holofsd.core import edit
from holofsd.core.ids import ROOT_ID, AuthorId, Dot, Hlc, NodeId
from holofsd.core.state import Inline, Kind, NodeState, Place, Register, Version
from holofsd.store import nodes
from holofsd.tree import states
from holofsd.tree.tree import Tree
from tests.tree.harness import Clock, volume_store, walk

HEAVY = 60_000
"""Bytes of content in a record: far more than our own records have, and less than one may have."""
FILES = 200
AUTHOR = AuthorId(b"liar".ljust(32, b"-"))


def heavy_file(number: int) -> NodeState:
    node, stamp = NodeId(b"heavy %10d" % number), Hlc(1_700_000_000_000, number, AUTHOR)
    body = Inline(b"x" * HEAVY)
    version = Version(Dot(AUTHOR, 1 + number), stamp, body, HEAVY, Register(0, stamp), "liar")
    place = Place(ROOT_ID, b"%d" % number)
    return edit.new_node(node, Kind.FILE, 0, place, edit.link_id(node), version, 0o644, stamp)


def test_large_records_of_others_fill_no_memory() -> None:
    with volume_store() as store:
        tree = Tree(store, Clock())
        for number in range(FILES):
            with store.db.transaction():
                tree.merge([heavy_file(number)])
        for _ in range(2):
            assert len(walk(tree)) == FILES
            assert all(tree.state(heavy_file(number).id) is not None for number in range(FILES))
        kept = sum(size for _, size in tree._states._cache.values())
        assert HEAVY < kept == tree._states._bytes <= states._KEPT_BYTES
        assert sum(len(row.state) for row in store.nodes._rows.values()) <= nodes._MAX_ROW_BYTES


def test_a_state_that_is_replaced_or_forgotten_counts_no_more() -> None:
    with volume_store() as store:
        remembered = states.States(store)
        state = heavy_file(1)
        for size in (100, 200, 150):
            remembered.put(state, size)
        assert remembered._bytes == 150
        remembered.forget(state.id)
        assert remembered._bytes == 0
