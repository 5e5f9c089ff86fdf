# SPDX-License-Identifier: GPL-3.0-or-later
"""A removal that is refused leaves a node as it was shown, for everyone who hears of it; limits mean what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given, settings

from holofsd.core import edit
from holofsd.core.brake import BrakeLimit, decode_limit, exceeds, kept, removes, restored
from holofsd.core.ids import AuthorId, Dot, Hlc
from holofsd.core.join import join
from holofsd.core.node import is_alive, live_versions, placements
from holofsd.core.state import Kind, NodeState, Place, Removal, Version
from support.states import shown_version
from tests.core.programs import PROGRAMS, Step, start

AUTHOR = AuthorId(b"z" * 32)


def places(state: NodeState) -> set[Place]:
    return {placement.place for placement in placements(state)}


def maker() -> Callable[[Version], Version]:
    numbers = count(1)

    def anew(version: Version) -> Version:
        number = next(numbers)
        stamp = Hlc(version.stamp.wall_ms + 10**6, number, AUTHOR)
        return Version(Dot(AUTHOR, number), stamp, version.body, version.size, version.mtime, version.device_name)

    return anew


def removals(program: Sequence[Step]) -> list[tuple[NodeState, NodeState]]:
    """Pairs of a state that a device has and a removal of that node by another device, which would end it."""
    devices = start()
    for step in program:
        step.run(devices)
    found = []
    for node, stored in devices[0].states.items():
        other = devices[1].states.get(node)
        if other is not None:
            removal = edit.removed(other)
            if removes(stored, join(stored, removal)):
                found.append((stored, removal))
    return found


@settings(max_examples=60)
@given(PROGRAMS)
def test_a_refused_removal_changes_nothing_that_is_shown(program: Sequence[Step]) -> None:
    stamp = Hlc(10**13, 0, AUTHOR)
    for stored, removal in removals(program):
        said_again = kept(stored, join(stored, removal), maker(), stamp)
        assert is_alive(said_again)
        assert join(said_again, removal) == said_again, "it knows of the removal, and has outlived it"
        assert join(removal, said_again) == said_again
        assert places(said_again) == places(stored)
        before, after = shown_version(stored), shown_version(said_again)
        assert before is not None
        assert after is not None
        assert after.body == before.body
        assert {v.body for v in live_versions(said_again)} == {v.body for v in live_versions(stored)}
        assert said_again.mode == join(stored, removal).mode, "what the other set before it removed the node counts"


@settings(max_examples=40)
@given(PROGRAMS)
def test_a_removal_that_happened_can_be_undone(program: Sequence[Step]) -> None:
    stamp = Hlc(10**13, 0, AUTHOR)
    for stored, removal in removals(program):
        gone = join(stored, removal)
        back = restored(gone, maker(), stamp)
        assert is_alive(back)
        assert join(back, removal) == back
        last = places(replace(gone, removed=Removal()))
        assert places(back) == last, "where it was when it was removed"
        after = shown_version(back)
        assert after is not None
        if stored.kind is not Kind.DIRECTORY:
            assert after.body == max(gone.versions.values(), key=lambda v: (v.stamp, v.dot)).body


@pytest.mark.parametrize(
    ("limit", "removed", "shown", "held"),
    [
        (BrakeLimit(), 50, 60, False),
        (BrakeLimit(), 51, 60, True),
        (BrakeLimit(), 51, 255, False),
        (BrakeLimit(), 51, 254, True),
        (BrakeLimit(0, 0), 1, 1000, True),
        (BrakeLimit(0, 100), 1000, 1000, False),
        (BrakeLimit(off=True), 1000, 1000, False),
        (BrakeLimit(0, 0), 0, 0, False),
    ],
)
def test_both_limits_have_to_be_exceeded(limit: BrakeLimit, removed: int, shown: int, held: bool) -> None:
    assert exceeds(limit, removed, shown) is held


@pytest.mark.parametrize("told", [None, b"", b"x y", b"1", b"5 500", b"-1 5"])
def test_a_limit_that_cannot_be_read_is_the_default(told: bytes | None) -> None:
    assert decode_limit(told) == BrakeLimit()


@pytest.mark.parametrize("limit", [BrakeLimit(), BrakeLimit(7, 3), BrakeLimit(0, 0), BrakeLimit(off=True)])
def test_a_limit_comes_back_as_it_was_stored(limit: BrakeLimit) -> None:
    assert decode_limit(limit.encode()) == limit
