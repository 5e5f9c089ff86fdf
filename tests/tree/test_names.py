# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, one case at a time: conflicts, twins, directories, `.git`, long names, revival, cycles, what is not here."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from holofsd.codec.records import decode_state
from holofsd.core import edit
from holofsd.core.ids import ROOT_ID, NodeId
from holofsd.core.state import Inline, Kind, Marker, NodeState, Place
from holofsd.store.database import scripts
from holofsd.store.volume import VolumeStore
from holofsd.tree.tree import Tree
from support.model import Device, everything, joined, meet
from tests.tree.harness import Clock, check_index, derived, expected, from_scratch, plain, volume_store, walk


@pytest.fixture
def store() -> Iterator[VolumeStore]:
    with volume_store() as opened:
        yield opened


@pytest.fixture
def tree(store: VolumeStore) -> Tree:
    return Tree(store, Clock())


def learn(tree: Tree, *devices: Device) -> None:
    """Learn everything the devices ever said, record by record, in the order they said it."""
    for _, record in everything(devices):
        with tree.store.db.transaction():
            tree.merge([decode_state(record)])
    states = joined(record for _, record in everything(devices))
    check_index(tree.store)
    assert plain(tree) == expected(states)
    assert derived(tree.store) == from_scratch(states)


def two_devices(*paths: bytes) -> tuple[Device, Device]:
    """Devices which share these files."""
    ada, ben = Device("ada"), Device("ben", 10_000)
    for path in paths:
        folder = path.rpartition(b"/")[0]
        parts = folder.split(b"/") if folder else []
        for depth in range(len(parts)):
            ada.mkdir(b"/".join(parts[: depth + 1]))
        if not path.endswith(b"/"):
            ada.write(path, b"first")
    meet(ada, ben)
    return ada, ben


def names(tree: Tree) -> list[bytes]:
    return sorted(walk(tree))


def copy_of(tree: Tree, slot: bytes) -> bytes:
    (copy,) = [path for path, entry in walk(tree).items() if entry.is_copy and entry.slot == slot]
    return copy


def file_at(device: Device, place: Place, content: bytes) -> NodeState:
    version = device.version(Inline(content))
    node = edit.split_id(NodeId(b"random-for-tests"), version.dot)
    return edit.new_node(node, Kind.FILE, 0, place, edit.link_id(node), version, 0o644, version.stamp)


def test_the_root_is_inode_one_and_has_attributes_but_no_state(tree: Tree) -> None:
    view = tree.view(tree.ino_of(ROOT_ID))
    assert view is not None
    assert (view.ino, view.kind, view.mode, view.nlink) == (1, Kind.DIRECTORY, 0o755, 2)
    assert tree.state(ROOT_ID) is None
    assert tree.path_of(ROOT_ID) == b""


def test_concurrent_versions_show_the_newest_and_a_copy_beside_it(tree: Tree) -> None:
    ada, ben = two_devices(b"d/a.txt")
    ada.write(b"d/a.txt", b"ada's")
    ben.write(b"d/a.txt", b"ben's")
    learn(tree, ada, ben)
    copy = copy_of(tree, b"a.txt")
    assert copy.startswith(b"d/a.txt"[:3] + b" (conflict ada 2023-11-14 ")
    shown, beside = walk(tree)[b"d/a.txt"], walk(tree)[copy]
    assert tree.version(shown.ino).body == Inline(b"ben's")  # type: ignore[union-attr]
    assert tree.version(beside.ino).body == Inline(b"ada's")  # type: ignore[union-attr]
    assert tree.siblings(shown.parent, b"a.txt") == [shown, beside]
    assert shown.ino != beside.ino
    assert tree.path_of(beside.node, beside.dot) == copy
    assert tree.version_of(beside.node, beside.dot).device_name == "ada"  # type: ignore[union-attr]
    assert tree.census().conflicts == 1


def test_equal_files_made_apart_show_once_and_are_known_as_twins(tree: Tree) -> None:
    ada, ben = Device("ada"), Device("ben", 10_000)
    ada.write(b"a", b"same")
    ben.write(b"a", b"same")
    learn(tree, ada, ben)
    (entry,) = walk(tree).values()
    assert tree.twins(entry) == [node for node in tree.at_slot(ROOT_ID, b"a") if node != entry.node]
    assert len(tree.twins(entry)) == 1


def test_a_directory_keeps_the_name_against_a_newer_file(tree: Tree) -> None:
    ada, ben = Device("ada"), Device("ben", 10_000)
    ada.mkdir(b"a")
    ben.write(b"a", b"file")
    learn(tree, ada, ben)
    assert walk(tree)[b"a"].view.kind is Kind.DIRECTORY
    assert walk(tree)[copy_of(tree, b"a")].view.kind is Kind.FILE


def test_a_real_file_with_the_name_of_a_conflict_copy_keeps_it_whenever_it_comes_and_goes(tree: Tree) -> None:
    ada, ben = two_devices(b"a.txt")
    ada.write(b"a.txt", b"ada's")
    ben.write(b"a.txt", b"ben's")
    learn(tree, ada, ben)
    copy = copy_of(tree, b"a.txt")
    meet(ada, ben)
    ada.put(claim := file_at(ada, Place(ROOT_ID, copy), b"claimed"))
    learn(tree, ada, ben)
    assert tree.version(walk(tree)[copy].ino).body == Inline(b"claimed")  # type: ignore[union-attr]
    assert len(copy_of(tree, b"a.txt")) == len(copy) + 8
    ada.put(edit.removed(ada.states[claim.id]))
    learn(tree, ada, ben)
    assert copy_of(tree, b"a.txt") == copy


def test_inside_git_copies_are_listed_as_conflicts_and_not_shown(tree: Tree) -> None:
    ada, ben = two_devices(b"r/.git/refs/HEAD")
    ada.write(b"r/.git/refs/HEAD", b"ada's")
    ben.write(b"r/.git/refs/HEAD", b"ben's")
    learn(tree, ada, ben)
    assert names(tree) == [b"r", b"r/.git", b"r/.git/refs", b"r/.git/refs/HEAD"]
    (hidden,) = tree.store.nodes.hidden_copies()
    assert (hidden.name, tree.path_of(hidden.parent), hidden.slot) == (b"", b"r/.git/refs", b"HEAD")
    assert tree.store.nodes.hidden_copies_of(hidden.parent, b"HEAD") == [hidden]
    assert tree.version_of(hidden.node, hidden.dot).device_name == "ada"  # type: ignore[union-attr]
    assert tree.census().conflicts == 1


def test_copies_appear_and_hide_when_a_directory_above_is_renamed(tree: Tree) -> None:
    ada, ben = two_devices(b"r/.git/refs/HEAD")
    ada.write(b"r/.git/refs/HEAD", b"ada's")
    ben.write(b"r/.git/refs/HEAD", b"ben's")
    meet(ada, ben)
    ada.rename(b"r/.git", b"r/git")
    learn(tree, ada, ben)
    assert copy_of(tree, b"HEAD").startswith(b"r/git/refs/HEAD (conflict ada ")
    ada.rename(b"r", b".git")
    learn(tree, ada, ben)
    assert len(tree.store.nodes.hidden_copies()) == 1
    assert not [entry for entry in walk(tree).values() if entry.is_copy]
    ada.rename(b".git", b"plain")
    learn(tree, ada, ben)
    assert copy_of(tree, b"HEAD").startswith(b"plain/git/refs/HEAD (conflict ada ")
    assert tree.store.nodes.hidden_copies() == []


def test_two_directories_called_git_are_one_and_show_no_copies(tree: Tree) -> None:
    ada, ben = two_devices(b"p/HEAD", b"q/x")
    ada.write(b"p/HEAD", b"ada's")
    ben.write(b"p/HEAD", b"ben's")
    ada.rename(b"p", b".git")
    learn(tree, ada, ben)
    assert not [entry for entry in walk(tree).values() if entry.is_copy]
    ben.rename(b"q", b".git")
    learn(tree, ada, ben)
    assert walk(tree).keys() == {b".git", b".git/HEAD", b".git/x"}
    assert tree.census().conflicts == 1
    meet(ada, ben)
    ben.rename(b".git", b"q")
    learn(tree, ada, ben)
    assert len([entry for entry in walk(tree).values() if entry.is_copy]) == 1


def test_two_long_names_of_one_node_have_their_own_copies(tree: Tree) -> None:
    one, two = b"n" * 250 + b"1", b"n" * 250 + b"2"
    ada, ben = two_devices(one)
    ada.link(one, two)
    meet(ada, ben)
    ada.write(one, b"ada's")
    ben.write(one, b"ben's")
    learn(tree, ada, ben)
    copies = {copy_of(tree, one), copy_of(tree, two)}
    assert names(tree) == sorted([one, two, *copies])
    assert len({walk(tree)[copy].ino for copy in copies}) == 1


def test_a_cut_conflict_name_that_comes_free_is_taken_again(tree: Tree) -> None:
    long = b"n" * 250
    ada, ben = two_devices(long)
    ada.write(long, b"ada's")
    ben.write(long, b"ben's")
    learn(tree, ada, ben)
    copy = copy_of(tree, long)
    meet(ada, ben)
    ada.put(claim := file_at(ada, Place(ROOT_ID, copy), b"claimed"))
    learn(tree, ada, ben)
    assert copy_of(tree, long) != copy
    ada.put(edit.removed(ada.states[claim.id]))
    learn(tree, ada, ben)
    assert copy_of(tree, long) == copy


def test_a_removed_directory_is_back_while_a_visible_child_needs_it(tree: Tree) -> None:
    ada, ben = two_devices(b"a/b/")
    ada.mkdir(b"a/b")
    meet(ada, ben)
    ada.rmdir(b"a/b")
    ada.rmdir(b"a")
    ben.write(b"a/b/x", b"new")
    learn(tree, ada, ben)
    assert names(tree) == [b"a", b"a/b", b"a/b/x"]
    assert len(tree.store.nodes.revived(10)) == 2
    meet(ada, ben)
    ben.unlink(b"a/b/x")
    learn(tree, ada, ben)
    assert names(tree) == []


def test_directories_moved_into_each_other_are_found_whichever_move_comes_first(tree: Tree) -> None:
    ada, ben = two_devices(b"a/x", b"b/y")
    before = everything([ada, ben])
    said = len(ada.log), len(ben.log)
    ada.rename(b"a", b"b/a")
    ben.rename(b"b", b"a/b")
    moves = [*ada.log[said[0] :], *ben.log[said[1] :]]
    shown = []
    for order in permutations(moves):
        with volume_store() as store:
            fresh = Tree(store, Clock())
            for _, record in [*before, *order]:
                with store.db.transaction():
                    fresh.merge([decode_state(record)])
            check_index(store)
            shown.append(names(fresh))
    assert shown[0] == shown[1] == [b"b", b"b/a", b"b/a/x", b"b/y"]


def test_a_cycle_that_ends_lets_the_directory_go_where_it_wanted(tree: Tree) -> None:
    ada, ben = two_devices(b"a/x", b"b/y")
    ada.rename(b"a", b"b/a")
    ben.rename(b"b", b"a/b")
    learn(tree, ada, ben)
    assert len(tree.store.nodes.overrides()) == 1
    ada.mkdir(b"c")
    meet(ada, ben)
    ada.rename(b"b/a", b"c/a")
    learn(tree, ada, ben)
    assert tree.store.nodes.overrides() == {}
    assert names(tree) == [b"c", b"c/a", b"c/a/b", b"c/a/b/y", b"c/a/x"]


def test_a_fall_back_by_the_rules_of_an_earlier_program_is_resolved_anew_when_the_volume_is_opened(
    tmp_path: Path,
) -> None:
    ada, ben = two_devices(b"a/x", b"b/y")
    ada.rename(b"a", b"b/a")
    ben.rename(b"b", b"a/b")
    with volume_store(tmp_path) as store:
        tree = Tree(store, Clock())
        learn(tree, ada, ben)
        right = derived(store)
        with store.db.transaction():
            store.db.run("UPDATE overrides SET parent=?, name=?", (ROOT_ID, b"elsewhere"))
            tree.refresh([row[0] for row in store.db.all("SELECT node FROM overrides")])
            assert b"elsewhere" in names(tree)
            (script,) = [text for text in scripts("volume_formats") if "cycles-anew" in text]
            (mark,) = [line for line in script.splitlines() if line.startswith("INSERT")]
            store.db.run(mark)
    with volume_store(tmp_path) as store:
        assert names(Tree(store, Clock())) == [b"b", b"b/a", b"b/a/x", b"b/y"]
        assert derived(store) == right
        check_index(store)


def test_children_wait_out_of_sight_until_their_parents_arrive(tree: Tree) -> None:
    ada, _ = two_devices(b"a/b/x", b"a/b/y")
    records = [decode_state(record) for _, record in ada.log]
    for state in reversed(records):
        assert names(tree) == []
        with tree.store.db.transaction():
            tree.merge([state])
    assert names(tree) == [b"a", b"a/b", b"a/b/x", b"a/b/y"]
    assert tree.census().pending == 0


def test_what_waits_is_counted(tree: Tree) -> None:
    ada, _ = two_devices(b"a/b/x", b"a/b/y")
    for state in joined(record for _, record in ada.log).values():
        if state.id != ada.tree()[b"a"].node:
            with tree.store.db.transaction():
                tree.merge([state])
    assert tree.census().pending == 3


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b", b"n" * 256])
def test_a_name_that_cannot_be_shown_is_counted_and_its_file_stands_in_lost_and_found(tree: Tree, name: bytes) -> None:
    ada = Device("ada")
    ada.put(state := file_at(ada, Place(ROOT_ID, name), b"bad"))
    learn(tree, ada)
    assert names(tree) == [b"lost+found", b"lost+found/" + state.id.hex().encode()]
    assert tree.census().bad_names == 1
    ada.put(edit.moved(state, edit.link_id(state.id), Place(ROOT_ID, b"good"), ada.stamp()))
    learn(tree, ada)
    assert names(tree) == [b"good"]
    assert tree.census().bad_names == 0


def test_a_directory_with_a_bad_name_stands_in_lost_and_found_with_what_is_in_it(tree: Tree) -> None:
    ada = Device("ada")
    version = ada.version(Marker())
    node = edit.directory_id(ROOT_ID, b"..", 0)
    ada.put(
        edit.new_node(node, Kind.DIRECTORY, 0, Place(ROOT_ID, b".."), edit.link_id(node), version, 0o755, version.stamp)
    )
    ada.put(file_at(ada, Place(node, b"x"), b"below"))
    learn(tree, ada)
    found = b"lost+found/" + node.hex().encode()
    assert names(tree) == [b"lost+found", found, found + b"/x"]
    ada.put(edit.moved(ada.states[node], edit.link_id(node), Place(ROOT_ID, b"good"), ada.stamp()))
    learn(tree, ada)
    assert names(tree) == [b"good", b"good/x"]
    assert tree.census().bad_names == 0


def test_a_record_about_the_root_is_not_believed(tree: Tree) -> None:
    ada = Device("ada")
    version = ada.version(Marker())
    with tree.store.db.transaction():
        tree.merge(
            [
                edit.new_node(
                    ROOT_ID, Kind.DIRECTORY, 0, Place(ROOT_ID, b"x"), edit.link_id(ROOT_ID), version, 0, version.stamp
                )
            ]
        )
    assert names(tree) == []
    assert tree.state(ROOT_ID) is None


def test_hard_links_show_one_inode_at_every_name(tree: Tree) -> None:
    ada, _ = two_devices(b"d/a")
    ada.link(b"d/a", b"b")
    learn(tree, ada)
    shown = walk(tree)
    assert shown[b"d/a"].ino == shown[b"b"].ino
    assert shown[b"b"].view.nlink == 2
    ada.unlink(b"d/a")
    learn(tree, ada)
    assert walk(tree)[b"b"].view.nlink == 1


def test_a_listing_is_in_order_goes_on_after_a_name_and_counts_subdirectories(tree: Tree) -> None:
    ada, _ = two_devices(b"d/b", b"d/a", b"d/c/", b"d/e/")
    ada.mkdir(b"d/c")
    ada.mkdir(b"d/e")
    learn(tree, ada)
    directory = walk(tree)[b"d"]
    assert directory.view.nlink == 4
    assert [entry.name for entry in tree.children(directory.node)] == [b"a", b"b", b"c", b"e"]
    assert [entry.name for entry in tree.children(directory.node, b"a", 2)] == [b"b", b"c"]


def test_the_census_counts_what_has_names_and_goes_back_with_a_failed_transaction(tree: Tree) -> None:
    ada, _ = two_devices(b"d/a", b"b")
    assert tree.census().files == 0
    learn(tree, ada)
    assert (tree.census().files, tree.census().bytes) == (2, 10)
    ada.write(b"c", b"123")
    with pytest.raises(ZeroDivisionError), tree.store.db.transaction():
        tree.merge([decode_state(ada.log[-1][1])])
        raise ZeroDivisionError
    assert (tree.census().files, tree.census().bytes) == (2, 10)
    learn(tree, ada)
    assert (tree.census().files, tree.census().bytes) == (3, 13)
