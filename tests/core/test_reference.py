# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree as a whole, by the reference projection: what people see after their devices have met."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holofsd.core.ids import ROOT_ID, NodeId
from holofsd.core.state import Kind, Link, Place
from support.model import Device, meet, tree_of

Two = tuple[Device, Device]


@pytest.fixture
def two() -> Two:
    return Device("ada"), Device("ben", 60_000)


def paths(device: Device) -> set[bytes]:
    return set(device.tree())


def test_two_devices_that_make_the_same_folder_share_it(two: Two) -> None:
    ada, ben = two
    for device in two:
        device.mkdir(b"d")
        device.write(b"d/" + device.name.encode(), b"x")
    meet(*two)
    assert paths(ada) == paths(ben) == {b"d", b"d/ada", b"d/ben"}


def test_the_same_file_made_on_two_devices_shows_once_and_is_written_and_removed_as_one(two: Two) -> None:
    ada, ben = two
    for device in two:
        device.write(b"f", b"same")
    meet(*two)
    assert tree_of(ada.states.values()) == {b"f": (Kind.FILE, b"same", 0o644)}
    assert ada.tree()[b"f"].twins
    ada.write(b"f", b"new")
    meet(*two)
    assert tree_of(ben.states.values()) == {b"f": (Kind.FILE, b"new", 0o644)}
    ben.rename(b"f", b"g")
    meet(*two)
    assert paths(ada) == {b"g"}
    ada.unlink(b"g")
    meet(*two)
    assert paths(ben) == set()


def test_different_files_made_at_one_name_are_both_there(two: Two) -> None:
    ada, ben = two
    for device in two:
        device.write(b"f.txt", device.name.encode())
    meet(*two)
    tree = tree_of(ada.states.values())
    assert tree == tree_of(ben.states.values())
    assert tree[b"f.txt"][1] == b"ben"
    assert sorted(content for _, content, _ in tree.values() if content) == [b"ada", b"ben"]


def test_a_conflict_is_settled_by_deleting_the_copy(two: Two) -> None:
    ada, ben = two
    ada.write(b"f", b"base")
    meet(*two)
    for device in two:
        device.write(b"f", device.name.encode())
    meet(*two)
    (copy,) = paths(ada) - {b"f"}
    ben.unlink(copy)
    meet(*two)
    assert tree_of(ada.states.values()) == {b"f": (Kind.FILE, b"ben", 0o644)}


def test_a_conflict_copy_keeps_its_name_when_the_file_beside_it_goes(two: Two) -> None:
    ada, ben = two
    ada.write(b"f", b"base")
    meet(*two)
    for device in two:
        device.write(b"f", device.name.encode())
    meet(*two)
    (copy,) = paths(ada) - {b"f"}
    ada.unlink(b"f")
    meet(*two)
    assert paths(ada) == paths(ben) == {copy}


def test_removing_a_folder_keeps_what_was_made_in_it_elsewhere(two: Two) -> None:
    ada, ben = two
    ada.mkdir(b"d")
    ada.mkdir(b"d/sub")
    ada.write(b"d/sub/old", b"1")
    meet(*two)
    ben.write(b"d/sub/new", b"2")
    for path in (b"d/sub/old", b"d/sub", b"d"):
        ada.unlink(path)
        ada.rmdir(path)
    assert paths(ada) == set()
    meet(*two)
    assert paths(ada) == paths(ben) == {b"d", b"d/sub", b"d/sub/new"}


def test_a_file_moved_out_of_a_folder_that_is_removed_elsewhere_is_kept(two: Two) -> None:
    ada, ben = two
    ada.mkdir(b"d")
    ada.write(b"d/f", b"1")
    meet(*two)
    ben.rename(b"d/f", b"f")
    ada.unlink(b"d/f")
    ada.rmdir(b"d")
    meet(*two)
    assert tree_of(ada.states.values()) == tree_of(ben.states.values()) == {b"f": (Kind.FILE, b"1", 0o644)}


def test_copies_inside_a_git_folder_are_not_shown_as_names(two: Two) -> None:
    ada, ben = two
    ada.mkdir(b".git")
    ada.mkdir(b".git/refs")
    ada.write(b".git/refs/main", b"base")
    meet(*two)
    for device in two:
        device.write(b".git/refs/main", device.name.encode())
        device.write(b".git/refs/other", device.name.encode())
    meet(*two)
    assert paths(ada) == paths(ben) == {b".git", b".git/refs", b".git/refs/main", b".git/refs/other"}


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"nul\0", b"x" * 256])
def test_a_bad_name_from_elsewhere_is_not_shown_and_the_file_is_in_lost_and_found(two: Two, name: bytes) -> None:
    ada, _ = two
    node = ada.write(b"good", b"1") or ada.tree()[b"good"].node
    state = ada.states[node]
    (link,) = state.links
    bad = replace(state, links={link: Link(Place(ROOT_ID, name), state.links[link].stamp)})
    assert set(tree_of([bad])) == {b"lost+found", b"lost+found/" + node.hex().encode()}


def test_a_child_whose_parent_has_not_arrived_is_pending_and_not_lost(two: Two) -> None:
    ada, _ = two
    folder = ada.mkdir(b"d")
    ada.write(b"d/f", b"1")
    assert isinstance(folder, bytes)
    without = [s for s in ada.states.values() if s.id != NodeId(folder)]
    assert tree_of(without) == {}
    assert set(tree_of(ada.states.values())) == {b"d", b"d/f"}
