# SPDX-License-Identifier: GPL-3.0-or-later
"""Cached views of an inode never outlive a change of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holofsd.core.ids import Ino, NodeId, VolumeId
from holofsd.store.nodes import Nodes
from holofsd.store.volume import VolumeStore

ONE, TWO = NodeId(b"1" * 16), NodeId(b"2" * 16)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VolumeStore]:
    opened = VolumeStore(VolumeId(b"v" * 32), tmp_path / "volume")
    yield opened
    opened.close()


def node_of(nodes: Nodes, ino: Ino) -> bytes | None:
    row = nodes.view_inode(ino)
    return row[1] if row else None


CHANGES: tuple[tuple[Callable[[Nodes, Ino], None], bytes | None], ...] = (
    (lambda nodes, ino: nodes.rebind(ino, TWO), TWO),
    (lambda nodes, ino: nodes.drop_inode(ino), None),
)


@pytest.mark.parametrize(("change", "after"), CHANGES, ids=["rebind", "drop"])
def test_a_view_follows_each_change(store: VolumeStore, change: Callable[..., None], after: bytes | None) -> None:
    with store.db.transaction():
        ino = store.nodes.ino_of(ONE)
    assert node_of(store.nodes, ino) == node_of(store.nodes, ino) == ONE
    with store.db.transaction():
        change(store.nodes, ino)
        assert node_of(store.nodes, ino) == after
    assert node_of(store.nodes, ino) == after


def test_a_view_goes_back_with_a_transaction_that_failed(store: VolumeStore) -> None:
    ino = store.nodes.ino_of(ONE)
    with pytest.raises(KeyError), store.db.transaction():
        store.nodes.rebind(ino, TWO)
        assert node_of(store.nodes, ino) == TWO
        raise KeyError
    assert node_of(store.nodes, ino) == ONE
