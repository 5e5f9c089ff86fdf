# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts of a node's row that follow from its state and the content that is here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holofsd.core import edit
from holofsd.core.ids import ROOT_ID, AuthorId, BlobHash, Dot, Hlc, NodeId
from holofsd.core.state import Blob, Body, Inline, Kind, Marker, NodeState, Place, Register, Target, Version
from holofsd.tree.facts import facts_of

AUTHOR = AuthorId(b"a" * 32)
NODE = NodeId(b"n" * 16)
ABSENT = Blob(BlobHash(b"b" * 32))


def version(counter: int, body: Body, size: int) -> Version:
    stamp = Hlc(counter, 0, AUTHOR)
    return Version(Dot(AUTHOR, counter), stamp, body, size, Register(counter, stamp), "ann")


def absent_file() -> NodeState:
    made = version(2, ABSENT, 100)
    return edit.new_node(NODE, Kind.FILE, 0, Place(ROOT_ID, b"f"), edit.link_id(NODE), made, 0o644, made.stamp)


def test_a_file_whose_content_is_not_here_shows_what_it_showed_before() -> None:
    before = version(1, Inline(b"old"), 3)
    facts = facts_of(absent_file(), lambda blob: None, lambda: before)
    assert (facts.shown, facts.shows_earlier, facts.remote, facts.size) == (before, True, False, 3)
    assert set(facts.wanted) == {(ABSENT.hash, AUTHOR)}


@pytest.mark.parametrize(("body", "size"), [(Marker(), 0), (Target(b"/etc/passwd"), 11)])
def test_a_file_that_was_of_another_kind_before_shows_nothing_of_that(body: Body, size: int) -> None:
    """An empty file would be shown, where its content is only not here yet."""
    state = absent_file()
    facts = facts_of(state, lambda blob: None, lambda: version(1, body, size))
    assert facts.shown == next(iter(state.versions.values()))
    assert (facts.shows_earlier, facts.remote, facts.size) == (False, True, 100)


def test_an_earlier_version_whose_content_went_is_not_shown() -> None:
    before = replace(version(1, ABSENT, 7), body=Blob(BlobHash(b"c" * 32)))
    facts = facts_of(absent_file(), lambda blob: None, lambda: before)
    assert (facts.shows_earlier, facts.remote) == (False, True)
