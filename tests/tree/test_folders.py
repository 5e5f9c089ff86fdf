# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that are shown as one: what the index has of them, and volumes that know nothing of it yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from holofsd.core.ids import ROOT_ID
from holofsd.store.database import Database, scripts
from holofsd.tree.tree import Tree
from support.model import Device
from tests.tree.harness import Clock, check_index, derived, from_scratch, volume_store, walk
from tests.tree.test_names import learn

FORMAT = 9
"""Of the last program that showed two directories beside each other."""


def old_volume(directory: Path) -> None:
    path = directory / "volume"
    path.mkdir()
    db = Database(path / "index.db", scripts("volume_formats")[:FORMAT])
    with db.transaction():
        db.run("DELETE FROM meta")
        for row in Path(__file__).with_name("folders_apart.sql").read_text().splitlines():
            if row.startswith("INSERT"):
                db.run(row)
    db.close()


def test_two_directories_of_an_old_volume_are_one_when_it_is_opened(tmp_path: Path) -> None:
    old_volume(tmp_path)
    for _ in range(2):
        with volume_store(tmp_path) as store:
            tree = Tree(store, Clock())
            assert {path for path in walk(tree) if b"conflict" not in path} == {
                *(b"n", b"n/s", b"n/s/x", b"n/s/y", b"n/x", b"n/y"),
            }
            assert len(walk(tree)) == 7
            states = {row[0]: tree.state(row[0]) for row in store.db.all("SELECT node FROM nodes")}
            assert derived(store) == from_scratch({node: state for node, state in states.items() if state is not None})
            check_index(store)


def two_of_one_name() -> tuple[Device, Device]:
    ada, ben = Device("ada"), Device("ben", 7_000)
    for device in (ada, ben):
        device.mkdir(b"d")
        device.mkdir(b"d/s")
        device.write(b"d/s/" + device.name.encode(), b"x")
    return ada, ben


def test_what_fails_leaves_no_trace_in_what_is_remembered_of_aliases() -> None:
    ada, ben = two_of_one_name()
    with volume_store() as store:
        tree = Tree(store, Clock())
        learn(tree, ada)
        with pytest.raises(ZeroDivisionError), store.db.transaction():
            tree.merge(ben.states.values())
            assert len(store.nodes.aliases.together(tree.at_slot(ROOT_ID, b"d")[0])) == 2
            raise ZeroDivisionError
        assert not store.nodes.aliases
        assert walk(tree).keys() == {b"d", b"d/s", b"d/s/ada"}
        learn(tree, ada, ben)
        assert walk(tree).keys() == {b"d", b"d/s", b"d/s/ada", b"d/s/ben"}


def test_a_group_that_parts_leaves_nothing_behind() -> None:
    ada, ben = two_of_one_name()
    with volume_store() as store:
        tree = Tree(store, Clock())
        learn(tree, ada, ben)
        assert store.db.number("SELECT count(*) FROM aliases") == 2
        ada.rename(b"d", b"e")
        ben.rmdir(b"d/s")
        learn(tree, ada, ben)
        assert walk(tree).keys() == {b"d", b"d/s", b"d/s/ben", b"e", b"e/s", b"e/s/ada"}
        assert store.db.number("SELECT count(*) FROM aliases") == 0
        assert store.db.number("SELECT count(*) FROM placements WHERE real IS NOT NULL") == 0


def test_a_directory_without_aliases_costs_no_row() -> None:
    ada, _ = two_of_one_name()
    with volume_store() as store:
        learn(Tree(store, Clock()), ada)
        assert store.db.number("SELECT count(*) FROM aliases") == 0
        assert store.db.number("SELECT count(*) FROM placements WHERE real IS NOT NULL") == 0
