# SPDX-License-Identifier: GPL-3.0-or-later
"""However records arrive, the index is what a projection of all states from scratch gives."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from holofsd.codec.records import decode_state
from holofsd.core.ids import Ino
from holofsd.core.state import Kind
from holofsd.tree.tree import Tree
from support.model import everything, joined
from tests.core.programs import PROGRAMS, Step, run
from tests.tree.folders import FOLDINGS, Folding, fold
from tests.tree.harness import Clock, Mirror, check_index, derived, expected, from_scratch, plain, volume_store
from tests.tree.programs import TROUBLES, Trouble, cause

SEEDS = st.integers(0, 2**32)
SHOWN_NO_MORE = [
    *(Folding(0, "mkdir", a, b) for a, b in ((0, 1), (0, 2), (23, 1), (0, 0))),
    Folding(0, "write", 0, 0),
    Folding(0, "mkdir", 0, 0),
    Folding(1, "again", 1, 0),
    Folding(2, "mkdir", 0, 1),
    Folding(0, "again", 1, 0),
    Folding(0, "chmod", 1, 0),
]
"""A folder that others were shown as is shown as one of them, and has its own mode again."""
STANDS_FOR_ITSELF_AGAIN = [
    Folding(0, "write", 30, 20),
    Folding(1, "write", 0, 25),
    Folding(2, "mkdir", 20, 14),
    Folding(2, "over", 3, 21),
    Folding(0, "again", 1, 20),
    Folding(2, "again", 5, 12),
    Folding(0, "mkdir", 3, 1),
]
"""A folder that was shown as another one stands for itself when that one has gone, and both have numbers."""


@settings(max_examples=20)
@given(PROGRAMS, SEEDS)
def test_records_in_any_order_and_grouping_give_the_tree_of_all_states(program: Sequence[Step], seed: int) -> None:
    replay([record for _, record in everything(run(program))], seed)


@settings(max_examples=35)
@given(TROUBLES, SEEDS)
def test_trouble_in_any_order_gives_the_tree_of_all_states(program: Sequence[Trouble], seed: int) -> None:
    replay([record for _, record in everything(cause(program))], seed)


@example(SHOWN_NO_MORE, 0)
@example(STANDS_FOR_ITSELF_AGAIN, 16)
@settings(max_examples=60)
@given(FOLDINGS, SEEDS)
def test_folders_of_one_name_in_any_order_give_the_tree_of_all_states(program: Sequence[Folding], seed: int) -> None:
    replay([record for _, record in everything(fold(program))], seed)


def replay(records: list[bytes], seed: int) -> None:
    shuffle = random.Random(seed)
    if seed % 4:
        shuffle.shuffle(records)
    opened: set[Ino] = set()
    with volume_store() as store:
        tree = Tree(store, Clock(), opened.__contains__)
        mirror = Mirror(tree)
        seen: list[bytes] = []
        while records:
            size = shuffle.choice((1, 2, 5, 20))
            batch, records = records[:size], records[size:]
            seen += batch
            reading = {ino: tree.version(ino) for ino in opened}
            with store.db.transaction():
                mirror.follow(tree.merge(decode_state(record) for record in batch))
            for ino, version in reading.items():
                now = tree.version(ino)
                assert now is not None
                assert version is not None
                assert now.body == version.body, "an open file changed under its reader"
            check_index(store)
            if shuffle.random() < 0.3:
                mirror.look()
                opened.update(ino for ino in mirror.versions if is_file(tree, ino) and shuffle.random() < 0.3)
            if shuffle.random() < 0.15:
                assert plain(tree) == expected(joined(seen))
        states = joined(seen)
        mirror.look()
        assert plain(tree) == expected(states)
        assert derived(store) == from_scratch(states)


def is_file(tree: Tree, ino: Ino) -> bool:
    view = tree.view(ino)
    return view is not None and view.kind is Kind.FILE


@settings(max_examples=20)
@given(PROGRAMS)
def test_a_device_that_writes_shows_what_the_reference_shows(program: Sequence[Step]) -> None:
    """Local changes, state by state, as the filesystem makes them."""
    device = max(run(program), key=lambda d: len(d.log))
    with volume_store() as store:
        tree = Tree(store, Clock())
        mirror = Mirror(tree)
        seen: dict[bytes, None] = {}
        for _, record in device.log:
            seen[record] = None
            with store.db.transaction():
                mirror.follow(tree.merge([decode_state(record)]))
            mirror.look()
        states = joined(seen)
        assert plain(tree) == expected(states)
        assert derived(store) == from_scratch(states)
