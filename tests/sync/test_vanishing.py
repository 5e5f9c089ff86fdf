# SPDX-License-Identifier: GPL-3.0-or-later
"""A member that makes files disappear without removing them: the brake weighs it like removals, the trash has the rest.

The liar is a whole device of ours whose states are written past all rules, so what it publishes is what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from holofsd.core.context import covers
from holofsd.core.edit import with_version
from holofsd.core.ids import ROOT_ID, Hlc, NodeId
from holofsd.core.node import is_alive, live_versions
from holofsd.core.shrinking import shrunk
from holofsd.core.state import Body, Inline, Link, NodeState, Pending, Place, Register, Removal, Version
from holofsd.tree.past import Past
from holofsd.tree.states import decode_version
from tests.sync.braking import MANY, brake, fill, full, held, knows
from tests.sync.devices import Device, devices, settled, share, until

AHEAD_MS = 1_000_000


def later(liar: Device) -> Hlc:
    return Hlc(liar.now_ms() + AHEAD_MS, 0, liar.volume.author)


def own_version(liar: Device) -> Version:
    stamp = later(liar)
    return Version(liar.volume.next_dot(), stamp, Inline(b"garbage"), 7, Register(0, stamp), "liar")


def without_versions(liar: Device, state: NodeState) -> NodeState:
    return replace(state, versions={})


def old_version_alone(liar: Device, state: NodeState) -> NodeState:
    """A true version of before, in place of what replaced it."""
    (row,) = liar.store.history.of_node(state.id)
    old = decode_version(row.version)
    return replace(state, versions={old.dot: old})


def to_nowhere(liar: Device, state: NodeState) -> NodeState:
    return replace(state, links={id: Link(None, later(liar)) for id in state.links})


def to_a_bad_name(liar: Device, state: NodeState) -> NodeState:
    return replace(state, links={id: Link(Place(ROOT_ID, b"a/b"), later(liar)) for id in state.links})


def removed_without_a_word(liar: Device, state: NodeState) -> NodeState:
    return shrunk(replace(state, removed=Removal(state.context, {id: link.stamp for id, link in state.links.items()})))


def without_versions_or_name(liar: Device, state: NodeState) -> NodeState:
    return to_nowhere(liar, without_versions(liar, state))


def removed_and_without_versions(liar: Device, state: NodeState) -> NodeState:
    seen = Removal(state.context, {id: link.stamp for id, link in state.links.items()})
    return replace(state, versions={}, removed=seen)


LIES: list[Callable[[Device, NodeState], NodeState]] = [
    without_versions,
    old_version_alone,
    to_nowhere,
    to_a_bad_name,
    removed_without_a_word,
    without_versions_or_name,
    removed_and_without_versions,
]


def lie(liar: Device, paths: Iterable[str], how: Callable[[Device, NodeState], NodeState]) -> None:
    with liar.store.db.transaction():
        states = []
        for path in paths:
            entry = liar.volume.tree.lookup(*liar._place(path))
            assert entry is not None
            state = liar.volume.tree.state(entry.node)
            assert state is not None
            states.append(how(liar, state))
        liar.volume.write(states)


async def written_twice(ann: Device, liar: Device) -> list[str]:
    """Files of ann that have a version of before."""
    paths = await full(ann, liar)
    for path in paths:
        ann.write(path, b"new " + path.encode())
    await settled(ann, liar)
    await until(lambda: not brake(ann).catching_up, "all is heard")
    return paths


@pytest.mark.parametrize("how", LIES, ids=lambda how: how.__name__)
async def test_files_that_a_lie_takes_away_are_held_and_come_back_like_removed_ones(
    tmp_path: Path, how: Callable[[Device, NodeState], NodeState]
) -> None:
    async with devices(tmp_path, "ann", "liar") as (ann, liar):
        paths = await written_twice(ann, liar)
        before = ann.files()
        lie(liar, paths, how)
        await knows(ann, liar)
        assert ann.files() == before
        assert held(ann) == MANY
        assert await brake(ann).refuse() == MANY
        assert ann.files() == before
        await settled(ann, liar)
        assert liar.files() == before


@pytest.mark.parametrize("how", LIES, ids=lambda how: how.__name__)
async def test_a_file_that_a_lie_takes_away_is_in_the_trash_or_in_lost_and_found(
    tmp_path: Path, how: Callable[[Device, NodeState], NodeState]
) -> None:
    async with devices(tmp_path, "ann", "liar") as (ann, liar):
        await share(ann, liar)
        for content in (b"first", b"second"):
            ann.write("file", content)
            await settled(ann, liar)
        ann.write("other", b"stays")
        await settled(ann, liar)
        await until(lambda: not brake(ann).catching_up, "all is heard")
        lie(liar, ["file"], how)
        await knows(ann, liar)
        lost = [content for path, content in ann.files().items() if path.startswith("lost+found/") and content]
        assert (lost, trash(ann)) in (([], [(b"file", Inline(b"second"))]), ([b"second"], []))
        assert ann.files()["other"] == b"stays"


@pytest.mark.parametrize("how", LIES, ids=lambda how: how.__name__)
async def test_accepted_lies_take_place_and_nothing_is_lost(
    tmp_path: Path, how: Callable[[Device, NodeState], NodeState]
) -> None:
    async with devices(tmp_path, "ann", "liar") as (ann, liar):
        paths = await written_twice(ann, liar)
        lie(liar, paths, how)
        await knows(ann, liar)
        assert await brake(ann).accept() == MANY
        await knows(ann, liar)
        kept = {body for _name, body in trash(ann)}.union(map(Inline, filter(None, ann.files().values())))
        assert {Inline(b"new " + path.encode()) for path in paths} <= kept


async def test_what_went_before_the_limit_was_reached_comes_back_from_a_lie(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "liar") as (ann, liar):
        paths = await written_twice(ann, liar)
        before = ann.files()
        for first, last, how in ((0, 20, without_versions), (20, 40, to_nowhere), (40, MANY, without_versions)):
            lie(liar, paths[first:last], how)
            await knows(ann, liar)
        assert held(ann) == 40
        await brake(ann).refuse()
        await settled(ann, liar)
        assert ann.files() == before


def trash(device: Device) -> list[tuple[bytes, Body]]:
    found = Past(device.volume.tree).trash()
    return [(item.name, item.version.body) for items in found for item in items if item.version is not None]


async def test_a_thousand_files_written_over_are_in_the_history_and_status_says_so(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "liar", "bob") as (ann, liar, bob):
        await share(ann, liar, bob)
        paths = fill(ann, "folder", 300)
        await settled(ann, liar, bob)
        assert not any("wrote over" in warning for warning in bob.sync.status().warnings)
        for path in paths:
            liar.write(path, b"garbage")
        await settled(ann, liar, bob)
        for device in (ann, bob):
            past = Past(device.volume.tree)
            for path in paths:
                entry = device.volume.tree.lookup(*device._place(path))
                assert entry is not None
                bodies = [known.version.body for known in past.versions(entry.node)]
                assert bodies == [Inline(b"garbage"), Inline(f"content of {path}".encode())]
            (warning,) = [text for text in device.sync.status().warnings if "wrote over" in text]
            assert warning.startswith("liar wrote over ")
        assert not any("wrote over" in warning for warning in liar.sync.status().warnings)
        await bob.restart()
        assert any("wrote over" in warning for warning in bob.sync.status().warnings)


async def test_content_that_is_not_hashed_yet_cannot_be_replaced_by_anybody_else(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "liar") as (ann, liar):
        await share(ann, liar)
        node = ann.write("file", b"first")
        await settled(ann, liar)
        with ann.store.db.transaction():  # a large file was closed: its content is in a staging file
            state = ann.volume.tree.state(node)
            assert state is not None
            (first,) = live_versions(state)
            version = ann.volume.new_version(Pending("staged"), 5, 0, above=first.stamp)
            ann.volume.write([with_version(state, version, [first.dot])])
        ann.write("another", b"whose record vouches for all counters up to its own")
        await until(lambda: liar.files().get("another") is not None)
        vouched = liar.volume.limits()[ann.volume.author]
        assert vouched >= version.dot.counter

        def covering(device: Device, state: NodeState) -> NodeState:
            mine = own_version(device)
            context = {ann.volume.author: vouched, mine.dot.author: mine.dot.counter}
            return replace(state, versions={mine.dot: mine}, context=context)

        lie(liar, ["file"], covering)
        await until(lambda: liar.volume.author in (ann.volume.tree.state(node) or state).context, "the lie")
        now = ann.volume.tree.state(node)
        assert now is not None
        pending = [v for v in now.versions.values() if v.body == Pending("staged")]
        assert len(pending) == 1
        assert not covers({ann.volume.author: vouched}, pending[0].dot)
        with ann.store.db.transaction():
            ann.volume.body_known(node, version.dot, Inline(b"whole"), "staged")
        await settled(ann, liar)
        assert b"whole" in liar.files().values()


async def test_a_newcomer_keeps_what_a_lie_covers_whatever_comes_first(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "liar", "bob") as (ann, liar, bob):
        await share(ann, liar)
        node = ann.write("file", b"of ann")
        await settled(ann, liar)
        lie(liar, ["file"], without_versions)
        await settled(ann, liar)
        await share(ann, bob)
        await settled(ann, liar, bob)
        for device in (ann, bob):
            state = device.volume.tree.state(node)
            assert state is not None
            assert not is_alive(state)
            assert trash(device) == [(b"file", Inline(b"of ann"))]


async def test_a_folder_that_a_member_says_is_about_to_come_is_not_waited_for_by_what_all_have(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "liar", "bob") as (ann, liar, bob):
        await share(ann, liar, bob)
        ann.write("file", b"of ann")
        await settled(ann, liar, bob)
        nowhere = NodeId(b"no such folder..")

        def away(device: Device, state: NodeState) -> NodeState:
            return replace(state, links={id: Link(Place(nowhere, b"file"), later(device)) for id in state.links})

        lie(liar, ["file"], away)
        for device in (ann, liar, bob):
            await until(lambda: device.files() == {"lost+found/": b"", "lost+found/file": b"of ann"})  # noqa: B023
        await settled(ann, liar, bob)
