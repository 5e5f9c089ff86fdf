# SPDX-License-Identifier: GPL-3.0-or-later
"""Convergence: whatever people do and however records travel, all devices end with one state and one tree, and nothing
is lost."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from holofsd.codec.records import decode_state, encode_state
from holofsd.core.context import clip_state
from holofsd.core.ids import AuthorId, NodeId
from holofsd.core.join import join
from holofsd.core.state import NodeState
from support.model import everything, joined, meet, tree_of
from tests.core.programs import PROGRAMS, Step, run

SEEDS = st.integers(0, 2**32)


@settings(max_examples=20)
@given(PROGRAMS)
def test_devices_that_have_met_show_the_same_tree(program: Sequence[Step]) -> None:
    devices = run(program)
    meet(*devices)
    states = [device.states for device in devices]
    assert states[0] == states[1] == states[2]
    trees = [tree_of(s.values()) for s in states]
    assert trees[0] == trees[1] == trees[2]


@settings(max_examples=20)
@given(PROGRAMS, SEEDS)
def test_any_order_duplication_and_grouping_of_records_gives_the_same(program: Sequence[Step], seed: int) -> None:
    records = [record for _, record in everything(run(program))]
    expected = joined(records)
    shuffle = random.Random(seed)
    mixed = records + shuffle.sample(records, k=len(records) // 2)
    shuffle.shuffle(mixed)
    assert joined(mixed) == expected
    cut = shuffle.randrange(len(mixed) + 1)
    left, right = joined(mixed[:cut]), joined(mixed[cut:])
    grouped = joined(encode_state(s) for part in (left, right) for s in part.values())
    assert grouped == expected
    backwards = {node: grouped[node] for node in sorted(grouped, reverse=True)}
    assert tree_of(backwards.values()) == tree_of(expected.values())


@settings(max_examples=20)
@given(PROGRAMS, SEEDS)
def test_records_that_wait_for_heads_add_up_to_the_same(program: Sequence[Step], seed: int) -> None:
    """Foreign claims count up to the heads that are here, and records are merged again when a head advances."""
    devices = run(program)
    records = everything(devices)
    shuffle = random.Random(seed)
    shuffle.shuffle(records)
    final = {device.author: device.dots for device in devices}
    limits = {author: shuffle.randrange(dots + 1) for author, dots in final.items()}
    states: dict[NodeId, NodeState] = {}
    waiting: list[tuple[AuthorId, bytes]] = []
    for heads in (limits, final):
        for writer, record in waiting or records:
            state, waits_for = clip_state(decode_state(record), writer, heads)
            if waits_for:
                assert heads is limits
                waiting.append((writer, record))
            states[state.id] = join(states[state.id], state) if state.id in states else state
        limits = final
        if not waiting:
            break
        records, waiting = waiting, []
    assert states == joined(record for _, record in everything(devices))


@settings(max_examples=20)
@given(PROGRAMS)
def test_every_state_survives_its_encoding(program: Sequence[Step]) -> None:
    for device in run(program):
        for state in device.states.values():
            payload = encode_state(state)
            assert decode_state(payload) == state
            assert encode_state(decode_state(payload)) == payload
