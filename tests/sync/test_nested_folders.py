# SPDX-License-Identifier: GPL-3.0-or-later
"""A member nests more folders than functions can call each other, and moves a file of another device to their end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holofsd.codec.node_ids import new_node_id
from holofsd.core import edit
from holofsd.core.ids import ROOT_ID
from holofsd.core.node import is_alive
from holofsd.core.state import Kind, Link, Marker, NodeState, Place
from holofsd.tree import cycles
from tests.sync.devices import Device, devices, settled, share
from tests.sync.test_overfull import heard, say, stamp, state_of

DEEP = 1100


def nested(device: Device, count: int) -> list[NodeState]:
    """Folders in each other, the outermost first. Call it inside a transaction."""
    states: list[NodeState] = []
    for _ in range(count):
        version = device.volume.new_version(Marker(), 0, 0)
        node, parent = new_node_id(Kind.DIRECTORY), states[-1].id if states else ROOT_ID
        place = Place(parent, b"d")
        states.append(edit.new_node(node, Kind.DIRECTORY, 0, place, edit.link_id(node), version, 0o755, version.stamp))
    return states


async def test_a_file_at_the_end_of_many_folders_is_removed_on_all_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    parent = cycles._parent

    def counted(*args: object) -> object:
        nonlocal steps
        steps += 1
        return parent(*args)  # type: ignore[arg-type]

    async with devices(tmp_path, "ann", "bob", "liar") as (ann, bob, liar):
        await share(ann, bob, liar)
        node = ann.write("file", b"one")
        await settled(ann, bob, liar)
        monkeypatch.setattr(cycles, "_parent", counted)
        with liar.store.db.transaction():
            folders = nested(liar, DEEP)
            known = state_of(liar, node)
            links = {id: Link(Place(folders[-1].id, b"end"), stamp(liar)) for id in known.links}
        for start in range(0, DEEP, 300):
            say(liar, *folders[start : start + 300])
        say(liar, replace(known, links=links))
        await heard(liar, ann, bob)
        # On each device once a folder, and the way up for each step in which records are merged.
        assert steps < 40 * DEEP
        with ann.store.db.transaction():
            ann.volume.write([edit.removed(state_of(ann, node), at=stamp(ann))])
        await heard(ann, bob)
        assert not is_alive(state_of(bob, node))
