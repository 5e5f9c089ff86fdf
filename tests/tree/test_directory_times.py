# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory that was copied with its times has them on the other device too."""

from __future__ import annotations

import itertools

import pytest

from holofsd.core.edit import directory_id, link_id, new_node, with_mtime
from holofsd.core.ids import ROOT_ID, AuthorId, Dot, Hlc, NodeId
from holofsd.core.state import Inline, Kind, Marker, NodeState, Place, Register, Version
from holofsd.tree.tree import Tree
from tests.tree.harness import Clock, volume_store

AUTHOR = AuthorId(b"a" * 32)
SET_NS = 1_000_000_123


def hlc(ms: int) -> Hlc:
    return Hlc(ms, 0, AUTHOR)


def node(kind: Kind, id: NodeId, parent: NodeId, name: bytes, counter: int, ms: int) -> NodeState:
    body = Marker() if kind is Kind.DIRECTORY else Inline(b"x")
    version = Version(Dot(AUTHOR, counter), hlc(ms), body, 1, Register(ms * 1_000_000, hlc(ms)), "there")
    return new_node(id, kind, ms * 1_000_000, Place(parent, name), link_id(id), version, 0o755, hlc(ms))


DIRECTORY = directory_id(ROOT_ID, b"d", 0)
MADE = node(Kind.DIRECTORY, DIRECTORY, ROOT_ID, b"d", 1, 10)
DATED = with_mtime(MADE, None, SET_NS, hlc(30))
EARLIER = node(Kind.FILE, NodeId(b"f" * 16), DIRECTORY, b"f", 2, 20)
LATER = node(Kind.FILE, NodeId(b"g" * 16), DIRECTORY, b"g", 3, 40)


@pytest.mark.parametrize("order", list(itertools.permutations((MADE, DATED, EARLIER))))
def test_files_made_before_the_time_was_set_do_not_date_the_directory(order: tuple[NodeState, ...]) -> None:
    assert mtime_after(order) == SET_NS


@pytest.mark.parametrize("order", list(itertools.permutations((DATED, EARLIER, LATER))))
def test_a_file_made_after_the_time_was_set_dates_the_directory(order: tuple[NodeState, ...]) -> None:
    assert mtime_after(order) == 40_000_000


def mtime_after(order: tuple[NodeState, ...]) -> int:
    with volume_store() as store:
        tree = Tree(store, Clock(), lambda ino: False)
        for state in order:
            with store.db.transaction():
                tree.merge([state])
        row = store.nodes.get(DIRECTORY)
        assert row is not None
        return row.mtime_ns
