# SPDX-License-Identifier: GPL-3.0-or-later
"""A member fills its record of a file of another device to the brim: that file can be read, changed and sent as before.

Each record keeps the limits, and their join does not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from holofsd.codec.records import (
    MAX_AUTHORS,
    MAX_LINK_REGISTERS,
    MAX_PAYLOAD,
    MAX_XATTRS,
    decode_local_state,
    encode_state,
    fits,
)
from holofsd.core import edit
from holofsd.core.ids import ROOT_ID, AuthorId, Dot, Hlc, LinkId, NodeId
from holofsd.core.node import is_alive, placements
from holofsd.core.state import Inline, Kind, Link, NodeState, Place, Register, Removal, Version
from holofsd.sync.create import active_key
from holofsd.sync.publication import publish
from support.states import shown_version
from tests.sync.devices import Device, devices, settled, share, until

LARGE = 65_280
"""Sixteen of them leave less room in a record than an honest version takes."""
Full = Callable[[Device, NodeState], NodeState]
Change = Callable[[Device, NodeState], NodeState]


def stamp(device: Device, ahead_ms: int = 0) -> Hlc:
    return Hlc(device.now_ms() + ahead_ms, 0, device.volume.author)


def _nobody(number: int) -> AuthorId:
    return AuthorId(number.to_bytes(32, "big"))


# ---- records that are full
def attributes(liar: Device, known: NodeState) -> NodeState:
    value: Register[bytes | None] = Register(bytes(255), stamp(liar))
    return replace(known, xattrs={b"user.%d" % number: value for number in range(MAX_XATTRS)})


def names_that_are_gone(liar: Device, known: NodeState) -> NodeState:
    gone = Link(None, stamp(liar))
    return replace(known, links={LinkId(number.to_bytes(16, "big")): gone for number in range(MAX_LINK_REGISTERS)})


def removed_names(liar: Device, known: NodeState) -> NodeState:
    when = stamp(liar)
    links = {LinkId(number.to_bytes(16, "big")): when for number in range(MAX_LINK_REGISTERS)}
    return replace(known, removed=Removal(links=links))


def removals(liar: Device, known: NodeState) -> NodeState:
    at = {_nobody(n): Hlc(liar.now_ms(), 0, _nobody(n)) for n in range(MAX_AUTHORS)}
    return replace(known, removed=Removal(at=at))


def copies(liar: Device, known: NodeState) -> NodeState:
    """Returns a state with as many versions beside another device's as there is room for; that one stays the newest."""
    versions = {}
    with liar.store.db.transaction():
        for number in range(16):
            dot, when = liar.volume.next_dot(), Hlc(1000 + number, 0, liar.volume.author)
            versions[dot] = Version(dot, when, Inline(os.urandom(LARGE)), LARGE, Register(0, when), "liar")
    return replace(known, context={liar.volume.author: max(dot.counter for dot in versions)}, versions=versions)


FULL: Sequence[Full] = (attributes, names_that_are_gone, removed_names, removals, copies)


# ---- what an honest device does with the file
def write(device: Device, state: NodeState) -> NodeState:
    shown = shown_version(state)
    assert shown is not None
    version = device.volume.new_version(Inline(b"two" * 1000), 3000, 0, above=shown.stamp)
    return edit.with_version(state, version, [shown.dot])


def remove(device: Device, state: NodeState) -> NodeState:
    return edit.removed(state, at=stamp(device))


def rename(device: Device, state: NodeState) -> NodeState:
    link = placements(state)[0].link
    assert link is not None
    return edit.moved(state, link, Place(ROOT_ID, b"renamed"), stamp(device))


def set_attribute(device: Device, state: NodeState) -> NodeState:
    return edit.with_xattr(state, b"user.mine", b"new", stamp(device))


CHANGES: Sequence[Change] = (write, remove, rename, set_attribute)


def say(liar: Device, *states: NodeState) -> None:
    """Publishes records, whatever the liar's own device makes of the nodes."""
    key = active_key(liar.store)
    assert key is not None
    with liar.store.db.transaction():
        publication = publish(
            liar.store, key, liar.volume.dots_given, [(state.id, encode_state(state)) for state in states]
        )
    liar.sync.publisher._send(publication)


def state_of(device: Device, node: NodeId) -> NodeState:
    state = device.volume.tree.state(node)
    assert state is not None
    return state


async def heard(speaker: Device, *listeners: Device) -> None:
    def all_is_here() -> bool:
        return speaker.is_settled() and all(
            device.is_settled()
            and device.store.documents.head(speaker.volume.author)
            == speaker.store.documents.head(speaker.volume.author)
            for device in listeners
        )

    await until(all_is_here, f"{speaker.name} to be heard")


async def filled(ann: Device, liar: Device, *others: Device, full: Full) -> NodeId:
    """A file of ann, of which the liar has said as much as fits."""
    await share(ann, *others, liar)
    node = ann.write("file", b"one")
    with ann.store.db.transaction():
        ann.volume.write([edit.with_xattr(state_of(ann, node), b"user.mine", b"old", stamp(ann))])
    await settled(ann, *others, liar)
    say(liar, full(liar, state_of(liar, node)))
    await heard(liar, ann, *others)
    return node


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("full", FULL, ids=lambda full: full.__name__)
async def test_what_others_do_to_a_file_that_a_member_filled_is_heard(
    tmp_path: Path, full: Full, change: Change
) -> None:
    async with devices(tmp_path, "ann", "bob", "liar") as (ann, bob, liar):
        node = await filled(ann, liar, bob, full=full)
        with ann.store.db.transaction():
            ann.volume.write([change(ann, state_of(ann, node))])
        await heard(ann, bob)
        here, there = state_of(ann, node), state_of(bob, node)
        assert (here.versions, here.links, here.xattrs) == (there.versions, there.links, there.xattrs)
        assert is_alive(here) == is_alive(there)
        assert ann.files() == bob.files()
        assert not ann.sync.status().warnings


@pytest.mark.parametrize("full", FULL, ids=lambda full: full.__name__)
async def test_a_file_that_a_member_filled_can_be_read_after_a_restart(tmp_path: Path, full: Full) -> None:
    async with devices(tmp_path, "ann", "liar") as (ann, liar):
        node = await filled(ann, liar, full=full)
        before = state_of(ann, node)
        await ann.restart()
        assert state_of(ann, node) == before
        ann.write("file", b"two")
        await heard(ann, liar)
        assert ann.files()["file"] == b"two"


async def test_a_member_that_takes_back_what_it_said_again_and_again_takes_no_more_room(tmp_path: Path) -> None:
    async with devices(tmp_path, "ann", "bob", "liar") as (ann, bob, liar):
        await share(ann, bob, liar)
        node = ann.write("file", b"one")
        await settled(ann, bob, liar)
        known = state_of(liar, node)
        for number in range(12):
            value: Register[bytes | None] = Register(bytes(240), stamp(liar))
            say(liar, replace(known, xattrs={b"user.%d.%d" % (number, i): value for i in range(1000)}))
            await heard(liar, ann, bob)
        for device in (ann, bob):
            assert len(encode_state(state_of(device, node))) < MAX_PAYLOAD
        ann.write("file", b"two")
        await heard(ann, bob)
        await heard(bob, ann)
        assert ann.files() == bob.files()
        assert b"two" in ann.files().values()


def test_the_index_takes_what_no_record_has_room_for() -> None:
    author, node = _nobody(1), NodeId(b"n" * 16)
    when = Hlc(1, 0, author)
    dot = Dot(author, 1)
    state = NodeState(
        node,
        Kind.FILE,
        0,
        context={_nobody(n): 1 for n in range(1, MAX_AUTHORS + 2)},
        versions={dot: Version(dot, when, Inline(b""), 0, Register(0, when), "ann")},
        links={LinkId(n.to_bytes(16, "big")): Link(None, when) for n in range(MAX_LINK_REGISTERS + 1)},
        removed=Removal({_nobody(n): 1 for n in range(1, MAX_AUTHORS + 2)}),
        xattrs={b"user.%d" % n: Register(bytes(2000), when) for n in range(MAX_XATTRS + 1)},
    )
    assert not fits(state)
    assert len(encode_state(state)) > MAX_PAYLOAD
    assert decode_local_state(encode_state(state)) == state
