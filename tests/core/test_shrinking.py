# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of removed nodes shrink and go, in any order: nobody sees a difference, and nothing that lives is lost."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.codec.records import decode_state, encode_state
from holofsd.core.ids import AuthorId, NodeId
from holofsd.core.join import join
from holofsd.core.node import is_alive, live_links, live_versions
from holofsd.core.shrinking import shrunk
from holofsd.core.state import NodeState
from support.model import Device, joined, meet, project, tree_of
from support.records import is_shrunk
from tests.core.programs import PROGRAMS, Step, start

SEEDS = st.integers(0, 2**32)
Document = dict[tuple[AuthorId, NodeId], NodeState]


def document_of(devices: Iterable[Device]) -> Document:
    """The newest record of each author under each key."""
    newest: Document = {}
    for device in devices:
        for author, record in device.log:
            state = decode_state(record)
            newest[author, state.id] = state
    return newest


def about(document: Document, node: NodeId) -> dict[AuthorId, NodeState]:
    return {author: state for (author, about_node), state in document.items() if about_node == node}


def forget(document: Document, known: dict[NodeId, NodeState], chance: random.Random) -> int:
    """Do what `sync.forgetting` does, by some authors, in some order; how many records went or shrank."""
    shown = project(known.values())
    parents = {item.placement.place.parent for item in shown.values()}
    done = 0
    keys = sorted(document)
    chance.shuffle(keys)
    for author, node in keys:
        if is_alive(known[node]) or node in parents or chance.random() < 0.3:
            continue
        others = [state for other, state in about(document, node).items() if other != author]
        if not any(map(is_alive, others)):
            del document[author, node]
        else:
            document[author, node] = shrunk(known[node])
        done += 1
    return done


def join_all(document: Document) -> dict[NodeId, NodeState]:
    states: dict[NodeId, list[NodeState]] = {}
    for (_author, node), state in sorted(document.items()):
        states.setdefault(node, []).append(state)
    return {node: reduce(join, found) for node, found in states.items()}


def play(program: Sequence[Step], devices: Sequence[Device]) -> None:
    for step in program:
        step.run(devices)


@settings(max_examples=12)
@given(PROGRAMS, PROGRAMS, SEEDS)
def test_whoever_joins_after_records_went_sees_what_the_others_see(
    before: Sequence[Step], after: Sequence[Step], seed: int
) -> None:
    devices = start()
    play(before, devices)
    meet(*devices)
    known = devices[0].states
    document = document_of(devices)
    forget(document, known, random.Random(seed))
    assert tree_of(join_all(document).values()) == tree_of(known.values())
    said = [len(device.log) for device in devices]
    play(after, devices)
    meet(*devices)
    for device, since in zip(devices, said, strict=True):
        for author, record in device.log[since:]:
            state = decode_state(record)
            document[author, state.id] = state
    assert tree_of(join_all(document).values()) == tree_of(devices[0].states.values())


@settings(max_examples=12)
@given(PROGRAMS, PROGRAMS, SEEDS)
def test_what_somebody_did_who_had_not_heard_of_the_removal_lives(
    before: Sequence[Step], apart: Sequence[Step], seed: int
) -> None:
    """More than has to be borne: records go only once everybody is known to have heard. Here one had not: at worst a
    name comes back that was given up."""
    devices = start()
    play(before, devices)
    meet(*devices)
    near, far = devices[:2], devices[2]
    for step in apart:
        if step.operation == "meet":
            meet(*near)
        else:
            step.run(devices)
    meet(*near)
    document = document_of(near)
    forget(document, near[0].states, random.Random(seed))
    document.update(document_of([far]))
    whole = joined(record for device in devices for _, record in device.log)
    left = join_all(document)
    for node, state in whole.items():
        if not is_alive(state):
            continue
        assert is_alive(left[node])
        assert live_versions(left[node]) or not live_versions(state)
        assert live_links(left[node]).keys() >= live_links(state).keys()


@settings(max_examples=8)
@given(PROGRAMS)
def test_a_shrunk_record_says_that_the_node_is_gone_and_survives_its_encoding(program: Sequence[Step]) -> None:
    devices = start()
    play(program, devices)
    meet(*devices)
    for state in devices[0].states.values():
        if is_alive(state):
            with pytest.raises(ValueError, match="removed node"):
                shrunk(state)
            continue
        small = shrunk(state)
        assert is_shrunk(small)
        assert not is_alive(small)
        assert decode_state(encode_state(small)) == small
        assert shrunk(small) == small
        assert shrunk(join(state, small)) == small
        for record in (decode_state(record) for device in devices for _, record in device.log):
            if record.id == state.id:
                both = join(record, small)
                assert not is_alive(both)
                assert decode_state(encode_state(both)) == both
