# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that is alive has a name, whatever is said of its place: at worst in `lost+found`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.codec.records import decode_state, encode_state
from holofsd.core import edit
from holofsd.core.ids import ROOT_ID, AuthorId, Hlc, LinkId, NodeId
from holofsd.core.lost import LOST_ID, UNMADE
from holofsd.core.node import is_alive
from holofsd.core.state import Inline, Kind, Link, Marker, NodeState, Place
from holofsd.store.database import scripts
from holofsd.tree import placing
from holofsd.tree import tree as tree_module
from holofsd.tree.recording import last_versions
from holofsd.tree.tree import Tree
from support.model import Device
from tests.tree.harness import Clock, check_index, derived, expected, from_scratch, plain, volume_store, walk

LIAR = AuthorId(b"liar".ljust(32, b"-"))
NOWHERE = NodeId(b"no such folder..")
LATER = Hlc(1_800_000_000_000, 0, LIAR)


@pytest.fixture
def tree() -> Iterator[Tree]:
    with volume_store() as store:
        tree = Tree(store, Clock())
        yield tree
        check_index(store)


def names(tree: Tree) -> list[bytes]:
    return sorted(walk(tree))


def learn(tree: Tree, *states: NodeState) -> None:
    with tree.store.db.transaction():
        tree.merge([decode_state(encode_state(state)) for state in states])


def ann() -> Device:
    device = Device("ann")
    device.mkdir(b"d")
    device.write(b"d/file", b"of ann")
    device.write(b"other", b"of ann too")
    return device


def at(device: Device, path: bytes) -> NodeState:
    return device.states[device.tree()[path].node]


def linked(state: NodeState, link: Link) -> NodeState:
    """State as a liar gives it: this is its one link."""
    (known,) = state.links
    return replace(state, links={known: link})


def moved_to(state: NodeState, parent: NodeId, name: bytes) -> NodeState:
    return linked(state, Link(Place(parent, name), LATER))


def test_a_link_to_nowhere_leaves_the_file_in_lost_and_found(tree: Tree) -> None:
    device = ann()
    state = at(device, b"d/file")
    learn(tree, *device.states.values(), linked(state, Link(None, LATER)))
    found = b"lost+found/" + state.id.hex().encode()
    assert names(tree) == [b"d", b"lost+found", found, b"other"]
    assert plain(tree)[found][1] == b"of ann"


def test_a_link_to_nowhere_that_knows_where_it_was_brings_the_file_back_there(tree: Tree) -> None:
    device = ann()
    state = at(device, b"d/file")
    learn(tree, *device.states.values(), linked(state, Link(None, LATER, Place(ROOT_ID, b"was here"))))
    assert names(tree) == [b"d", b"other", b"was here"]


def test_a_folder_that_is_linked_to_nowhere_stands_in_lost_and_found_with_what_is_in_it(tree: Tree) -> None:
    device = ann()
    state = at(device, b"d")
    learn(tree, *device.states.values(), linked(state, Link(None, LATER)))
    found = b"lost+found/" + state.id.hex().encode()
    assert names(tree) == [b"lost+found", found, found + b"/file", b"other"]


def test_what_is_moved_into_a_file_stands_in_lost_and_found_under_its_name(tree: Tree) -> None:
    device = ann()
    inside = moved_to(at(device, b"d/file"), at(device, b"other").id, b"inside")
    learn(tree, *device.states.values(), inside)
    assert names(tree) == [b"d", b"lost+found", b"lost+found/inside", b"other"]


def test_what_is_in_an_unknown_folder_waits_until_that_is_given_up_and_comes_if_it_does(tree: Tree) -> None:
    device = ann()
    learn(tree, *device.states.values(), moved_to(at(device, b"d/file"), NOWHERE, b"wait"))
    assert names(tree) == [b"d", b"other"]
    assert tree.store.nodes.strays.waiting(NodeId(b""), 9)[0][0][0] == NOWHERE
    with tree.store.db.transaction():
        tree.give_up([NOWHERE])
    assert names(tree) == [b"d", b"lost+found", b"lost+found/wait", b"other"]
    assert tree.store.nodes.strays.waiting(NodeId(b""), 9) == ([], None)
    version = device.version(Marker())
    place = Place(ROOT_ID, b"late")
    folder = edit.new_node(NOWHERE, Kind.DIRECTORY, 0, place, edit.link_id(NOWHERE), version, 0o755, version.stamp)
    learn(tree, folder)
    assert names(tree) == [b"d", b"late", b"late/wait", b"other"]


def test_an_unknown_folder_that_turns_out_to_be_a_file_gives_up_what_is_in_it(tree: Tree) -> None:
    device = ann()
    other = at(device, b"other")
    learn(tree, at(device, b"d"), moved_to(at(device, b"d/file"), other.id, b"inside"))
    assert names(tree) == [b"d"]
    learn(tree, other)
    assert names(tree) == [b"d", b"lost+found", b"lost+found/inside", b"other"]


def test_a_folder_that_comes_after_what_is_in_it_has_nothing_in_it_looked_at_again(tree: Tree) -> None:
    """The order in which a program fills a folder and then sets its time. The cost does not depend on what is in it."""
    device = Device("ann")
    device.mkdir(b"d")
    for number in range(20):
        device.write(b"d/%d" % number, b"x")
    folder = at(device, b"d")
    learn(tree, *(state for state in device.states.values() if state.id != folder.id))
    assert names(tree) == []
    with tree.store.db.transaction():
        change = tree.merge([folder])
    assert change.nodes == [folder.id]
    assert plain(tree) == expected(device.states)
    assert derived(tree.store) == from_scratch(device.states)


def test_a_file_with_two_unknown_folders_is_where_the_one_that_comes_is(tree: Tree) -> None:
    """The other one is a file: it stood in lost+found for that."""
    device = ann()
    (first,) = at(device, b"d/file").links
    twice = replace(
        at(device, b"d/file"),
        links={
            first: Link(Place(at(device, b"other").id, b"inside"), LATER),
            LinkId(b"second link....."): Link(Place(at(device, b"d").id, b"second"), LATER),
        },
    )
    learn(tree, at(device, b"other"), twice)
    assert names(tree) == [b"lost+found", b"lost+found/inside", b"other"]
    learn(tree, at(device, b"d"))
    assert names(tree) == [b"d", b"d/second", b"other"]


@pytest.mark.parametrize("comes", ["never", "as a folder", "as a file"])
def test_what_does_not_fit_into_one_transaction_is_placed_bit_by_bit_also_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes: str
) -> None:
    monkeypatch.setattr(placing, "MOST_STRAYS", 3)
    monkeypatch.setattr(tree_module, "MOST_STRAYS", 3)
    device = ann()
    for number in range(10):
        device.write(b"many %d" % number, b"x")
        device.put(moved_to(at(device, b"many %d" % number), NOWHERE, b"%d" % number))
    kind, version = Kind.DIRECTORY, device.version(Marker())
    if comes == "as a file":
        kind, version = Kind.FILE, device.version(Inline(b"x"))
    place = Place(ROOT_ID, b"late")
    late = edit.new_node(NOWHERE, kind, 0, place, edit.link_id(NOWHERE), version, 0o755, version.stamp)
    with volume_store(tmp_path) as store:
        tree = Tree(store, Clock())
        learn(tree, *device.states.values())
        if comes != "as a file":
            with store.db.transaction():
                tree.give_up([NOWHERE])
            assert sum(name.startswith(b"lost+found/") for name in names(tree)) == 3
        if comes == "as a folder":
            while place_some(tree):
                pass
        if comes != "never":
            learn(tree, late)
        place_some(tree)
    with volume_store(tmp_path) as store:
        tree = Tree(store, Clock())
        while place_some(tree):
            pass
        folder = b"late/" if comes == "as a folder" else b"lost+found/"
        assert {folder + b"%d" % number for number in range(10)} <= set(names(tree))
        assert tree.store.meta("placing-lost") is None
        check_index(store)


def place_some(tree: Tree) -> bool:
    with tree.store.db.transaction():
        return tree.place_due() is not None


def test_a_cycle_through_an_unknown_folder_shows_everything(tree: Tree) -> None:
    """A folder that was given up comes, and lies in what was lost."""
    device = ann()
    learn(tree, *device.states.values(), moved_to(at(device, b"d"), NOWHERE, b"d"))
    with tree.store.db.transaction():
        tree.give_up([NOWHERE])
    assert names(tree) == [b"lost+found", b"lost+found/d", b"lost+found/d/file", b"other"]
    version = device.version(Marker())
    place = Place(at(device, b"d").id, b"round")
    learn(tree, edit.new_node(NOWHERE, Kind.DIRECTORY, 0, place, edit.link_id(NOWHERE), version, 0o755, version.stamp))
    assert {name.rpartition(b"/")[2] for name in names(tree)} == {b"d", b"file", b"other", b"round"}


def test_a_file_with_one_usable_name_is_there_and_nowhere_else(tree: Tree) -> None:
    device = ann()
    state = at(device, b"d/file")
    more = {LinkId(bytes([n]) * 16): Link(p, LATER) for n, p in enumerate((None, Place(ROOT_ID, b".."), None))}
    into = {LinkId(b"f" * 16): Link(Place(at(device, b"other").id, b"inside"), LATER)}
    learn(tree, *device.states.values(), replace(state, links={**state.links, **more, **into}))
    assert names(tree) == [b"d", b"d/file", b"other"]


def test_all_versions_stand_in_lost_and_found(tree: Tree) -> None:
    device = ann()
    state = at(device, b"other")
    theirs = edit.with_version(state, Device("bob").version(device.version(Marker()).body), [])
    bob = Device("bob")
    bob.states = dict(device.states)
    bob.write(b"other", b"of bob")
    device.write(b"other", b"of ann again")
    learn(tree, *device.states.values(), *bob.states.values(), linked(state, Link(None, LATER)))
    assert theirs.id == state.id
    lost = {plain(tree)[name][1] for name in names(tree) if name.startswith(b"lost+found/")}
    assert lost == {b"of bob", b"of ann again"}


def test_what_is_in_lost_and_found_can_be_moved_and_then_that_is_gone(tree: Tree) -> None:
    device = ann()
    state = linked(at(device, b"d/file"), Link(None, LATER))
    learn(tree, *device.states.values(), state)
    (row,) = tree.store.nodes.placements(state.id)
    learn(tree, edit.moved(state, row.link, Place(ROOT_ID, b"again"), device.stamp()))
    assert names(tree) == [b"again", b"d", b"other"]
    assert tree.state(LOST_ID) == UNMADE


def test_lost_and_found_stays_in_the_root_whatever_is_said_of_it(tree: Tree) -> None:
    device = ann()
    state = at(device, b"d/file")
    folder = at(device, b"d")
    version = device.version(Marker())
    home = edit.new_node(
        LOST_ID, Kind.DIRECTORY, 0, Place(folder.id, b".."), edit.link_id(LOST_ID), version, 0o700, version.stamp
    )
    for place in (Place(folder.id, b"deep"), Place(NOWHERE, b"x"), Place(LOST_ID, b"x"), Place(ROOT_ID, b"..")):
        home = edit.moved(home, edit.link_id(LOST_ID), place, device.stamp())
        learn(tree, *device.states.values(), linked(state, Link(None, LATER)), home)
        assert names(tree)[1:3] == [b"lost+found", b"lost+found/" + state.id.hex().encode()]
    # A person may call it otherwise.
    learn(tree, edit.moved(home, edit.link_id(LOST_ID), Place(ROOT_ID, b"finds"), device.stamp()))
    assert b"finds/" + state.id.hex().encode() in names(tree)


def test_lost_and_found_is_one_with_a_folder_of_that_name(tree: Tree) -> None:
    device = ann()
    device.mkdir(b"lost+found")
    device.write(b"lost+found/mine", b"mine")
    inside = moved_to(at(device, b"d/file"), at(device, b"other").id, b"inside")
    learn(tree, *device.states.values(), inside)
    assert names(tree) == [b"d", b"lost+found", b"lost+found/inside", b"lost+found/mine", b"other"]


def test_a_volume_of_an_earlier_program_shows_what_had_no_name(tmp_path: Path) -> None:
    device = ann()
    nowhere = linked(at(device, b"d/file"), Link(None, LATER))
    device.write(b"third", b"3")
    inside = moved_to(at(device, b"third"), at(device, b"other").id, b"inside")
    with volume_store(tmp_path) as store:
        tree = Tree(store, Clock())
        learn(tree, *device.states.values(), nowhere, inside)
        right, shown = derived(store), names(tree)
        assert len(shown) == 5
        with store.db.transaction():  # as it was before
            for node, parent, name in ((nowhere.id, None, b""), (inside.id, at(device, b"other").id, b"inside")):
                for table in ("placements", "entries"):
                    store.db.run(f"DELETE FROM {table} WHERE node=?", (node,))
                if parent is None:
                    store.db.run("UPDATE nodes SET visible=0, nlink=0 WHERE node=?", (node,))
                else:
                    stamp = LATER.wall_ms.to_bytes(8, "big") + bytes(4) + LIAR
                    link = next(iter(inside.links))
                    store.db.run("INSERT INTO placements VALUES (?,?,?,?,?,NULL)", (node, link, parent, name, stamp))
                    store.db.run("INSERT INTO entries VALUES (?,?,?,x'',?)", (parent, name, node, name))
            store.db.run("DELETE FROM nodes WHERE node=?", (LOST_ID,))
            store.db.run("DELETE FROM strays")
            script = next(script for script in scripts("volume_formats") if "'lost-anew'" in script)
            for statement in (line for line in script[script.index("INSERT OR IGNORE") :].split(";") if line.strip()):
                store.db.run(statement)
    with volume_store(tmp_path) as store:
        tree = Tree(store, Clock())
        assert names(tree) == shown
        assert derived(store) == right
        check_index(store)


def test_the_last_version_of_an_emptied_file_is_the_newest_whatever_is_heard_of_later(tree: Tree) -> None:
    device = ann()
    first = at(device, b"d/file")
    device.write(b"d/file", b"second")
    second = at(device, b"d/file")
    learn(tree, *device.states.values())
    learn(tree, replace(second, versions={}))
    learn(tree, first)
    state = tree.state(second.id)
    assert state is not None
    assert not is_alive(state)
    assert [version.body for version in last_versions(tree.store, state).values()] == [Inline(b"second")]


# ---- whatever is said, in whatever order
PLACES = st.sampled_from(["nowhere", "unknown", "file", "itself", "bad name", "cycle", "root", "lost", "before"])


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), PLACES), min_size=1, max_size=12), st.integers(0, 2**32))
def test_lies_about_places_in_any_order_hide_nothing(lies: Sequence[tuple[int, str]], seed: int) -> None:
    device = ann()
    device.mkdir(b"d/e")
    device.write(b"d/e/deep", b"deep")
    device.write(b"third", b"3")
    honest = list(device.states.values())
    nodes = sorted(honest, key=lambda state: state.id)
    records = list(honest)
    for number, (which, lie) in enumerate(lies):
        state = nodes[which % len(nodes)]
        place = {
            "unknown": Place(NOWHERE, b"name"),
            "file": Place(at(device, b"other").id, b"name"),
            "itself": Place(state.id, b"name"),
            "bad name": Place(ROOT_ID, b".."),
            "cycle": Place(at(device, b"d/e").id, b"name"),
            "root": Place(ROOT_ID, b"name"),
            "lost": Place(LOST_ID, b"name"),
        }.get(lie)
        before = Place(ROOT_ID, b"before") if lie == "before" else None
        stamp = Hlc(LATER.wall_ms + number, 0, LIAR)
        records.append(linked(state, Link(place, stamp, before)))
    shuffle = random.Random(seed)
    shuffle.shuffle(records)
    joined: dict[NodeId, NodeState] = {}
    with volume_store() as store:
        tree = Tree(store, Clock())
        with store.db.transaction():
            tree.give_up([NOWHERE])
        for record in records:
            learn(tree, record)
            check_index(store)
        joined = {state.id: known for state in honest if (known := tree.state(state.id)) is not None}
        shown = {value[1] for value in plain(tree).values()}
        assert {b"of ann", b"of ann too", b"deep", b"3"} <= shown
        with volume_store() as other:
            again = Tree(other, Clock())
            with other.db.transaction():
                again.give_up([NOWHERE])
                again.apply(joined.values())
            assert derived(store) == derived(other)
            assert plain(tree) == plain(again)


def test_the_reference_shows_what_the_tree_shows() -> None:
    device = ann()
    inside = moved_to(at(device, b"d/file"), at(device, b"other").id, b"inside")
    device.put(inside, linked(at(device, b"d"), Link(None, LATER)))
    with volume_store() as store:
        tree = Tree(store, Clock())
        learn(tree, *device.states.values())
        assert plain(tree) == expected(device.states)
        assert derived(store) == from_scratch(device.states)
