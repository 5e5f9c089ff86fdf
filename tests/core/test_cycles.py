# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories moved into each other come out of it the same way everywhere."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from holofsd.core.cycles import Moved, resolve_cycles
from holofsd.core.ids import ROOT_ID, AuthorId, Hlc, NodeId
from holofsd.core.state import Place
from support.model import Device, meet, tree_of

A = AuthorId(b"a" * 32)


def node(number: int) -> NodeId:
    return NodeId(bytes([number]) * 16)


def moved(parent: int, ms: int, before: int | None) -> Moved:
    return Moved(Place(node(parent), b"n"), Hlc(ms, 0, A), None if before is None else Place(node(before), b"old"))


def test_without_a_cycle_nothing_changes() -> None:
    assert resolve_cycles({node(1): moved(0, 1, None), node(2): moved(1, 2, 0)}) == {}


def test_the_latest_move_of_a_cycle_falls_back_to_its_previous_place() -> None:
    fallen = resolve_cycles({node(1): moved(2, 5, 0), node(2): moved(1, 6, 0)})
    assert fallen == {node(2): Place(ROOT_ID, b"old")}


def test_one_whose_place_before_is_in_the_cycle_too_stays_and_another_one_falls_back() -> None:
    fallen = resolve_cycles({node(1): moved(2, 5, 0), node(2): moved(1, 6, 1)})
    assert fallen == {node(1): Place(ROOT_ID, b"old")}


def test_one_whose_fall_back_makes_another_cycle_gets_its_wanted_place_again() -> None:
    # 2, 3 and 4 are in each other. 4 falls back to 1, which is in 4: so it returns to 2, and 2 falls back instead.
    wanted = {node(1): moved(4, 6, None), node(2): moved(3, 6, 0), node(3): moved(4, 2, None), node(4): moved(2, 9, 1)}
    assert resolve_cycles(wanted) == {node(2): Place(ROOT_ID, b"old")}


def test_a_cycle_without_any_place_outside_is_at_the_root() -> None:
    fallen = resolve_cycles({node(1): moved(2, 5, 2), node(2): moved(1, 6, 1)})
    assert fallen == {node(2): Place(ROOT_ID, b"n")}


def test_a_removed_directory_pulls_no_other_one_along() -> None:
    # Removed ones are forgotten by one device sooner than by another one.
    removed = replace(moved(2, 9, 0), alive=False)
    living = moved(2, 4, 0)
    other = moved(1, 5, 0)
    wanted = {node(1): removed, node(2): other, node(3): living}
    assert resolve_cycles(wanted) == {node(1): Place(ROOT_ID, b"old")}


def test_one_without_a_previous_place_goes_to_the_root() -> None:
    assert resolve_cycles({node(1): moved(1, 5, None)}) == {node(1): Place(ROOT_ID, b"n")}


GRAPHS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3), st.none() | st.integers(0, 7)), max_size=7)


@given(GRAPHS, st.integers(0, 2**32))
def test_no_cycle_is_left_and_order_does_not_matter(rows: list[tuple[int, int, int | None]], seed: int) -> None:
    parents = {node(i + 1): moved(*row) for i, row in enumerate(rows)}
    fallen = resolve_cycles(parents)
    current = {i: m.place.parent for i, m in parents.items()} | {i: p.parent for i, p in fallen.items()}
    for start in current:
        here, steps = start, 0
        while here in current:
            here, steps = current[here], steps + 1
            assert steps <= len(current), "a cycle is left"
    mixed = list(parents.items())
    random.Random(seed).shuffle(mixed)
    assert resolve_cycles(dict(mixed)) == fallen


def test_two_devices_that_move_two_folders_into_each_other_keep_both() -> None:
    ada, ben = Device("ada"), Device("ben", 60_000)
    ada.mkdir(b"a")
    ada.mkdir(b"b")
    ada.write(b"a/in a", b"1")
    ada.write(b"b/in b", b"2")
    meet(ada, ben)
    ada.rename(b"a", b"b/a")
    ben.rename(b"b", b"a/b")
    meet(ada, ben)
    tree = tree_of(ada.states.values())
    assert tree == tree_of(ben.states.values())
    assert set(tree) == {b"b", b"b/a", b"b/a/in a", b"b/in b"}
