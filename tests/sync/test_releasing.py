# SPDX-License-Identifier: GPL-3.0-or-later
"""Ignored files between whole devices: nobody hears of them, and they are published when no rule matches any more."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from holofsd.codec.node_ids import new_node_id
from holofsd.core import edit
from holofsd.core.ids import ROOT_ID, NodeId
from holofsd.core.state import Inline, Kind, Marker, Place
from tests.sync.devices import QUICK, Device, devices, settled, share, until

SOON = replace(QUICK, rules_rest=0.05)


def made(device: Device, parent: NodeId, *names: str, kind: Kind = Kind.FILE) -> list[NodeId]:
    """New nodes, as programs make them."""
    nodes = []
    with device.store.db.transaction():
        for name in names:
            node = new_node_id(kind)
            body = Marker() if kind is Kind.DIRECTORY else Inline(name.encode())
            version = device.volume.new_version(body, 0 if kind is Kind.DIRECTORY else len(name), time.time_ns())
            place = Place(parent, name.encode())
            state = edit.new_node(node, kind, 0, place, edit.link_id(node), version, 0o644, version.stamp)
            device.volume.write([state], fresh=[node])
            nodes.append(node)
    return nodes


async def test_ignored_files_come_when_the_rules_go_and_after_a_restart(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=SOON) as (ann, bob):
        await share(ann, bob)
        ann.write(".holofsignore", b"out\n")
        (out,) = made(ann, ROOT_ID, "out", kind=Kind.DIRECTORY)
        files = [f"{number:03}" for number in range(250)]
        made(ann, out, *files)
        ann.write("doc", b"for all")
        await ann.wait_copies(1)
        assert set(bob.files()) == {".holofsignore", "doc"}
        assert len(ann.store.ignored.all()) == 251
        assert ann.sync.status().copies == 1, "of everything that is published"
        head = ann.store.documents.head(ann.volume.author)
        assert head is not None
        assert not [node for node in ann.store.ignored.all() if bob.store.documents.is_known(node)]

        ann.write(".holofsignore", b"nothing\n")
        assert ann.sync.copies() == 0
        await until(lambda: ann.store.ignored.count_doubtful() and len(ann.store.ignored.all()) < 251)
        await ann.restart()
        await until(lambda: not ann.store.ignored.all(), "all to be released")
        await settled(ann, bob)
        assert set(bob.files()) == {".holofsignore", "doc", "out/", *(f"out/{name}" for name in files)}
        await ann.wait_copies(1)


async def test_waiting_ends_where_nothing_is_released(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", config=SOON) as (ann, bob):
        await share(ann, bob)
        ann.write(".holofsignore", b"*.o\n")
        made(ann, ROOT_ID, "a.o")
        await ann.wait_copies(1)
        ann.write(".holofsignore", b"# the same\n*.o\n")
        assert ann.sync.copies() == 0
        await ann.wait_copies(1)
        assert set(bob.files()) == {".holofsignore"}
        assert bob.store.ignored.all() == []
