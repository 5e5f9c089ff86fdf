# SPDX-License-Identifier: GPL-3.0-or-later
"""Stamps near the end of their range: refused while they are too far ahead, so that a later write is always above."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from holofsd.core import edit
from holofsd.core.clock import MAX_WALL_MS, latest_ms
from holofsd.core.ids import ROOT_ID, Hlc, LinkId, NodeId
from holofsd.core.state import NodeState, Place, Register, Removal
from holofsd.net.fake import FakeNetwork
from holofsd.sync.merging import SAID_TIME
from tests.sync.devices import Device, devices, settled, share, until
from tests.sync.rawserver import RawServer, has_nothing, raw_server

END = 2**32 - 1
YEAR_MS = 31_557_600_000
Lie = Callable[[NodeState, Hlc], NodeState]


def renamed(state: NodeState, stamp: Hlc) -> NodeState:
    ((link, was),) = state.links.items()
    return replace(state, links={link: replace(was, place=Place(ROOT_ID, b"stolen"), stamp=stamp)})


def made_unreadable(state: NodeState, stamp: Hlc) -> NodeState:
    return replace(state, mode=Register(0, stamp))


def given_an_attribute(state: NodeState, stamp: Hlc) -> NodeState:
    return replace(state, xattrs={b"user.a": Register(b"1", stamp)})


def removed(state: NodeState, stamp: Hlc) -> NodeState:
    """A link that no later write can bring back."""
    links = dict.fromkeys(state.links, stamp)
    return replace(state, removed=Removal(state.context, links, {stamp.author: stamp}))


def dated(state: NodeState, stamp: Hlc) -> NodeState:
    versions = {dot: replace(v, mtime=Register(0, stamp)) for dot, v in state.versions.items()}
    return replace(state, versions=versions)


@asynccontextmanager
async def scene(tmp_path: Path) -> AsyncIterator[tuple[Device, Device, RawServer, NodeId]]:
    network = FakeNetwork()
    async with devices(tmp_path, "ann", "bob", network=network) as (ann, bob):
        await share(ann, bob)
        node = ann.write("file", b"what ann wrote")
        await settled(ann, bob)
        async with raw_server(network, has_nothing) as server:
            await server.meet(bob, ann)
            yield ann, bob, server, node


def state_of(device: Device, node: NodeId) -> NodeState:
    state = device.volume.tree.state(node)
    assert state is not None
    return state


def rename(device: Device, node: NodeId, name: bytes) -> None:
    with device.store.db.transaction():
        state = state_of(device, node)
        (link,) = state.links
        device.volume.write([edit.moved(state, LinkId(link), Place(ROOT_ID, name), device.volume.stamp())])


@pytest.mark.parametrize("wall_ms", [MAX_WALL_MS, MAX_WALL_MS - 1, MAX_WALL_MS // 2], ids=["end", "before", "half"])
@pytest.mark.parametrize("lie", [renamed, made_unreadable, given_an_attribute, removed, dated])
async def test_a_time_at_the_end_of_the_range_decides_nothing(tmp_path: Path, lie: Lie, wall_ms: int) -> None:
    async with scene(tmp_path) as (ann, bob, server, node):
        before = state_of(bob, node)
        await server.say(lie(before, Hlc(wall_ms, END, server.author.id)))
        await until(lambda: ann.sync.status().quarantined == bob.sync.status().quarantined == 1)
        assert state_of(bob, node) == before
        rename(ann, node, b"by ann")
        await until(lambda: bob.files() == {"by ann": b"what ann wrote"})
        rename(bob, node, b"by bob")
        await until(lambda: ann.files() == {"by bob": b"what ann wrote"})
        (told,) = bob.sync.status().lies
        assert (told.device, told.what, told.example) == (
            server.raw.id,
            SAID_TIME,
            "stolen" if lie is renamed else "file",
        )


async def test_what_is_written_above_the_last_time_that_is_accepted_is_accepted_too(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, server, node):
        last = latest_ms(bob.now_ms() - 1000)
        await server.say(renamed(state_of(bob, node), Hlc(last, END, server.author.id)))
        await until(lambda: set(ann.files()) == set(bob.files()) == {"stolen"})
        for number in range(3):
            rename(ann, node, b"%d by ann" % number)
            await until(lambda number=number: set(bob.files()) == {f"{number} by ann"})  # type: ignore[misc]
            rename(bob, node, b"%d by bob" % number)
            await until(lambda number=number: set(ann.files()) == {f"{number} by bob"})  # type: ignore[misc]
        assert ann.sync.status().quarantined == bob.sync.status().quarantined == 0


async def test_a_time_that_is_too_far_ahead_only_for_a_clock_that_is_slow_is_tried_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as (ann, bob, server, node):
        bob.clock_off_ms = -3_600_000
        last = latest_ms(ann.now_ms() - 1000)
        await server.say(renamed(state_of(bob, node), Hlc(last, 0, server.author.id)))
        await until(lambda: set(ann.files()) == {"stolen"})
        await until(lambda: bob.sync.status().quarantined == 1)
        assert set(bob.files()) == {"file"}
        bob.clock_off_ms = 0
        bob.sync.merger.look_at_the_clock()
        await until(lambda: set(bob.files()) == {"stolen"})
        assert bob.sync.status().quarantined == 0
        assert bob.sync.status().lies == (), "nobody lied, as far as that can be told"


async def test_what_an_earlier_program_took_over_still_goes_on(tmp_path: Path) -> None:
    """Such a stamp is in the states of both already; what else they say about the file has to arrive."""
    async with scene(tmp_path) as (ann, bob, server, node):
        lie = made_unreadable(state_of(bob, node), Hlc(MAX_WALL_MS, END, server.author.id))
        for device in (ann, bob):
            with device.store.db.transaction():
                device.volume.merge([lie])
        rename(ann, node, b"by ann")
        await until(lambda: set(bob.files()) == {"by ann"})
        await bob.restart()
        rename(bob, node, b"by bob")
        await until(lambda: set(ann.files()) == {"by bob"})


async def test_a_device_whose_own_clock_is_too_far_ahead_is_still_heard(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob") as (ann, bob):
        await share(ann, bob)
        ann.clock_off_ms = 230 * YEAR_MS  # as far as files can be dated
        ann.write("file", os.urandom(100))
        await settled(ann, bob)
        bob.write("file", b"newer")
        await settled(ann, bob)
        assert ann.files() == {"file": b"newer"}
