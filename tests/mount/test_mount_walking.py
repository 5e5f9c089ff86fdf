# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories are asked for before a program that walks through a tree lists them, and only then."""

from __future__ import annotations

import os
from pathlib import Path

from holofs_mount.core.directory_read_ahead import DirectoryReadAhead
from mount.conftest import MakeMount
from mount.harness import FakeDaemon
from support.wait import until

# 1 has 2, 5 and 8; 2 has 3 and 4; 5 has 6 and 7; 8 has 9.
TREE = {1: [2, 5, 8], 2: [3, 4], 3: [], 4: [], 5: [6, 7], 6: [], 7: [], 8: [9], 9: []}


class Reader:
    """A program, and a daemon that answers what is asked ahead when it is told to."""

    def __init__(self) -> None:
        self.known: set[int] = set()
        self.asked: list[int] = []
        self.read_ahead = DirectoryReadAhead(self.known.__contains__, self._load)

    def _load(self, ino: int) -> None:
        self.known.add(ino)
        self.asked.append(ino)

    def answer(self) -> None:
        while self.asked:
            ino = self.asked.pop(0)
            self.read_ahead.listed(ino, TREE[ino])

    def lists(self, ino: int) -> None:
        self.read_ahead.requested(ino)
        if ino not in self.known:
            self.known.add(ino)
            self.read_ahead.listed(ino, TREE[ino])


def test_whoever_lists_a_tree_in_its_order_waits_for_little() -> None:
    reader = Reader()
    waited = []
    for ino in (1, 2, 3, 4, 5, 6, 7, 8, 9):
        waited += [ino] if ino not in reader.known else []
        reader.lists(ino)
        reader.answer()
    assert waited == [1, 2, 3]


def test_whoever_lists_here_and_there_gets_nothing_else() -> None:
    reader = Reader()
    for ino in (1, 8, 2, 5, 1, 5, 2):
        reader.lists(ino)
    assert not reader.asked


def test_no_more_than_a_few_are_asked_for() -> None:
    reader = Reader()
    reader.read_ahead.listed(1, range(2, 100))
    reader.known.add(1)
    reader.read_ahead.requested(1)
    for ino in (2, 3):
        reader.read_ahead.requested(ino)
        reader.known.add(ino)
        reader.read_ahead.listed(ino, [])
    assert reader.asked == [4, 5, 6, 7]
    reader.read_ahead.requested(4)
    assert reader.asked == [4, 5, 6, 7, 8]


def test_an_order_that_leads_in_a_circle_ends() -> None:
    """State as after a move between two listings."""
    reader = Reader()
    reader.read_ahead.listed(1, [2, 3])
    reader.read_ahead.listed(3, [1])
    reader.known |= {1, 2, 3}
    for ino in (1, 2, 3, 1, 2):
        reader.read_ahead.requested(ino)
    assert not reader.asked


def test_a_mount_asks_for_the_next_directories_while_this_one_is_read(
    daemon: FakeDaemon, mnt: Path, make_mount: MakeMount
) -> None:
    for number in range(40):
        (mnt / f"{number:02}" / "in").mkdir(parents=True)
    until(lambda: len(daemon.ask("names")) == 80, "the daemon to have them")
    fresh = make_mount("fresh").path
    daemon.ask("reset_calls")
    for path in sorted(fresh.iterdir())[:3]:
        os.listdir(path)
        os.listdir(path / "in")
    until(lambda: daemon.ask("calls")["read_dir"] > 7, "more to be asked for")
    # At most four with each of the last five listings: which they are depends on how soon the daemon answers.
    assert daemon.ask("calls")["read_dir"] <= 7 + 4 * 5
